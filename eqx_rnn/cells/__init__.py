from ._carry import LSTMCarry as LSTMCarry
from .conv_gru import ConvGRUCell as ConvGRUCell
from .conv_lstm import ConvLSTMCell as ConvLSTMCell
from .gru import GRUCell as GRUCell
from .lstm import LSTMCell as LSTMCell
from .mgu import MGUCell as MGUCell
from .simple import SimpleCell as SimpleCell
