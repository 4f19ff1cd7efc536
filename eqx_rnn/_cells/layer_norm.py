"""The options of cells with layer normalisation, and the norm."""

import equinox as eqx
import jax.lax as lax
import jax.nn.initializers as jinit
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._dtypes import widest
from .._kernels.products import along
from ..initializers import Initializer
from .base import GatedCell, GatedCellOptions


class LayerNormOptions(GatedCellOptions, total=False):
    """The keyword arguments of every cell with layer normalisation: see `LayerNormCell`."""

    eps: float
    gain_init: Initializer


class LayerNormCell(GatedCell, eps=1e-5, gain_init=jinit.ones):
    """A `GatedCell` with layer normalisation. It has two more arguments:

    - `eps`: a number that is added to each variance.
    - `gain_init`: an initialiser for the gains.
    """

    eps: float = eqx.field(static=True)

    def _normalize(self, x: Array, gain: Array) -> Array:
        return along(gain, x) * normalize(x, self.eps)


def normalize(x: Float[Array, "*batch n"], eps: float) -> Float[Array, "*batch n"]:
    """`x` with mean 0 and variance 1 over the last axis.

    Mean and variance are computed in float32 or wider. `eps` is added to the variance.
    """
    wide = x.astype(widest(x.dtype, jnp.float32))
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return (centred * lax.rsqrt(variance + eps)).astype(x.dtype)
