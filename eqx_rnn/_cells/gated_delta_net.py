from typing import Unpack

import equinox as eqx
import jax.nn.initializers as jinit
import jax.numpy as jnp
from jax.nn import silu, softplus
from jaxtyping import Array, Float

from .._checks.options import check_heads, check_number
from .._kernels.products import add_bias, along, project
from .._time import Time
from .base import WeightOptions
from .delta_net import DeltaNetBlock, DeltaNetCarry
from .delta_rule import GatedDeltaNetCoreCell
from .heads import join_heads, split_heads, split_sizes
from .norms import normalize_scale
from .softplus_time_steps import log_uniform_rates, softplus_time_steps


class GatedDeltaNetCell(DeltaNetBlock):
    """A layer with the gated delta rule, which also forgets.

        u_q, u_k, u_v, o, a, b = W_iq x, W_ik x, W_iv x, W_io x, W_ia x, W_ib x
        q, k = unit(silu(conv(u_q))), unit(silu(conv(u_k)))        length 1 per head
        v, beta = silu(conv(u_v)), sigmoid(b)                      one beta per head
        g = -exp(log_a) softplus(a + dt_bias)                      one number per head
        S', h = the step of a GatedDeltaNetCoreCell with q, k, v, g, beta
        y = W_out (gain rms(h) silu(o))                            rms and gain per head

    where `conv`, `unit` and `rms` are as in [`DeltaNetCell`][eqx_rnn.DeltaNetCell]. The rows of
    `weight_ih` are q, k, v, o, a, b, and the columns of `weight_conv` are q, k, v, each with the
    features of the first head first.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry `DeltaNetCarry(memory, window)`
    with `memory` `(*batch, num_heads, key_size, hidden_size / num_heads)` and `window`
    `(*batch, window - 1, 2 * num_heads * key_size + hidden_size)`, the last u, oldest first.

    **Source:** S. Yang, J. Kautz, A. Hatamizadeh, "Gated delta networks: improving Mamba2 with
    delta rule", ICLR, arXiv:2412.06464 (2025). In flash-linear-attention, the rows o and a of
    `weight_ih` are `g_proj.weight` and `a_proj.weight`; `log_a` and `dt_bias` are `A_log` and
    `dt_bias`, with the same initial values; all others are as in `DeltaNetCell`.
    """

    weight_ih: Float[Array, "rows {self.input_size}"]
    weight_conv: Float[Array, "{self.window} features"]
    log_a: Float[Array, "{self.core.num_heads}"]
    dt_bias: Float[Array, "{self.core.num_heads}"]
    gain: Float[Array, "{self.core.value_size}"]
    weight_out: Float[Array, "{self.input_size} {self.hidden_size}"]
    core: GatedDeltaNetCoreCell
    window: int = eqx.field(static=True)
    negative_eigenvalues: bool = eqx.field(static=True)
    key_eps: float = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 1,
        key_size: int | None = None,
        window: int = 4,
        negative_eigenvalues: bool = False,
        key_eps: float = 0.0,
        eps: float = 1e-5,
        **options: Unpack[WeightOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of values of all
        heads, and

        - `num_heads`: the number of heads, a divisor of `hidden_size`.
        - `key_size`: the number of keys per head. `None` means half the number of values.
        - `window`: how many steps the convolutions see, at least 1.
        - `negative_eigenvalues`: whether beta is `2 sigmoid(b)`. See `DeltaNetCell`.
        - `key_eps`: a number that is added to the squared length of q and of k.
        - `eps`: a number that is added to each mean square.
        """
        draw = self._setup(
            input_size, hidden_size, options, num_heads=num_heads, key_size=key_size, window=window
        )
        check_heads("GatedDeltaNetCell", num_heads, hidden_size)
        value_size = hidden_size // num_heads
        key_size = key_size or max(value_size // 2, 1)
        self.core = GatedDeltaNetCoreCell(num_heads, key_size, value_size)
        ih, c, a, dt, g, o = draw.keys(6)
        self.weight_ih = draw.rows(ih, self._sizes(hidden_size, num_heads, num_heads))
        self.weight_conv = draw.weight(c, 1, sum(self._sizes()), window).T
        self.log_a = draw.array(a, log_uniform_rates(1e-6, 16), (num_heads,))
        self.dt_bias = draw.array(dt, softplus_time_steps(0.001, 0.1), (num_heads,))
        self.gain = draw.array(g, jinit.ones, (value_size,))
        self.weight_out = draw.weight(o, 1, input_size, hidden_size)
        self.window, self.negative_eigenvalues = window, negative_eigenvalues
        self.key_eps = check_number("GatedDeltaNetCell", "key_eps", key_eps, or_zero=True)
        self.eps = check_number("GatedDeltaNetCell", "eps", eps)

    def chunk(
        self, carry: DeltaNetCarry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[DeltaNetCarry, Float[Array, "*batch {self.input_size}"]]:
        heads = self.core.num_heads
        sizes = sum(self._sizes()), self.hidden_size, heads, heads
        u, o, a, b = split_sizes(project(self.weight_ih, inputs), sizes)
        window, (q, k, v) = self._convolve(carry.window, u, time)
        g = -along(jnp.exp(self.log_a), a) * softplus(add_bias(a, self.dt_bias))
        memory, h = self.core.advance(carry.memory, q, k, v, g[..., None], self._beta(b), time)
        h = along(self.gain, h) * normalize_scale(h, self.eps) * silu(split_heads(o, heads))
        return DeltaNetCarry(memory, window), project(self.weight_out, join_heads(h))
