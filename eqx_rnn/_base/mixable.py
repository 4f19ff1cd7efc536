"""Parts of a carry that only have a meaning as a whole."""

from typing import Any, Protocol, TypeVar, runtime_checkable

M = TypeVar("M")


@runtime_checkable
class Mixable(Protocol):
    """A part of a carry whose arrays only have a meaning together, such as an `SLSTMMemory`.

    Any PyTree, for example a `NamedTuple`, becomes one by its method `mix`. `Zoneout` then draws
    one mask for the whole part, and computes the mean at inference by `old.mix(new, rate)`. All
    arrays of the part have the same shape.
    """

    def mix(self: M, other: M, share: Any) -> M:
        """The mean of this part, with the weight `share`, and the other one, with `1 - share`."""
        ...
