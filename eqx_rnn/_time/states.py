"""The parts of a carry, as a `ChunkCell` sees them."""

from collections.abc import Callable
from typing import Any, NoReturn

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array

from .._checks.messages import describe

_BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"]
_OTHERS = ["neg", "abs", "lt", "le", "gt", "ge", "eq", "ne", "getitem", "iter", "bool", "float"]
_OPERATORS = [*_BINARY, *(f"r{name}" for name in _BINARY), *_OTHERS, "array"]


class _Opaque:
    """A value that a cell passes on, and cannot compute with."""

    describes_itself = True

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for name in _OPERATORS:
            setattr(cls, f"__{name}__", cls._refuse)
        cls.__hash__ = object.__hash__

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(self._advice())

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(name if name.startswith("_") else self._advice())

    def _advice(self) -> str:
        return (
            f"A part of a carry, {self!r}, has no value inside `ChunkCell.chunk`, because it "
            "differs from step to step. Advance it by a verb of `time`, for example `new, h = "
            "time.linear(state, a, b)`, and compute with `h`, the values after every step, or with "
            "`time.before(new)`, the values before every step."
        )


class State(_Opaque):
    """One part of a carry, before the steps of a chunk.

    A cell gets one for each array of its carry, and passes it to a verb of
    [`Time`][eqx_rnn.Time]. It has a `shape`, `(*batch, *features)`, and a `dtype`, and its value
    cannot be read.
    """

    def __init__(
        self,
        now: Array,
        first: Array,
        safe: Array,
        kept: Any = None,
        origin: Any = None,
        name: str = "",
    ):
        self.now = now  # the value before the chunk
        self.first = first  # the value that a reset puts in place
        self.safe = safe  # the value before a valid step, from which skipped steps are computed
        self.kept = kept  # see `keep`
        self.origin = self if origin is None else origin  # the state that the engine made
        self.name = name  # the place in the carry of a state that is kept

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.now.shape

    @property
    def ndim(self) -> int:
        return self.now.ndim

    @property
    def dtype(self) -> Any:
        return self.now.dtype

    def keep(self, kept: Any, name: str = "") -> "State":
        """The same state, with units that keep their old value, for `Zoneout`.

        `kept` is bool, `(steps, *batch, *features)`, or a fraction `f`: the new value is then
        `f old + (1 - f) new`.
        """
        return State(self.now, self.first, self.safe, kept, self.origin, name)

    def astype(self, dtype: Any) -> "State":
        if dtype == self.dtype:
            return self
        now, first, safe = (a.astype(dtype) for a in (self.now, self.first, self.safe))
        return State(now, first, safe, self.kept, self.origin, self.name)

    def at(self, index: int, axis: int) -> "State":
        """One item along an axis."""
        take = lambda a: lax.index_in_dim(a, index, axis, keepdims=False)
        return State(take(self.now), take(self.first), take(self.safe))

    def __repr__(self) -> str:
        return f"State({describe(self.now)})"


class Advanced(_Opaque):
    """One part of the new carry, as a verb of [`Time`][eqx_rnn.Time] returns it."""

    def __init__(self, state: State, now: Array, history: Callable[[], Array]):
        self.state = state  # before the chunk
        self.now = now  # after the last step
        self.history = history  # returns the values after every step, held at skipped steps

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.now.shape

    @property
    def dtype(self) -> Any:
        return self.now.dtype

    def __repr__(self) -> str:
        return f"Advanced({describe(self.now)})"


def hold(kept: Any, old: Any, new: Array) -> Array:
    """`new`, with `old` for the kept fraction. `kept` is bool, a number, or `None` for zero."""
    if kept is None:
        return new
    if hasattr(kept, "dtype") and jnp.issubdtype(kept.dtype, jnp.bool_):
        return jnp.where(kept, old, new)
    return (kept * old + (1 - kept) * new).astype(new.dtype)


def check_state(verb: str, state: Any) -> None:
    """Checks the argument of a verb."""
    if isinstance(state, Advanced):
        raise TypeError(
            f"time.{verb}: `state` must be a part of the carry, got {state!r}, which another verb "
            "has advanced already. Each part advances once per chunk."
        )
    if not isinstance(state, State):
        raise TypeError(
            f"time.{verb}: `state` must be a part of the carry, as `chunk` gets it, got "
            f"{describe(state)}. Pass one part, such as `carry.hidden`."
        )


def check_not_kept(verb: str, state: State) -> None:
    """Checks that `Zoneout` does not keep the numbers of a state."""
    if state.kept is not None:
        raise ValueError(
            f"Zoneout: `rate` must be 0 for the part `{state.name or verb}` of the carry, "
            f"{state!r}, because its numbers are not units of a hidden state. Pass rates in the "
            "structure of the carry, with 0 for this part."
        )
