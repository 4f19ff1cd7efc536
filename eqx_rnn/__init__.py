"""Recurrent neural networks for Equinox."""

import sys
from importlib.metadata import version
from pkgutil import iter_modules

from jaxtyping import install_import_hook

from . import _typecheck as _typecheck

# Every annotated shape is checked when a function runs (under `jit`: is traced). But not in `scan`:
# what it is given has been checked, and to check it in each of its functions again took half of
# the time of tracing. Nor in the modules that check arguments themselves: a check of a check took a
# fifth of the time of a step outside `jit`. Nor in those that compare functions, which happens at
# each call of a jitted function.
_unchecked = {
    f"eqx_rnn.{name}"
    for name in (
        *("scan", "_arguments", "_carries", "_checks", "_contract", "_errors", "_functions"),
        *("_gates", "_layer_widths", "_pickles", "_same", "_structs", "_values", "_widths"),
    )
}
_checked = [m.name for m in iter_modules(__path__, "eqx_rnn.") if m.name not in _unchecked]

with install_import_hook(_checked, "eqx_rnn._typecheck.typecheck"):
    from . import _export as _export
    from . import interop as interop
    from ._arguments import guard_classes as _guard_classes
    from ._functions import as_function as as_function
    from .base import FactoredCell as FactoredCell
    from .base import RNNCellBase as RNNCellBase
    from .base import SequentialCell as SequentialCell
    from .bidirectional import Bidirectional as Bidirectional
    from .cells import AntisymmetricRNNCell as AntisymmetricRNNCell
    from .cells import ConvGRUCell as ConvGRUCell
    from .cells import ConvLSTMCell as ConvLSTMCell
    from .cells import CoRNNCarry as CoRNNCarry
    from .cells import CoRNNCell as CoRNNCell
    from .cells import CTRNNCell as CTRNNCell
    from .cells import GRUCell as GRUCell
    from .cells import IndRNNCell as IndRNNCell
    from .cells import JANETCell as JANETCell
    from .cells import LayerNormGRUCell as LayerNormGRUCell
    from .cells import LayerNormLSTMCell as LayerNormLSTMCell
    from .cells import LEMCarry as LEMCarry
    from .cells import LEMCell as LEMCell
    from .cells import LSTMCarry as LSTMCarry
    from .cells import LSTMCell as LSTMCell
    from .cells import MGUCell as MGUCell
    from .cells import MinimalRNNCell as MinimalRNNCell
    from .cells import PeepholeLSTMCell as PeepholeLSTMCell
    from .cells import SimpleCell as SimpleCell
    from .cells import SLSTMCarry as SLSTMCarry
    from .cells import SLSTMCell as SLSTMCell
    from .cells import SLSTMMemory as SLSTMMemory
    from .cells import UGRNNCell as UGRNNCell
    from .initializers import chrono as chrono
    from .rnn import RNN as RNN
    from .sequences import flip_sequences as flip_sequences
    from .stacked import Stacked as Stacked
    from .wrappers import DropConnect as DropConnect
    from .wrappers import DropoutCarry as DropoutCarry
    from .wrappers import DropoutMasks as DropoutMasks
    from .wrappers import LearnedCarry as LearnedCarry
    from .wrappers import RecurrentDropout as RecurrentDropout
    from .wrappers import Residual as Residual
    from .wrappers import StackedCell as StackedCell
    from .wrappers import Zoneout as Zoneout

_guard_classes(globals())

# Public objects say that they come from where they are public, so that pickles of them can be read
# after a file has moved.
for _home in ("eqx_rnn", "eqx_rnn.interop"):
    for _name, _value in list(vars(sys.modules[_home]).items()):
        if not _name.startswith("_") and getattr(_value, "__module__", "").startswith(_home + "."):
            _value.__module__ = _home

__version__ = version("eqx-rnn")
