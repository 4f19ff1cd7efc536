"""Parts of a carry whose arrays only have a meaning together."""

from typing import Any, Protocol, TypeVar, runtime_checkable

M = TypeVar("M")


@runtime_checkable
class Mixable(Protocol):
    """A part of a carry whose arrays only have a meaning together, such as an `SLSTMMemory`.

    Any PyTree with a method `mix`, for example a `NamedTuple`, is a `Mixable`. `Zoneout` draws one
    mask for the whole part. At inference it computes the mean with `old.mix(new, rate)`. All arrays
    of the part have the same shape.
    """

    def mix(self: M, other: M, share: Any) -> M:
        """The mean of this part, with the weight `share`, and the other one, with `1 - share`."""
        ...
