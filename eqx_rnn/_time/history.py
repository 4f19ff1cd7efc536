"""Values before each step, and the last values of valid steps."""

from collections.abc import Sequence
from typing import Any

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._select import select
from .states import State

Steps = Bool[Array, "steps *batch"] | None


def shift(now: Array, first: Array, values: Array, resets: Steps) -> Array:
    """The value before each step: `now` before the chunk, and `first` after a reset."""
    before = jnp.concatenate([now[None], values[:-1]])
    if resets is None:
        return before
    return select(resets, jnp.broadcast_to(first, before.shape), before)


def held(now: Array, values: Array, valid: Steps) -> Array:
    """For each step, the value of the last valid step so far; `now` if there is none."""
    if valid is None:
        return values
    steps = lax.broadcasted_iota(jnp.int32, valid.shape, 0)
    last = lax.cummax(jnp.where(valid, steps, -1))
    index = lax.expand_dims(jnp.maximum(last, 0), range(last.ndim, values.ndim))
    found = jnp.take_along_axis(values, index, 0, mode="promise_in_bounds")
    return select(last >= 0, found, jnp.broadcast_to(now, values.shape))


def window(
    slots: Sequence[State], x: Array, valid: Steps, resets: Steps
) -> tuple[list[Array], list[Array]]:
    """The last inputs at every step, oldest first, `x` last; and the contents of
    the slots after every step.

    `slots` hold the inputs before the chunk, oldest first.
    """
    lags, histories = [x], []
    for slot in reversed(slots):
        histories.insert(0, held(slot.now, lags[0], valid))
        before = shift(slot.now, slot.first, histories[0], resets)
        lags.insert(0, select(valid, before, jnp.broadcast_to(slot.safe, before.shape)))
    return lags, histories


def count(
    now: Array, first: Array, num_steps: Any, valid: Steps, resets: Steps
) -> tuple[Array, Array]:
    """The number of valid steps before and after each step, from `now` or from a reset on."""
    one = jnp.ones_like(jnp.broadcast_to(now, (num_steps, *now.shape)))
    one = one if valid is None else valid.astype(now.dtype)
    after = lax.cumsum(one)
    before = after - one
    start = now[None]
    if resets is not None:
        at_reset = lax.cummax(jnp.where(resets, before, -1))
        start = jnp.where(at_reset >= 0, first[None] - at_reset, start)
    return before + start, after + start
