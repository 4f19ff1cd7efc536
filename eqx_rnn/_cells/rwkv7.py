import math
from collections.abc import Sequence
from typing import Any, Unpack

import equinox as eqx
import jax.nn.initializers as jinit
import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._checks.options import check_heads, check_number
from .._kernels.products import affine, along, project
from .._time import Time
from .base import VectorCell, WeightCell, WeightOptions
from .heads import join_heads, split_heads
from .norms import unit
from .rwkv import (
    RWKVCarry,
    depths,
    first_carry,
    group_norm,
    low_rank,
    mixes,
    ramp,
    rwkv7_ranks,
    scaled_rows,
)
from .rwkv7_core import RWKV7CoreCell

_INIT = jinit.variance_scaling(1 / 12, "fan_in", "uniform")  # bounds +-0.5 / sqrt(input_size)


class RWKV7Cell(VectorCell, WeightCell, ChunkCell, weight_init=_INIT):
    """The time mixing of RWKV-7, "Goose".

        x_j = x[t] + mix_j (x[t - 1] - x[t])                   for j = r, w, k, v, a, g
        r, k, v = W_ir x_r, W_ik x_k, W_iv x_v
        w = -exp(-1/2) sigmoid(W_w tanh(W_w_low x_w) + b_w)    logarithm of the decay
        a = sigmoid(W_a W_a_low x_a + b_a)
        g = W_g sigmoid(W_g_low x_g)
        u = unit(erase_scale k)                                length 1 per head
        k~ = k (1 + rate_mix (a - 1))
        v~ = v, or v + sigmoid(W_v W_v_low x_v + b_v) (v_first - v)      with takes_value=True
        h = the step of an RWKV7CoreCell with r, k~, v~, w, -u, a u
        z = gain norm(h) + b_norm + (sum of bonus r k~) v~     norm and sum per head
        y = W_out (g z)

    where `norm(h) = (h - mean(h)) / sqrt(var(h) + eps)`. The rows of `mix` are r, w, k, v, a, g.
    The rows of `weight_ih` are r, k, v, each with the features of the first head first.

    **Stacks:** every layer mixes its values with those of the first layer. So the first layer has
    `returns_value=True`, all others `takes_value=True`, and all between both. A block of a model
    that passes the values on is

        inputs = x if v is None else jnp.concatenate([x, v], axis=-1)
        y, v = jnp.split(RNN(cell)(inputs), [x.shape[-1]], axis=-1)
        x = x + y

    **Shapes:** inputs `(*batch, input_size)`; carry `RWKVCarry(memory, window)` with `memory`
    `(*batch, num_heads, key_size, hidden_size / num_heads)` and `window` `(*batch, 1, features)`,
    the x of the step before; outputs `(*batch, features)`. With `takes_value=True`, the inputs are
    x and v_first, joined, and `features = input_size - hidden_size`; otherwise, the inputs are x
    and `features = input_size`. With `returns_value=True`, the outputs are y and v_first, or y and
    v without `takes_value=True`, joined, and have `hidden_size` features more.

    **Source:** B. Peng et al., "RWKV-7 Goose with expressive dynamic state evolution",
    arXiv:2503.14456 (2025). In the authors' code (RWKV-LM, `RWKV_Tmix_x070`), the rows of `mix` are
    `x_r`, `x_w`, `x_k`, `x_v`, `x_a` and `x_g`; those of `weight_ih` are `receptance.weight`,
    `key.weight` and `value.weight`; `weight_w_low`, `weight_w` and `bias_w` are `w1` and `w2`,
    transposed, and `w0`, and so on with `a`, `v` and `g`; `erase_scale`, `rate_mix` and `bonus` are
    `k_k`, `k_a` and `r_k`; `gain` and `bias_norm` are `ln_x.weight` and `ln_x.bias`; `weight_out`
    is `output.weight`. The initial weights are those of that code, where W_ik has a tenth of the
    size. Departure: there, `weight_out` starts from 0, and so do all outputs.
    """

    mix: Float[Array, "6 features"]
    weight_ih: Float[Array, "rows features"]
    weight_w_low: Float[Array, "rank_w features"]
    weight_w: Float[Array, "keys rank_w"]
    bias_w: Float[Array, " keys"]
    weight_a_low: Float[Array, "rank_a features"]
    weight_a: Float[Array, "keys rank_a"]
    bias_a: Float[Array, " keys"]
    weight_v_low: Float[Array, "rank_v features"] | None
    weight_v: Float[Array, "{self.hidden_size} rank_v"] | None
    bias_v: Float[Array, "{self.hidden_size}"] | None
    weight_g_low: Float[Array, "rank_g features"]
    weight_g: Float[Array, "{self.hidden_size} rank_g"]
    erase_scale: Float[Array, " keys"]
    rate_mix: Float[Array, " keys"]
    bonus: Float[Array, "{self.core.num_heads} {self.core.key_size}"]
    gain: Float[Array, "{self.hidden_size}"]
    bias_norm: Float[Array, "{self.hidden_size}"]
    weight_out: Float[Array, "features {self.hidden_size}"]
    core: RWKV7CoreCell
    takes_value: bool = eqx.field(static=True)
    returns_value: bool = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 1,
        key_size: int | None = None,
        takes_value: bool = False,
        returns_value: bool = False,
        ranks: Sequence[int] | None = None,
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
        - `takes_value`: whether the inputs are x and the values of the first layer, joined. Then
            `input_size` counts both.
        - `returns_value`: whether the outputs are y and the values of the first layer, joined.
        - `ranks`: the numbers of rows of `W_w_low`, `W_a_low`, `W_v_low` and `W_g_low`. `None`
            means those of the authors' code, which grow with the number of features of x.
        - `eps`: a number that is added to each variance.
        - `layer`, `num_layers`: the number of this layer in a stack, from 0, and the number of all
            layers. The initial `mix`, `bias_w` and `gain` depend on them.
        """
        draw = self._setup(input_size, hidden_size, options, num_heads=num_heads, key_size=key_size)
        check_heads("RWKV7Cell", num_heads, hidden_size)
        self.eps = check_number("RWKV7Cell", "eps", eps)
        self.takes_value, self.returns_value = takes_value, returns_value
        features = _features(input_size, hidden_size, takes_value)
        rank_w, rank_a, rank_v, rank_g = rwkv7_ranks(ranks, features)
        deep, shallow = depths("RWKV7Cell", layer, num_layers)
        value_size = hidden_size // num_heads
        self.core = RWKV7CoreCell(num_heads, key_size or value_size, value_size)
        keys = num_heads * self.core.key_size
        ih, w, a, v, g, o = draw.keys(6)
        full = lambda values, size: jnp.full(size, values, draw.dtype)
        low = lambda key, rows, rank: low_rank(draw, key, rows, rank, features)
        powers = shallow * np.array([0.2, 0.9, 0.7, 0.7, 0.9, 0.2])
        self.mix = jnp.asarray(1 - mixes(features, *powers), draw.dtype)
        self.weight_ih = scaled_rows(draw, ih, (keys, keys, hidden_size), [1, 0.1, 1], features)
        line = ramp(keys) - 0.5
        curve = np.tile(2 * ramp(self.core.key_size) - 1, num_heads)
        curve *= np.abs(curve)
        speed = -5.5 + 6 * ramp(keys) ** (1 + deep**0.3)
        self.weight_w_low, self.weight_w = low(w, keys, rank_w)
        self.bias_w = full(speed + 2.5 * curve, keys)
        self.weight_a_low, self.weight_a = low(a, keys, rank_a)
        self.bias_a = full(0.3 * curve + 0.4 * line - 0.19, keys)
        self.weight_v_low = self.weight_v = self.bias_v = None
        if takes_value:
            self.weight_v_low, self.weight_v = low(v, hidden_size, rank_v)
            self.bias_v = full(0.73 - 0.4 * (ramp(hidden_size) - 0.5), hidden_size)
        self.weight_g_low, self.weight_g = low(g, hidden_size, rank_g)
        self.erase_scale = full(0.71 - 0.1 * line, keys)
        self.rate_mix = full(1.02, keys)
        self.bonus = full(-0.04, (num_heads, self.core.key_size))
        self.gain = full(((1 + layer) / num_layers) ** 0.7, hidden_size)
        self.bias_norm = full(0, hidden_size)
        self.weight_out = draw.weight(o, 1, features, hidden_size)

    @property
    def output_size(self) -> int:
        return self.mix.shape[1] + (self.hidden_size if self.returns_value else 0)

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> RWKVCarry:
        self._space(sample_input)
        return first_carry(self, self.core, self.mix.shape[1], key, sample_input)

    def chunk(
        self, carry: RWKVCarry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[RWKVCarry, Float[Array, "*batch {self.output_size}"]]:
        inputs, v_first = jnp.split(inputs, [self.mix.shape[1]], axis=-1)
        window, (last, x) = time.window(carry.window, inputs)
        x_r, x_w, x_k, x_v, x_a, x_g = (x + along(m, x) * (last - x) for m in self.mix)
        keys = self.bias_w.shape[0]
        weights = jnp.split(self.weight_ih, [keys, 2 * keys])
        r, k, v = map(project, weights, (x_r, x_k, x_v))
        w = affine(self.weight_w, jnp.tanh(project(self.weight_w_low, x_w)), self.bias_w)
        a = sigmoid(affine(self.weight_a, project(self.weight_a_low, x_a), self.bias_a))
        g = project(self.weight_g, sigmoid(project(self.weight_g_low, x_g)))
        if self.weight_v_low is not None and self.weight_v is not None:
            share = affine(self.weight_v, project(self.weight_v_low, x_v), self.bias_v)
            v = v + sigmoid(share) * (v_first - v)
        else:
            v_first = v
        w = -math.exp(-0.5) * sigmoid(w)
        u = along(self.erase_scale, k) * k
        k = k * (1 + along(self.rate_mix, a) * (a - 1))
        r, k, v, w, u, a = (split_heads(p, self.core.num_heads) for p in (r, k, v, w, u, a))
        u = unit(u)
        memory, h = self.core.advance(carry.memory, r, k, v, w, -u, a * u, time)
        current = jnp.sum(along(self.bonus, r) * r * k, axis=-1, keepdims=True) * v
        z = group_norm(h, self.gain, self.bias_norm, self.eps) + join_heads(current)
        y = project(self.weight_out, g * z)
        if self.returns_value:
            y = jnp.concatenate([y, v_first], axis=-1)
        return RWKVCarry(memory, window), y


def _features(input_size: int, hidden_size: int, takes_value: bool) -> int:
    """The number of features of x."""
    if not takes_value:
        return input_size
    if input_size <= hidden_size:
        raise ValueError(
            "RWKV7Cell: with `takes_value=True`, `input_size` must be the number of features of x "
            f"and of the values together, which is more than hidden_size={hidden_size}, got "
            f"{input_size}. Pass `input_size={input_size + hidden_size}` for x of size "
            f"{input_size}."
        )
    return input_size - hidden_size
