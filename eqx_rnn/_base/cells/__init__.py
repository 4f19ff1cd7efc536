"""The contracts between cells and the code that runs them over time."""

from ..structs import carry_struct as carry_struct
from ..structs import output_struct as output_struct
from .chunk import ChunkCell as ChunkCell
from .chunk import run_chunk as run_chunk
from .composed import ComposedCell as ComposedCell
from .composed import Results as Results
from .composed import Run as Run
from .factored import FactoredCell as FactoredCell
from .linear import Blend as Blend
from .linear import Linear as Linear
from .linear import LinearCell as LinearCell
from .rnn_cell import Begun as Begun
from .rnn_cell import RNNCellBase as RNNCellBase
from .sequential import SequentialCell as SequentialCell
from .sequential import inner_cells as inner_cells
from .sequential import part_of_key as part_of_key
from .wrapper import AbstractStepWrapper as AbstractStepWrapper
from .wrapper import AbstractWrapper as AbstractWrapper
from .wrapper import ChunkWrapper as ChunkWrapper
from .wrapper import begin_inner as begin_inner
from .wrapper import innermost as innermost
from .wrapper import is_chunked as is_chunked
from .wrapper import is_factored as is_factored
from .wrapper import parts as parts
from .wrapper import step_begun as step_begun
