"""Vectors of weights on batches of any rank: every cell broadcasts them explicitly."""

import jax.lax as lax
from jaxtyping import Array, Float

from .._kernels.products import project


def along(vector: Float[Array, "*features"], batch: Float[Array, "..."]) -> Float[Array, "..."]:
    """A vector (or a scalar) with as many axes as `batch`, to combine it with the last one."""
    return lax.expand_dims(vector, range(batch.ndim - vector.ndim)) if vector.ndim else vector


def add_bias(
    gates: Float[Array, "... rows"], bias: Float[Array, " rows"] | None
) -> Float[Array, "... rows"]:
    """Adds a bias, unless it is `None`."""
    return gates if bias is None else gates + along(bias, gates)


def affine(
    weight: Float[Array, "rows columns"],
    inputs: Float[Array, "*batch columns"],
    bias: Float[Array, " rows"] | None,
) -> Float[Array, "*batch rows"]:
    """`W x + b` for each `x` of the batch, or `W x` if `b` is `None`."""
    return add_bias(project(weight, inputs), bias)
