from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
import numpy as np
from jax.nn import silu
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._base.cells import ChunkCell
from .._checks.options import check_heads, check_number
from .._dtypes import widest
from .._kernels.products import along, project
from .._kernels.separate import compute_once
from .._time import Time
from .base import BlockCell, WeightCell, WeightOptions
from .heads import draw_wide, join_heads, split_heads, split_sizes
from .norms import normalize_scale
from .retention_core import Decays, RetentionCoreCell, check_decays

Vectors = Float[Array, "*batch heads features"]
Pairs = Float[Array, "*batch 1 pairs"]


class RetentionCarry(NamedTuple):
    """The matrices of a retention layer, and the number of steps since the start."""

    memory: Any
    position: Any


class RetentionCell(BlockCell, WeightCell, ChunkCell):
    """Multi-scale retention: a layer with rotated queries and keys, one decay per head, and a gate.

        q, k, v, g = W_iq x, W_ik x / sqrt(key_size), W_iv x, W_ig x
        q, k = q and k, rotated by the angles t a                  t: position
        S' = gamma S + k v^T
        n' = gamma n + 1
        h = S'^T q / sqrt(n')
        y = W_out (silu(g) rms(h))

    per head, where `rms(h) = h / sqrt(mean(h^2) + eps)`. The rows of `weight_ih` are q, k, v, g,
    each with the features of the first head first. The rotation turns the pairs of features (0, 1),
    (2, 3), ...: `(c, d)` becomes `(c cos(t a) - d sin(t a), d cos(t a) + c sin(t a))`. The angles a
    fall from 1 to 1/10000, in a geometric sequence. The carry counts the steps: t is 0 at the first
    step of a sequence and after a reset, and `n = (1 - gamma^t) / (1 - gamma)`.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry `RetentionCarry(memory, position)`
    with `memory`, S, `(*batch, num_heads, key_size, hidden_size / num_heads)` and integers
    `position`, t, `(*batch)`.

    **Source:** Y. Sun et al., "Retentive network: a successor to transformer for large language
    models", arXiv:2307.08621 (2023). In the authors' code (torchscale, `MultiScaleRetention`), the
    rows of `weight_ih` are `q_proj.weight`, `k_proj.weight`, `v_proj.weight` and `g_proj.weight`;
    `weight_out` is `out_proj.weight`; gamma is the exponential of its fixed `decay`. The state of
    its recurrent form, `prev_key_value`, is S^T / sqrt(n), and `scale` is n; the results are the
    same. Its parallel form also divides by a sum of weights, so `eps` has another effect there.
    Departure: the initial weights.
    """

    weight_ih: Float[Array, "rows {self.input_size}"]
    weight_out: Float[Array, "{self.input_size} {self.hidden_size}"]
    core: RetentionCoreCell
    eps: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 1,
        key_size: int | None = None,
        decays: Decays = None,
        eps: float = 1e-6,
        **options: Unpack[WeightOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of values of all
        heads, and

        - `num_heads`: the number of heads, a divisor of `hidden_size`.
        - `key_size`: the number of keys per head, even. `None` means about half the number of
            values per head.
        - `decays`: gamma, a fraction per head. `None` means `1 - 2^-5, 1 - 2^-6, 1 - 2^-7, ...`.
        - `eps`: a number that is added to each mean square; `layernorm_eps` in torchscale.
        """
        draw = self._setup(input_size, hidden_size, options, num_heads=num_heads, key_size=key_size)
        check_heads("RetentionCell", num_heads, hidden_size)
        value_size = hidden_size // num_heads
        key_size = key_size or 2 * max(value_size // 4, 1)
        if key_size % 2:
            raise ValueError(
                "RetentionCell: `key_size` must be even, because keys are rotated in pairs, got "
                f"{key_size}. Pass {key_size + 1}."
            )
        decays = check_decays("RetentionCell", decays, num_heads)
        self.eps = check_number("RetentionCell", "eps", eps)
        self.core = RetentionCoreCell(num_heads, key_size, value_size, decays=decays, scale=1.0)
        ih, o = draw.keys(2)
        self.weight_ih = draw.rows(ih, self._sizes)
        self.weight_out = draw.weight(o, 1, input_size, hidden_size)

    @property
    def _sizes(self) -> tuple[int, ...]:
        keys, values = self.core.num_heads * self.core.key_size, self.hidden_size
        return keys, keys, values, values

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> RetentionCarry:
        self._space(sample_input)
        shape = self.core.num_heads, self.core.key_size, self.core.value_size
        (memory,) = draw_wide(self, key, sample_input, shape)
        return RetentionCarry(memory, jnp.zeros(memory.shape[:-3], jnp.int32))

    def chunk(
        self, carry: RetentionCarry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[RetentionCarry, Float[Array, "*batch {self.input_size}"]]:
        parts = split_sizes(project(self.weight_ih, inputs), self._sizes)
        q, k, v, g = (split_heads(a, self.core.num_heads) for a in parts)
        counted, t = time.count(carry.position)
        turns = rotations(self.core.key_size, t, q.dtype)
        q, k = rotate(q, *turns), rotate(self.core.key_size**-0.5 * k, *turns)
        memory, h = self.core.advance(carry.memory, q, k, v, time)
        h = h * lax.rsqrt(sum_of_powers(self.core.gamma, t + 1, h.dtype))
        y = silu(g) * normalize_scale(h, self.eps)
        return RetentionCarry(memory, counted), project(self.weight_out, join_heads(y))


def rotations(size: int, position: Int[Array, "*batch"], dtype: jnp.dtype) -> tuple[Pairs, Pairs]:
    """The cosines and sines of the angles of all pairs of features times the position."""
    wide = widest(dtype, jnp.float32)
    angles = jnp.asarray(1 / 10_000 ** np.linspace(0, 1, size // 2), wide)
    position = position[..., None, None].astype(wide)
    turns = along(angles, position) * position
    return compute_once((jnp.cos(turns), jnp.sin(turns)))


def rotate(x: Vectors, cos: Pairs, sin: Pairs) -> Vectors:
    """Rotates the pairs of features (0, 1), (2, 3), ..."""
    even, odd = x[..., ::2].astype(cos.dtype), x[..., 1::2].astype(cos.dtype)
    pairs = jnp.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1)
    return pairs.reshape(x.shape).astype(x.dtype)


def sum_of_powers(
    base: np.ndarray, number: Int[Array, "*batch"], dtype: jnp.dtype
) -> Float[Array, "*batch bases 1"]:
    """`1 + base + base^2 + ...` with this number of terms."""
    wide = widest(dtype, jnp.float32)
    number = number[..., None].astype(wide)
    log = along(jnp.asarray(np.log(base), wide), number)
    less = np.where(base == 1, 1, 1 - base)
    total = -jnp.expm1(number * log) / along(jnp.asarray(less, wide), number)
    total = jnp.where(along(jnp.asarray(base == 1), number), number, total)
    return total[..., None].astype(dtype)
