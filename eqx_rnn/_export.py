"""Carries as arguments and results of functions that `jax.export` serializes."""

from contextlib import suppress

from jax.export import register_namedtuple_serialization

from ._cells import CoRNNCarry, LEMCarry, LSTMCarry, SLSTMCarry, SLSTMMemory
from ._wrappers.recurrent_dropout import DropoutCarry, DropoutMasks

CARRIES = (
    CoRNNCarry,
    DropoutCarry,
    DropoutMasks,
    LEMCarry,
    LSTMCarry,
    SLSTMCarry,
    SLSTMMemory,
)

for carry in CARRIES:
    with suppress(ValueError):  # raised if the process uses this name for a type of its own
        register_namedtuple_serialization(carry, serialized_name=f"eqx_rnn.{carry.__name__}")
