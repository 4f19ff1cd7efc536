"""Norms over the last axis. All compute in float32 or wider."""

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._dtypes import widest

Vectors = Float[Array, "*batch n"]


def normalize(x: Vectors, eps: float) -> Vectors:
    """`x` with mean 0 and variance 1. `eps` is added to the variance."""
    wide = x.astype(widest(x.dtype, jnp.float32))
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return (centred * lax.rsqrt(variance + eps)).astype(x.dtype)


def normalize_scale(x: Vectors, eps: float) -> Vectors:
    """`x` with mean square 1. `eps` is added to the mean square."""
    wide = x.astype(widest(x.dtype, jnp.float32))
    square = jnp.mean(wide * wide, axis=-1, keepdims=True)
    return (wide * lax.rsqrt(square + eps)).astype(x.dtype)


def unit(x: Vectors, eps: float = 0.0) -> Vectors:
    """`x` with length 1. `eps` is added to the square of the length.

    Vectors that are shorter than 1e-12 are divided by 1e-12, so that the derivative is finite.
    """
    wide = x.astype(widest(x.dtype, jnp.float32))
    square = jnp.sum(wide * wide, axis=-1, keepdims=True) + eps
    return (wide * lax.rsqrt(jnp.maximum(square, 1e-24))).astype(x.dtype)
