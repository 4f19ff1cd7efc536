import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._dtypes import widest
from .affine import along


def normalize(
    x: Float[Array, "*batch n"], gain: Float[Array, " n"], eps: float
) -> Float[Array, "*batch n"]:
    """`gain` times `x` with mean 0 and variance 1 over the last axis.

    Mean and variance are computed in float32 or wider. `eps` is added to the variance.
    """
    wide = x.astype(widest(x.dtype, jnp.float32))
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return along(gain, x) * (centred * lax.rsqrt(variance + eps)).astype(x.dtype)
