import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._dtypes import widest


def normalize(x: Float[Array, "*batch n"], eps: float) -> Float[Array, "*batch n"]:
    """Mean 0 and variance 1 over the last axis, computed in float32 or wider.

    `eps` is added to the variance.
    """
    wide = x.astype(widest(x.dtype, jnp.float32))
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return (centred * lax.rsqrt(variance + eps)).astype(x.dtype)
