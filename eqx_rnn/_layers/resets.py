"""Where episodes start and end."""

from typing import Any

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .valid_steps import Axes, Valid, check_steps


def episode_ends(resets: Valid, valid: Valid | None) -> Valid:
    """The last steps of episodes, from the first steps. Each precedes a valid first step."""
    if valid is None:
        valid = jnp.ones_like(resets)
    num_steps = resets.shape[0]
    time = jnp.arange(num_steps).reshape(-1, *(resets.ndim - 1) * (1,))
    at_or_after = lax.cummin(jnp.where(valid, time, num_steps), reverse=True)
    pad = [(0, 1), *(resets.ndim - 1) * [(0, 0)]]
    after = jnp.pad(at_or_after, pad, constant_values=num_steps)[1:]
    return jnp.take_along_axis(jnp.pad(resets, pad), after, 0)


def backward_resets(
    owner: str, resets: Any, valid: Valid | None, axes: Axes
) -> Bool[Array, "*batch_and_time"]:
    """The `resets` of `RNN(reverse=True)`: the last steps of episodes, from the first steps."""
    starts = check_steps(owner, "resets", resets, axes)
    return jnp.moveaxis(episode_ends(starts, valid), 0, axes.time_axis)
