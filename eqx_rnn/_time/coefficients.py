"""The coefficients of a recurrence, which may be the same at all steps."""

from typing import Any

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array

from .._checks.messages import describe
from .._dtypes import widest
from .states import State


def per_step(
    verb: str, state: State, num_steps: Any, num_batch_axes: int, **coefficients: Any
) -> tuple[State, list[Array]]:
    """The state and its coefficients in one dtype. A complex state keeps its dtype.

    A coefficient that is the same at all steps gets the rank of the state. All others have one more
    axis in front, the steps.
    """
    for name, value in coefficients.items():
        if value is None or getattr(value, "describes_itself", False):
            raise TypeError(f"time.{verb}: `{name}` must be an array, got {describe(value)}.")
    is_complex = jnp.issubdtype(state.dtype, jnp.complexfloating)
    dtype = state.dtype if is_complex else widest(state.dtype, *coefficients.values())
    by_step, rank = (num_steps, *state.shape), len(state.shape)
    found = []
    for name, value in coefficients.items():
        a = jnp.asarray(value)
        is_constant = a.ndim <= rank - num_batch_axes
        sizes = zip(reversed(a.shape), reversed(by_step), strict=False)
        fits = all(size == wanted or _is_one(size) for size, wanted in sizes)
        if not (fits and (is_constant or a.ndim == rank + 1)):
            raise ValueError(
                f"time.{verb}: `{name}` must be (steps, *batch, *features) or (*features), to fit "
                f"the state {describe(state)} in {num_steps} steps with {num_batch_axes} batch "
                f"axes, got {describe(a)}. An axis along which it is constant may have size 1."
            )
        if is_constant:
            a = lax.expand_dims(a, range(rank - a.ndim))
        elif _is_one(a.shape[0]):
            a = a[0]
        found.append(a.astype(dtype))
    return state.astype(dtype), found


def spread(a: Any, num_steps: Any, state: State) -> Array:
    """A coefficient with the axes of the state, at every step."""
    return jnp.broadcast_to(a, (num_steps, *state.shape))


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1
