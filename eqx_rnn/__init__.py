"""Recurrent neural networks for Equinox."""

from importlib.metadata import version

from jaxtyping import install_import_hook

# Every annotated shape of the package is checked when a function runs (under `jit`: is traced).
with install_import_hook("eqx_rnn", "beartype.beartype"):
    from . import interop as interop
    from .base import FactoredCell as FactoredCell
    from .base import RNNCellBase as RNNCellBase
    from .base import SequentialCell as SequentialCell
    from .bidirectional import Bidirectional as Bidirectional
    from .cells import ConvGRUCell as ConvGRUCell
    from .cells import ConvLSTMCell as ConvLSTMCell
    from .cells import GRUCell as GRUCell
    from .cells import LSTMCarry as LSTMCarry
    from .cells import LSTMCell as LSTMCell
    from .cells import MGUCell as MGUCell
    from .cells import SimpleCell as SimpleCell
    from .rnn import RNN as RNN
    from .sequences import flip_sequences as flip_sequences
    from .stacked import Stacked as Stacked
    from .wrappers import StackedCell as StackedCell

__version__ = version("eqx-rnn")
