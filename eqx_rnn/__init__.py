"""Recurrent neural networks for Equinox."""

import typing as _typing

from . import initializers as initializers
from ._base.cells import Begun as Begun
from ._base.cells import Blend as Blend
from ._base.cells import ChunkCell as ChunkCell
from ._base.cells import FactoredCell as FactoredCell
from ._base.cells import Linear as Linear
from ._base.cells import LinearCell as LinearCell
from ._base.cells import RNNCellBase as RNNCellBase
from ._base.cells import SequentialCell as SequentialCell
from ._base.layers import AbstractLayer as AbstractLayer
from ._base.mixable import Mixable as Mixable
from ._cells import AntisymmetricRNNCell as AntisymmetricRNNCell
from ._cells import ConvGRUCell as ConvGRUCell
from ._cells import ConvLSTMCell as ConvLSTMCell
from ._cells import CoRNNCarry as CoRNNCarry
from ._cells import CoRNNCell as CoRNNCell
from ._cells import CTRNNCell as CTRNNCell
from ._cells import DeltaNetCarry as DeltaNetCarry
from ._cells import DeltaNetCell as DeltaNetCell
from ._cells import DeltaNetCoreCell as DeltaNetCoreCell
from ._cells import GatedDeltaNetCell as GatedDeltaNetCell
from ._cells import GatedDeltaNetCoreCell as GatedDeltaNetCoreCell
from ._cells import GILRCell as GILRCell
from ._cells import GLACell as GLACell
from ._cells import GLACoreCell as GLACoreCell
from ._cells import GRUCell as GRUCell
from ._cells import HawkCarry as HawkCarry
from ._cells import HawkCell as HawkCell
from ._cells import HGRN2Cell as HGRN2Cell
from ._cells import HGRN2CoreCell as HGRN2CoreCell
from ._cells import HGRNCell as HGRNCell
from ._cells import IndRNNCell as IndRNNCell
from ._cells import JANETCell as JANETCell
from ._cells import LayerNormGRUCell as LayerNormGRUCell
from ._cells import LayerNormLSTMCell as LayerNormLSTMCell
from ._cells import LegendreMemoryCell as LegendreMemoryCell
from ._cells import LEMCarry as LEMCarry
from ._cells import LEMCell as LEMCell
from ._cells import LinearAttentionCell as LinearAttentionCell
from ._cells import LinearAttentionCoreCell as LinearAttentionCoreCell
from ._cells import LinOSSCarry as LinOSSCarry
from ._cells import LinOSSCell as LinOSSCell
from ._cells import LMUCarry as LMUCarry
from ._cells import LMUCell as LMUCell
from ._cells import LRUCell as LRUCell
from ._cells import LSTMCarry as LSTMCarry
from ._cells import LSTMCell as LSTMCell
from ._cells import Mamba2Carry as Mamba2Carry
from ._cells import Mamba2Cell as Mamba2Cell
from ._cells import MambaCarry as MambaCarry
from ._cells import MambaCell as MambaCell
from ._cells import MGUCell as MGUCell
from ._cells import MinGRUCell as MinGRUCell
from ._cells import MinimalRNNCell as MinimalRNNCell
from ._cells import MinLSTMCell as MinLSTMCell
from ._cells import MLSTMCarry as MLSTMCarry
from ._cells import MLSTMCell as MLSTMCell
from ._cells import MLSTMCoreCell as MLSTMCoreCell
from ._cells import MLSTMLayerCarry as MLSTMLayerCarry
from ._cells import PeepholeLSTMCell as PeepholeLSTMCell
from ._cells import QRNNCarry as QRNNCarry
from ._cells import QRNNCell as QRNNCell
from ._cells import RetentionCarry as RetentionCarry
from ._cells import RetentionCell as RetentionCell
from ._cells import RetentionCoreCell as RetentionCoreCell
from ._cells import RGLRUCarry as RGLRUCarry
from ._cells import RGLRUCell as RGLRUCell
from ._cells import RWKV4Cell as RWKV4Cell
from ._cells import RWKV4CoreCarry as RWKV4CoreCarry
from ._cells import RWKV4CoreCell as RWKV4CoreCell
from ._cells import RWKV6Cell as RWKV6Cell
from ._cells import RWKV6CoreCell as RWKV6CoreCell
from ._cells import RWKV7Cell as RWKV7Cell
from ._cells import RWKV7CoreCell as RWKV7CoreCell
from ._cells import RWKVCarry as RWKVCarry
from ._cells import S4DCell as S4DCell
from ._cells import S5Cell as S5Cell
from ._cells import SelectiveSSMCell as SelectiveSSMCell
from ._cells import SimpleCell as SimpleCell
from ._cells import SLSTMCarry as SLSTMCarry
from ._cells import SLSTMCell as SLSTMCell
from ._cells import SLSTMMemory as SLSTMMemory
from ._cells import SRU2Cell as SRU2Cell
from ._cells import SRUCell as SRUCell
from ._cells import SSDCell as SSDCell
from ._cells import UGRNNCell as UGRNNCell
from ._cells import elu_plus_one as elu_plus_one
from ._cells import positive as positive
from ._functions.function import as_function as as_function
from ._functions.project import project as project
from ._layers.bidirectional import Bidirectional as Bidirectional
from ._layers.padding import pad_sequences as pad_sequences
from ._layers.rnn import RNN as RNN
from ._layers.sequences import flip_sequences as flip_sequences
from ._layers.sequences import last_valid as last_valid
from ._layers.sequences import lengths_to_mask as lengths_to_mask
from ._layers.stacked import Stacked as Stacked
from ._layers.summary import summary as summary
from ._public import publish as _publish
from ._time import Advanced as Advanced
from ._time import State as State
from ._time import Time as Time
from ._wrappers import DropConnect as DropConnect
from ._wrappers import DropoutCarry as DropoutCarry
from ._wrappers import DropoutMasks as DropoutMasks
from ._wrappers import LearnedCarry as LearnedCarry
from ._wrappers import Pointwise as Pointwise
from ._wrappers import RecurrentDropout as RecurrentDropout
from ._wrappers import Residual as Residual
from ._wrappers import StackedCell as StackedCell
from ._wrappers import Zoneout as Zoneout
from .initializers import chrono as chrono

_publish(dict(globals()), "eqx_rnn")

if _typing.TYPE_CHECKING:
    from . import interop as interop

    __version__: str
else:

    def __getattr__(name):  # few programs use these names, so they are loaded on first use
        from importlib import import_module, metadata

        if name == "interop":
            return import_module("eqx_rnn.interop")
        if name == "__version__":
            return metadata.version("eqx-rnn")
        raise AttributeError(f"module 'eqx_rnn' has no attribute {name!r}")

    def __dir__():
        return sorted({"interop", *(name for name in globals() if not name.startswith("_"))})
