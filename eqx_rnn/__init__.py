"""Recurrent neural networks for Equinox."""

import sys
from importlib.metadata import version

from jaxtyping import install_import_hook

from ._checks import typecheck as _typecheck  # noqa: F401

# Every annotated shape is checked when a function runs (under `jit`: is traced). But not in the
# scans: what they are given has been checked, and to check it in each of their functions again took
# half of the time of tracing. Nor in the modules that check arguments themselves.
_folders = ("_cells", "_export", "_layers", "_wrappers", "initializers", "interop")
_checked = ["eqx_rnn._base.cells", *(f"eqx_rnn.{name}" for name in _folders)]


with install_import_hook(_checked, "eqx_rnn._checks.typecheck.typecheck"):
    from . import _export as _export
    from . import interop as interop
    from ._base.cells import Begun as Begun
    from ._base.cells import FactoredCell as FactoredCell
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
    from ._cells import GRUCell as GRUCell
    from ._cells import IndRNNCell as IndRNNCell
    from ._cells import JANETCell as JANETCell
    from ._cells import LayerNormGRUCell as LayerNormGRUCell
    from ._cells import LayerNormLSTMCell as LayerNormLSTMCell
    from ._cells import LEMCarry as LEMCarry
    from ._cells import LEMCell as LEMCell
    from ._cells import LSTMCarry as LSTMCarry
    from ._cells import LSTMCell as LSTMCell
    from ._cells import MGUCell as MGUCell
    from ._cells import MinimalRNNCell as MinimalRNNCell
    from ._cells import PeepholeLSTMCell as PeepholeLSTMCell
    from ._cells import SimpleCell as SimpleCell
    from ._cells import SLSTMCarry as SLSTMCarry
    from ._cells import SLSTMCell as SLSTMCell
    from ._cells import SLSTMMemory as SLSTMMemory
    from ._cells import UGRNNCell as UGRNNCell
    from ._checks.arguments import guard_classes as _guard_classes
    from ._functions.function import as_function as as_function
    from ._layers.bidirectional import Bidirectional as Bidirectional
    from ._layers.padding import pad_sequences as pad_sequences
    from ._layers.rnn import RNN as RNN
    from ._layers.sequences import flip_sequences as flip_sequences
    from ._layers.sequences import last_valid as last_valid
    from ._layers.sequences import lengths_to_mask as lengths_to_mask
    from ._layers.stacked import Stacked as Stacked
    from ._wrappers import DropConnect as DropConnect
    from ._wrappers import DropoutCarry as DropoutCarry
    from ._wrappers import DropoutMasks as DropoutMasks
    from ._wrappers import LearnedCarry as LearnedCarry
    from ._wrappers import RecurrentDropout as RecurrentDropout
    from ._wrappers import Residual as Residual
    from ._wrappers import StackedCell as StackedCell
    from ._wrappers import Zoneout as Zoneout
    from .initializers import chrono as chrono

_guard_classes(globals())

# Public objects say that they come from where they are public, so that pickles of them can be read
# after a file has moved.
for _home in ("eqx_rnn", "eqx_rnn.interop"):
    for _name, _value in list(vars(sys.modules[_home]).items()):
        if not _name.startswith("_") and getattr(_value, "__module__", "").startswith(_home + "."):
            _value.__module__ = _home

__version__ = version("eqx-rnn")
