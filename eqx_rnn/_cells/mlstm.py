from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax.nn.initializers as jinit
import jax.numpy as jnp
from jax.nn import log_sigmoid, silu
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._checks.options import check_heads, check_number
from .._kernels.products import add_bias, affine, along
from .._time import Time
from .base import BiasedCell, BiasedOptions, BlockCell
from .heads import draw_wide, join_heads, split_heads
from .mlstm_core import MLSTMCarry, MLSTMCoreCell, check_not_zoned
from .norms import normalize
from .short_convolution import convolve_steps

SMALL = jinit.variance_scaling(0.4, "fan_in", "normal")


class MLSTMLayerCarry(NamedTuple):
    """The `memory` and the `scale` of an `MLSTMCarry`, and the last inputs of the convolution."""

    memory: Any
    scale: Any
    window: Any
    inseparable = True  # for `RecurrentDropout`


class MLSTMCell(BlockCell, BiasedCell, ChunkCell, weight_init=SMALL):
    """The mLSTM layer of the xLSTM family: projections, a convolution, a matrix memory and a gate.

        u, z = W_iu x + b_iu, W_iz x + b_iz
        c = silu(sum_j w_j u[t - window + 1 + j] + b_conv)         j = 0, ..., window - 1
        q, k, v = W_q c + b_q, W_k c + b_k, W_v u + b_v            W_q, W_k, W_v block-diagonal
        i, f = W_gi [q, k, v] + b_gi, W_gf [q, k, v] + b_gf        one number per head
        h' = the step of an MLSTMCoreCell with q, k, v, log_sigmoid(f), i
        r = (1 + gain) (h' - mean(h')) / sqrt(var(h') + eps)       mean and var per head
        y = W_out ((r + skip c) silu(z)) + b_out

    The convolution is elementwise. The rows of `weight_ih` and `bias_ih` are u, z, those of
    `weight_gates` and `bias_gates` are i, f. The first axis of `weight_qkv`, and the three parts of
    `bias_qkv`, are q, k, v. `weight_qkv[0, b]` is block b of W_q, with the outputs as rows.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry
    `MLSTMLayerCarry(memory, scale, window)` with `memory`
    `(*batch, num_heads, head_size, head_size + 1)` and `scale` `(*batch, num_heads)` as in
    [`MLSTMCoreCell`][eqx_rnn.MLSTMCoreCell], where `head_size` is `hidden_size / num_heads`, and
    `window` `(*batch, window - 1, hidden_size)`, the last u, oldest first.

    **Source:** M. Beck et al., "xLSTM: extended long short-term memory", NeurIPS,
    arXiv:2405.04517 (2024), where `hidden_size` is twice `input_size`. In the authors' code
    (NX-AI/xlstm), `weight_ih` and `bias_ih` are `proj_up.weight` and `proj_up.bias`; `weight_conv`
    and `bias_conv` are `conv1d.conv.weight[:, 0].T` and `conv1d.conv.bias`; `weight_qkv` and
    `bias_qkv` join those of `q_proj`, `k_proj` and `v_proj`; `weight_gates` and `bias_gates` join
    those of `mlstm_cell.igate` and `mlstm_cell.fgate`; `gain` is `mlstm_cell.outnorm.weight`;
    `skip` is `learnable_skip`; `weight_out` and `bias_out` are `proj_down.weight` and
    `proj_down.bias`. The function for sequences there adds the `eps` of the core in other units,
    which changes outputs by about 1e-8.

    The initial weights are as there: `weight_gates` and `gain` are 0, `skip` is 1, `b_gf` goes from
    3 to 6 over the heads, `b_gi` has the standard deviation 0.1, and `weight_ih` and `weight_qkv`
    have `sqrt(0.4 / input_size)`. Departures: `weight_out` and the convolution start as
    `weight_init` and `bias_init` say; there, that of `weight_out` depends on the number of layers.
    """

    weight_ih: Float[Array, "2*{self.hidden_size} {self.input_size}"]
    weight_conv: Float[Array, "{self.window} {self.hidden_size}"]
    weight_qkv: Float[Array, "3 blocks block_size block_size"]
    weight_gates: Float[Array, "2*{self.core.num_heads} 3*{self.hidden_size}"]
    gain: Float[Array, "{self.hidden_size}"]
    skip: Float[Array, "{self.hidden_size}"]
    weight_out: Float[Array, "{self.input_size} {self.hidden_size}"]
    bias_ih: Float[Array, "2*{self.hidden_size}"] | None
    bias_conv: Float[Array, "{self.hidden_size}"]
    bias_qkv: Float[Array, "3*{self.hidden_size}"] | None
    bias_gates: Float[Array, "2*{self.core.num_heads}"]
    bias_out: Float[Array, "{self.input_size}"] | None
    core: MLSTMCoreCell
    window: int = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 1,
        window: int = 4,
        block_size: int = 4,
        eps: float = 1e-5,
        **options: Unpack[BiasedOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of features of u,
        and `use_bias=False` leaves out `bias_ih`, `bias_qkv` and `bias_out` only. And

        - `num_heads`: the number of heads, a divisor of `hidden_size`.
        - `window`: how many steps the convolution sees, at least 1.
        - `block_size`: the size of the blocks of `W_q`, `W_k` and `W_v`, a divisor of
            `hidden_size`.
        - `eps`: a number that is added to each variance.
        """
        draw = self._setup(
            input_size,
            hidden_size,
            options,
            num_heads=num_heads,
            window=window,
            block_size=block_size,
        )
        check_heads("MLSTMCell", num_heads, hidden_size)
        check_blocks(block_size, hidden_size)
        head_size = hidden_size // num_heads
        self.core = MLSTMCoreCell(num_heads, head_size, head_size)
        self.window, self.eps = window, check_number("MLSTMCell", "eps", eps)
        ih, c, qkv, g, n, s, o, b_ih, b_c, b_qkv, b_i, b_f, b_o = draw.keys(13)
        self.weight_ih = draw.weight(ih, 2)
        self.weight_conv = draw.weight(c, 1, hidden_size, window).T
        # The entries are as small as those of `weight_ih`, whose fan-in is larger.
        columns = draw.weight(qkv, 3, columns=max(input_size, block_size))[:, :block_size]
        self.weight_qkv = columns.reshape(3, hidden_size // block_size, block_size, block_size)
        self.weight_gates = draw.array(g, jinit.zeros, (2 * num_heads, 3 * hidden_size))
        self.gain = draw.array(n, jinit.zeros, (hidden_size,))
        self.skip = draw.array(s, jinit.ones, (hidden_size,))
        self.weight_out = draw.weight(o, 1, input_size, hidden_size)
        self.bias_ih = draw.bias(b_ih, 2)
        self.bias_conv = draw.vector(b_c, 1, "bias_init")
        self.bias_qkv = draw.bias(b_qkv, 3)
        between = lambda key, shape, dtype: jnp.linspace(3, 6, *shape, dtype=dtype)
        i = draw.array(b_i, jinit.normal(0.1), (num_heads,))
        self.bias_gates = jnp.concatenate([i, draw.array(b_f, between, (num_heads,))])
        self.bias_out = draw.bias(b_o, 1, size=input_size)

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> MLSTMLayerCarry:
        self._space(sample_input)
        shapes = *self.core.carry_shapes, (self.window - 1, self.hidden_size)
        return MLSTMLayerCarry(*draw_wide(self, key, sample_input, *shapes, num_wide=2))

    def chunk(
        self, carry: MLSTMLayerCarry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[MLSTMLayerCarry, Float[Array, "*batch {self.input_size}"]]:
        check_not_zoned(carry)
        u, z = jnp.split(affine(self.weight_ih, inputs, self.bias_ih), 2, axis=-1)
        window, c = convolve_steps(carry.window, u, self.weight_conv, self.bias_conv, time)
        c = silu(c)
        qkv = self._project(jnp.stack([c, c, u], axis=-2))
        heads = self.core.num_heads
        i, f = jnp.split(affine(self.weight_gates, qkv, self.bias_gates), 2, axis=-1)
        q, k, v = (split_heads(a, heads) for a in jnp.split(qkv, 3, axis=-1))
        before = MLSTMCarry(carry.memory, carry.scale)
        after, h = self.core.advance(before, q, k, v, log_sigmoid(f), i, time)
        r = join_heads(normalize(h, self.eps))
        y = (along(1 + self.gain, r) * r + along(self.skip, c) * c) * silu(z)
        return MLSTMLayerCarry(*after, window), affine(self.weight_out, y, self.bias_out)

    def _project(self, x: Array) -> Array:
        """q, k and v, joined, from their inputs `(*batch, 3, hidden_size)`."""
        blocks = split_heads(x, self.weight_qkv.shape[1])
        products = jnp.einsum("...nbi,nboi->...nbo", blocks, self.weight_qkv)
        return add_bias(products.reshape(*x.shape[:-2], 3 * self.hidden_size), self.bias_qkv)


def check_blocks(block_size: int, hidden_size: int) -> None:
    """Checks that all blocks of a block-diagonal matrix have the same size."""
    if hidden_size % block_size:
        raise ValueError(
            f"MLSTMCell: `block_size` must divide `hidden_size`, got blocks of {block_size} "
            f"features for hidden_size={hidden_size}. Change one of the two."
        )
