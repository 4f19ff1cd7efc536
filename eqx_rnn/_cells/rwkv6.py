from typing import Any, Unpack

import equinox as eqx
import jax.nn.initializers as jinit
import jax.numpy as jnp
import numpy as np
from jax.nn import silu
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._checks.options import check_heads, check_number
from .._kernels.products import affine, along, project
from .._time import Time
from .base import BlockCell, WeightCell, WeightOptions
from .heads import split_heads
from .rwkv import RWKVCarry, depths, first_carry, group_norm, mixes, ramp, scaled_rows, uniform
from .rwkv6_core import RWKV6CoreCell


class RWKV6Cell(BlockCell, WeightCell, ChunkCell, weight_init=jinit.orthogonal()):
    """The time mixing of RWKV-6, "Finch".

        d = x[t - 1] - x[t]
        l = tanh(W_low (x + mix_x d))                          in parts: w, k, v, r, g
        x_j = x + (mix_j + W_mix_j l_j) d                      for j = w, k, v, r, g
        r, k, v, g = W_ir x_r, W_ik x_k, W_iv x_v, W_ig x_g
        w = -exp(W_decay tanh(W_decay_low x_w) + b_decay)
        h = the step of an RWKV6CoreCell with r, k, v, w
        y = W_out ((gain norm(h) + b_norm) silu(g))            norm per head

    where `norm(h) = (h - mean(h)) / sqrt(var(h) + eps)`. The rows of `mix` are x, w, k, v, r, g.
    The rows of `weight_ih` are r, k, v, g, each with the features of the first head first.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry `RWKVCarry(memory, window)` with
    `memory` `(*batch, num_heads, key_size, hidden_size / num_heads)` and `window`
    `(*batch, 1, input_size)`, the inputs of the step before.

    **Source:** B. Peng et al., "Eagle and Finch: RWKV with matrix-valued states and dynamic
    recurrence", COLM, arXiv:2404.05892 (2024). In the authors' code (RWKV-LM, `RWKV_Tmix_x060`),
    the rows of `mix` are `time_maa_x`, `time_maa_w`, `time_maa_k`, `time_maa_v`, `time_maa_r` and
    `time_maa_g`; those of `weight_ih` are `receptance.weight`, `key.weight`, `value.weight` and
    `gate.weight`; `weight_low`, `weight_decay_low` and `weight_decay` are `time_maa_w1`,
    `time_decay_w1` and `time_decay_w2`, transposed; `weight_mix` is `time_maa_w2` with its last two
    axes swapped; `bias_decay` is `time_decay`; `core.bonus` is `time_faaaa`; `gain` and `bias_norm`
    are `ln_x.weight` and `ln_x.bias`; `weight_out` is `output.weight`. The initial weights are
    those of that code, where W_ik and W_ig have a tenth of the size. Departure: there, `weight_out`
    starts from 0, and so do all outputs.

    If `weight_mix` and `weight_decay` are 0, this is the time mixing of RWKV-5 (`RWKV_Tmix_x052`),
    whose `time_mix_k` is 1 minus the row k of `mix`, and so on. That code divides h by 8 and has
    `eps=1e-5`, which is the same as `eps=64e-5`.
    """

    mix: Float[Array, "6 {self.input_size}"]
    weight_mix: Float[Array, "5 {self.input_size} rank"]
    weight_low: Float[Array, "5*rank {self.input_size}"]
    weight_ih: Float[Array, "rows {self.input_size}"]
    weight_decay_low: Float[Array, "decay_rank {self.input_size}"]
    weight_decay: Float[Array, "keys decay_rank"]
    bias_decay: Float[Array, " keys"]
    gain: Float[Array, "{self.hidden_size}"]
    bias_norm: Float[Array, "{self.hidden_size}"]
    weight_out: Float[Array, "{self.input_size} {self.hidden_size}"]
    core: RWKV6CoreCell
    eps: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 1,
        key_size: int | None = None,
        rank: int = 32,
        decay_rank: int = 64,
        eps: float = 64e-5,
        layer: int = 0,
        num_layers: int = 1,
        **options: Unpack[WeightOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of values of all
        heads, `weight_init` draws `weight_ih` and `weight_out`, and

        - `num_heads`: the number of heads, a divisor of `hidden_size`. Their norms need at least
            two values per head.
        - `key_size`: the number of keys per head. `None` means the number of values.
        - `rank`, `decay_rank`: the number of rows of `W_low` per part, and of `W_decay_low`.
        - `eps`: a number that is added to each variance.
        - `layer`, `num_layers`: the number of this layer in a stack, from 0, and the number of all
            layers. The initial `mix`, `bias_decay`, `gain` and `core.bonus` depend on them.
        """
        draw = self._setup(
            input_size,
            hidden_size,
            options,
            num_heads=num_heads,
            key_size=key_size,
            rank=rank,
            decay_rank=decay_rank,
        )
        check_heads("RWKV6Cell", num_heads, hidden_size)
        self.eps = check_number("RWKV6Cell", "eps", eps)
        deep, shallow = depths("RWKV6Cell", layer, num_layers)
        value_size = hidden_size // num_heads
        shape = num_heads, key_size or value_size, value_size
        self.core = RWKV6CoreCell(*shape, layer=layer, num_layers=num_layers, dtype=draw.dtype)
        keys = num_heads * shape[1]
        ih, m, d, o = draw.keys(4)
        powers = shallow * np.array([1, 1, 1, 1, 0.5, 0.5])
        less = 0.3 * deep * np.array([[0], [0], [0], [1], [0], [0]])
        self.mix = jnp.asarray(1 - mixes(input_size, *powers) - less, draw.dtype)
        self.weight_low = jnp.zeros((5 * rank, input_size), draw.dtype)
        self.weight_mix = draw.array(m, uniform(0.01), (5, input_size, rank))
        self.weight_ih = scaled_rows(draw, ih, self._sizes(), [1, 0.1, 1, 0.1], input_size)
        self.weight_decay_low = jnp.zeros((decay_rank, input_size), draw.dtype)
        self.weight_decay = draw.array(d, uniform(0.01), (keys, decay_rank))
        self.bias_decay = jnp.asarray(-6 + 5 * ramp(keys) ** (0.7 + 1.3 * deep), draw.dtype)
        self.gain = jnp.full(hidden_size, ((1 + layer) / num_layers) ** 0.7, draw.dtype)
        self.bias_norm = jnp.zeros(hidden_size, draw.dtype)
        self.weight_out = draw.weight(o, 1, input_size, hidden_size)

    def _sizes(self) -> tuple[int, ...]:
        keys, values = self.core.num_heads * self.core.key_size, self.hidden_size
        return keys, keys, values, values

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> RWKVCarry:
        self._space(sample_input)
        return first_carry(self, self.core, self.input_size, key, sample_input)

    def chunk(
        self, carry: RWKVCarry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[RWKVCarry, Float[Array, "*batch {self.input_size}"]]:
        window, (last, x) = time.window(carry.window, inputs)
        d = last - x
        mix_x, *mix = (along(row, x) for row in self.mix)
        low = jnp.split(jnp.tanh(project(self.weight_low, x + mix_x * d)), 5, axis=-1)
        from_low = map(project, self.weight_mix, low)
        x_w, x_k, x_v, x_r, x_g = (x + (m + n) * d for m, n in zip(mix, from_low, strict=True))
        rows = np.cumsum(self._sizes())[:-1]
        weights = jnp.split(self.weight_ih, rows)
        r, k, v, g = map(project, weights, (x_r, x_k, x_v, x_g))
        low = jnp.tanh(project(self.weight_decay_low, x_w))
        w = -jnp.exp(affine(self.weight_decay, low, self.bias_decay))
        r, k, v, w = (split_heads(a, self.core.num_heads) for a in (r, k, v, w))
        memory, h = self.core.advance(carry.memory, r, k, v, w, time)
        y = group_norm(h, self.gain, self.bias_norm, self.eps) * silu(g)
        return RWKVCarry(memory, window), project(self.weight_out, y)
