from typing import NamedTuple

from jaxtyping import Array, Float


class LSTMCarry(NamedTuple):
    """The state of an LSTM between steps: `hidden` is what it puts out, `cell` its memory."""

    hidden: Float[Array, "*batch_and_features"]
    cell: Float[Array, "*batch_and_features"]
