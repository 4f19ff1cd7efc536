"""Types for editors and type checkers, for arguments that `_checks` checks at run time.

At run time each type is `Any`: the errors of `_checks` name the argument and give advice.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, Protocol, TypedDict, TypeVar

    import numpy as np
    from jax import ShapeDtypeStruct
    from jaxtyping import Array, PRNGKeyArray

    ArrayLike = Array | np.ndarray | np.generic
    Arrays = Sequence[ArrayLike]
    SampleInput = ArrayLike | ShapeDtypeStruct
    Size = int  # of an axis: a symbolic dimension when a function is exported

    NoCarry = Literal[False]  # of the argument `return_carry`
    WithCarry = Literal[True, "all"]

    Carry = TypeVar("Carry")
    Carry_co = TypeVar("Carry_co", covariant=True)

    class Options(TypedDict, total=False):
        """The options of a layer's call that have no effect on the type of its result."""

        initial_carry: Any
        seq_lengths: ArrayLike | None
        mask: ArrayLike | None
        resets: ArrayLike | None
        key: PRNGKeyArray | None

    class _HasFirstCarry(Protocol[Carry_co]):
        def initialize_carry(
            self, key: PRNGKeyArray | None, sample_input: SampleInput
        ) -> Carry_co: ...

    class RunsCell(Protocol[Carry_co]):
        """A layer with a `cell`, whose carry is of the type that `initialize_carry` returns."""

        @property
        def cell(self) -> _HasFirstCarry[Carry_co]: ...

else:
    ArrayLike = Arrays = SampleInput = Any
    Size = int | Any
