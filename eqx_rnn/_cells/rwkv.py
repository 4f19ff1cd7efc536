"""The code that the RWKV cells share: their carry, initial weights and norm."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.nn.initializers as jinit
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks.options import check_sizes
from .._kernels.products import along
from ..initializers import Initializer
from .base import VectorCell
from .draw import Draw
from .heads import OneMatrixCell, draw_wide, join_heads
from .norms import normalize


class RWKVCarry(NamedTuple):
    """The carry of an RWKV layer: the memory of its core, and the inputs of the step before."""

    memory: Any
    window: Any


def first_carry(
    cell: VectorCell, core: OneMatrixCell, features: int, key: PRNGKeyArray | None, sample: Any
) -> RWKVCarry:
    """The first carry of a layer around a `OneMatrixCell`, for inputs x with some `features`."""
    shapes = (core.num_heads, core.key_size, core.value_size), (1, features)
    return RWKVCarry(*draw_wide(cell, key, sample, *shapes))


def depths(owner: str, layer: int, num_layers: int) -> tuple[float, float]:
    """The place of a layer in a stack: from 0 (first) to 1 (last), and from 1 to nearly 0."""
    if not 0 <= layer < num_layers:
        raise ValueError(
            f"{owner}: `layer` must be the number of the layer, from 0 to `num_layers - 1`, got "
            f"layer={layer} and num_layers={num_layers}."
        )
    return layer / max(num_layers - 1, 1), 1 - layer / num_layers


def ramp(size: int) -> np.ndarray:
    """Numbers from 0 to 1 in equal steps."""
    return np.arange(size) / max(size - 1, 1)


def mixes(size: int, *powers: float) -> np.ndarray:
    """Powers of numbers from 0 to nearly 1: one row per power."""
    return np.stack([(np.arange(size) / size) ** power for power in powers])


def zigzag(size: int) -> np.ndarray:
    """0, 1, -1, 0, 1, -1, ..."""
    return (np.arange(size) + 1) % 3 - 1.0


def uniform(bound: float) -> Initializer:
    """Uniformly distributed numbers between `-bound` and `bound`."""
    return lambda key, shape, dtype: jr.uniform(key, shape, dtype, -bound, bound)


def scaled_rows(
    draw: Draw, key: PRNGKeyArray, sizes: Sequence[int], scales: Sequence[float], columns: int
) -> Float[Array, "rows columns"]:
    """`draw.rows`, with one factor per part."""
    weight = draw.rows(key, sizes, columns)
    return jnp.asarray(np.repeat(scales, sizes), weight.dtype)[:, None] * weight


def low_rank(
    draw: Draw, key: PRNGKeyArray, rows: int, rank: int, columns: int
) -> tuple[Float[Array, "rank columns"], Float[Array, "rows rank"]]:
    """Two matrices, of which the first one is 0, and with it their product."""
    scale = 0.1 * max(rank / rows, 1) ** 0.5
    second = draw.array(key, jinit.orthogonal(scale), (rank, rows)).T
    return jnp.zeros((rank, columns), draw.dtype), second


def rwkv7_ranks(ranks: Sequence[int] | None, features: int) -> Sequence[int]:
    """The four ranks of an RWKV-7 layer. The default is that of the authors."""
    if ranks is None:
        root = features**0.5
        guesses = 1.8 * root, 1.8 * root, 1.3 * root, 0.6 * features**0.8
        return [max(32, 32 * round(guess / 32)) for guess in guesses]
    if len(ranks) != 4:
        raise ValueError(
            "RWKV7Cell: `ranks` must be four numbers, for the decay, the rate, the values and the "
            f"gate, got {ranks!r}."
        )
    names = "ranks[0]", "ranks[1]", "ranks[2]", "ranks[3]"
    check_sizes("RWKV7Cell", **dict(zip(names, ranks, strict=True)))
    return ranks


def group_norm(
    h: Float[Array, "*batch heads size"],
    gain: Float[Array, " features"],
    bias: Float[Array, " features"],
    eps: float,
) -> Float[Array, "*batch features"]:
    """Normalises each head by itself, joins them, and applies the weights of the norm."""
    joined = join_heads(normalize(h, eps))
    return along(gain, joined) * joined + along(bias, joined)
