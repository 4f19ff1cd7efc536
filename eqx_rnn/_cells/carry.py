from typing import NamedTuple

from jaxtyping import Array, Float


class LSTMCarry(NamedTuple):
    """The state of an LSTM: the output `hidden` and the memory `cell`."""

    hidden: Float[Array, "*batch_and_features"]
    cell: Float[Array, "*batch_and_features"]
