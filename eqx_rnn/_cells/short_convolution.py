"""An elementwise convolution over the last steps, with which many blocks begin."""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._kernels.products import add_bias, along
from .._time import Advanced, State, Time

Vectors = Float[Array, "*batch features"]


def convolve_steps(
    state: State,
    u: Vectors,
    weight: Float[Array, "window features"],
    bias: Float[Array, " features"] | None,
    time: Time,
) -> tuple[Advanced, Vectors]:
    """The new part of the carry, and `sum_j weight[j] u[t - window + 1 + j] + bias` of all steps.

    **Arguments:**

    - `state`: the inputs before the chunk, oldest first: `(*batch, window - 1, features)`.
    - `u`: the inputs of all steps, `(steps, *batch, features)`.
    - `weight`: the weight of the oldest input first.
    """
    advanced, lags = time.window(state, u)
    terms = [along(w, u) * u for w, u in zip(weight, lags, strict=True)]
    return advanced, add_bias(functools.reduce(jnp.add, terms), bias)
