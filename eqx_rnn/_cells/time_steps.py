"""Time steps of state space models, drawn uniformly in their logarithm."""

import math
from typing import Any

import jax
from jaxtyping import Array, PRNGKeyArray

from ..initializers import Initializer


def log_time_steps(least: float, most: float) -> Initializer:
    """Draws logarithms that are uniform in `[log(least), log(most)]`."""

    def init(key: PRNGKeyArray, shape: Any, dtype: Any) -> Array:
        return jax.random.uniform(key, shape, dtype, math.log(least), math.log(most))

    return init


def check_time_steps(owner: str, least: float, most: float) -> None:
    """Checks the bounds of initial time steps."""
    if not 0 < least <= most < math.inf:
        raise ValueError(
            f"{owner}: `min_dt` and `max_dt` must be positive with min_dt <= max_dt, got {least} "
            f"and {most}."
        )
