from .drop_connect import DropConnect as DropConnect
from .learned_carry import LearnedCarry as LearnedCarry
from .recurrent_dropout import DropoutCarry as DropoutCarry
from .recurrent_dropout import DropoutMasks as DropoutMasks
from .recurrent_dropout import RecurrentDropout as RecurrentDropout
from .residual import Residual as Residual
from .stacked_cell import StackedCell as StackedCell
from .zoneout import Zoneout as Zoneout
