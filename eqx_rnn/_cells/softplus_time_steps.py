"""Initial values of time steps that are a softplus of inputs and a bias, and of their decays."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..initializers import Initializer
from .time_steps import log_time_steps


def softplus_time_steps(least: float, most: float) -> Initializer:
    """Draws biases whose softplus is in `[least, most]`, uniformly in its logarithm."""
    log_steps = log_time_steps(least, most)

    def init(key: PRNGKeyArray, shape: Any, dtype: Any) -> Array:
        dt = jnp.exp(log_steps(key, shape, dtype))
        return dt + jnp.log(-jnp.expm1(-dt))

    return init


def log_uniform_rates(least: float, most: float) -> Initializer:
    """Draws the logarithms of rates that are uniform in `[least, most]`."""

    def init(key: PRNGKeyArray, shape: Any, dtype: Any) -> Array:
        return jnp.log(jax.random.uniform(key, shape, dtype, least, most))

    return init
