"""The inverse of a unit lower triangular matrix, by products of its blocks.

A triangular solve of LAPACK handles one matrix at a time, on threads of its own. Here, the inverses
of all diagonal blocks of one size follow from those of half the size:

    [A 0]^-1     [   A^-1         0  ]
    [C D]     =  [-D^-1 C A^-1   D^-1]

This is forward substitution in blocks, and as accurate. Powers of the matrix would not be: their
sum cancels.
"""

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float

SMALL = 4  # up to this size, products of blocks are sums of elementwise products


@jax.custom_jvp
def inverse(lower: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """`(I + lower)^-1`, where `lower` is zero on and above its diagonal."""
    *batch, n, _ = lower.shape
    size = 1 << (n - 1).bit_length() if n > 1 else 1
    padding = [*len(batch) * [(0, 0)], (0, size - n), (0, size - n)]
    lower = jnp.pad(lower, padding)
    blocks, m = jnp.ones((*batch, size, 1, 1), lower.dtype), 1
    while m < size:
        number = size // (2 * m)
        tiles = lower.reshape(*batch, number, 2, m, number, 2, m)
        below = jnp.moveaxis(jnp.diagonal(tiles[..., 1, :, :, 0, :], axis1=-4, axis2=-2), -1, -3)
        pairs = blocks.reshape(*batch, number, 2, m, m)
        first, second = pairs[..., 0, :, :], pairs[..., 1, :, :]
        corner = -_product(second, _product(below, first))
        upper = jnp.concatenate([first, jnp.zeros_like(first)], -1)
        blocks = jnp.concatenate([upper, jnp.concatenate([corner, second], -1)], -2)
        m *= 2
    return blocks[..., 0, :n, :n]


@inverse.defjvp
def _inverse_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    found = inverse(*primals)
    return found, -_product(found, _product(tangents[0], found))


def _product(a: Array, b: Array) -> Array:
    if a.shape[-1] > SMALL:
        return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
    return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)
