"""The coefficients of a recurrence, which may be the same at all steps."""

from typing import Any

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array

from .._checks.messages import describe
from .._dtypes import widest
from .matrix_block import Inputs
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
    dtype = wider(state, *coefficients.values())
    by_step, rank = (num_steps, *state.shape), len(state.shape)
    found = []
    for name, value in coefficients.items():
        a = jnp.asarray(value)
        is_constant = a.ndim <= rank - num_batch_axes
        sizes = zip(reversed(a.shape), reversed(by_step), strict=False)
        fits = all(size == wanted or is_one(size) for size, wanted in sizes)
        if not (fits and (is_constant or a.ndim == rank + 1)):
            raise ValueError(
                f"time.{verb}: `{name}` must be (steps, *batch, *features) or (*features), to fit "
                f"the state {describe(state)} in {num_steps} steps with {num_batch_axes} batch "
                f"axes, got {describe(a)}. An axis along which it is constant may have size 1."
            )
        if is_constant:
            a = lax.expand_dims(a, range(rank - a.ndim))
        elif is_one(a.shape[0]):
            a = a[0]
        found.append(a.astype(dtype))
    return state.astype(dtype), found


def wider(state: State, *coefficients: Any) -> Any:
    """The dtype of the state and its coefficients together. A complex state keeps its dtype."""
    if jnp.issubdtype(state.dtype, jnp.complexfloating):
        return state.dtype
    return widest(state.dtype, *coefficients)


def half_of(*arrays: Any) -> Any:
    """The dtype of arrays that are all in half precision, and `None` otherwise."""
    dtype = widest(*arrays)
    is_half = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits == 16
    return dtype if is_half else None


def spread(a: Any, num_steps: Any, state: State) -> Array:
    """A coefficient with the axes of the state, at every step."""
    return jnp.broadcast_to(a, (num_steps, *state.shape))


def is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1


def matrix_inputs(
    state: State, num_steps: Any, num_batch_axes: int, arguments: dict[str, Any]
) -> tuple[State, Inputs]:
    """The state and the arguments of `time.matrix` in one dtype, with steps and batch axes.

    An axis of the heads along which an argument is constant keeps size 1.
    """
    num_heads_axes = state.ndim - num_batch_axes - 2
    if num_heads_axes < 0 or not jnp.issubdtype(state.dtype, jnp.floating):
        raise ValueError(
            "time.matrix: `state` must be floating-point, (*batch, *heads, key size, value "
            f"size) with {num_batch_axes} batch axes, got {state!r}."
        )
    *leading, key_size, value_size = num_steps, *state.shape
    dtype = widest(state.dtype, *arguments.values())
    found = []
    for name, value in arguments.items():
        if value is None or getattr(value, "describes_itself", False):
            raise TypeError(f"time.matrix: `{name}` must be an array, got {describe(value)}.")
        a = jnp.asarray(value)
        if jnp.issubdtype(a.dtype, jnp.complexfloating):
            raise TypeError(f"time.matrix: `{name}` must be real, got {describe(a)}.")
        sizes = {"value": (value_size,), "log_decay": (1, key_size)}.get(name, (key_size,))
        is_constant = a.ndim <= num_heads_axes + 1
        fits = (a.ndim == 0 and name == "log_decay") or (
            a.ndim > 0
            and a.shape[-1] in sizes
            and (is_constant or a.ndim == state.ndim)
            and all(
                size == wanted or is_one(size)
                for size, wanted in zip(reversed(a.shape[:-1]), reversed(leading), strict=False)
            )
        )
        if not fits:
            last = " or ".join(map(str, sizes))
            raise ValueError(
                f"time.matrix: `{name}` must be (steps, *batch, *heads, {last}), to fit the state "
                f"{describe(state)} in {num_steps} steps with {num_batch_axes} batch axes, got "
                f"{describe(a)}. Without steps and batch axes, it is the same at all steps."
            )
        a = lax.expand_dims(a, range(state.ndim - a.ndim))
        heads = a.shape[1 + num_batch_axes :]
        found.append(jnp.broadcast_to(a, (*leading[: 1 + num_batch_axes], *heads)).astype(dtype))
    query, key, value, log_decay, *erase = found
    return state.astype(dtype), Inputs(query, key, value, log_decay, tuple(erase))
