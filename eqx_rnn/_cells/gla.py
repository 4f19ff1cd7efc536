from typing import Unpack

import equinox as eqx
import jax.nn.initializers as jinit
from jax.nn import log_sigmoid, silu
from jaxtyping import Array, Float

from .._checks.options import check_heads, check_number
from .._kernels.products import affine, along, project
from .._time import Advanced, State, Time
from .base import BiasedCell, BiasedOptions
from .heads import (
    Decay,
    MatrixOptions,
    OneMatrixBlock,
    ScaledMatrixCell,
    join_heads,
    split_heads,
    split_sizes,
)
from .norms import normalize_scale


class GLACoreCell(ScaledMatrixCell):
    """Gated linear attention: a matrix that decays per key channel or per head.

        S' = diag(exp(g)) S + k v^T
        y = S'^T (scale q)

    per head. The inputs are q, k, v and g, joined, each with the features of the first head first.

    **Shapes:** inputs `(*batch, input_size)`, whose parts have `num_heads * key_size`,
    `num_heads * key_size`, `num_heads * value_size`, and for g `num_heads * key_size` or
    `num_heads` features; carry `(*batch, num_heads, key_size, value_size)`; outputs
    `(*batch, num_heads * value_size)`.

    **Source:** S. Yang et al., "Gated linear attention transformers with hardware-efficient
    training", ICML, arXiv:2312.06635 (2024). With `decay="head"`, it is "simple GLA" of
    flash-linear-attention, and the memory of RetNet and Mamba-2 with any decays.
    """

    decay: Decay = eqx.field(static=True)
    scale: float | None = eqx.field(static=True)

    def __init__(
        self,
        num_heads: int,
        key_size: int,
        value_size: int,
        *,
        decay: Decay = "channel",
        scale: float | None = None,
        **options: Unpack[MatrixOptions],
    ):
        """**Arguments:** `carry_init`, as for every cell, and

        - `num_heads`, `key_size`, `value_size`: the number and the size of the matrices.
        - `decay`: whether there is one decay per `"channel"` of the keys or per `"head"`. g is the
            logarithm of the decay, at most 0.
        - `scale`: a factor of the queries. `None` means `1 / sqrt(key_size)`.
        """
        self.decay, self.scale = decay, scale
        self._setup_heads(num_heads, key_size, value_size, options)

    @property
    def _parts(self) -> tuple[tuple[int, int], ...]:
        gates = self.key_size if self.decay == "channel" else 1
        sizes = self.key_size, self.key_size, self.value_size, gates
        return tuple((self.num_heads, size) for size in sizes)

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.output_size}"]]:
        q, k, v, g = self._split(inputs)
        state, y = self.advance(carry, q, k, v, g, time)
        return state, join_heads(y)

    def advance(
        self, state: State, q: Array, k: Array, v: Array, g: Array, time: Time
    ) -> tuple[Advanced, Array]:
        """The new part of the carry and y, from arrays `(steps, *batch, num_heads, size)`."""
        return time.matrix(state, self._scale(q), k, v, g)


class GLACell(OneMatrixBlock, BiasedCell):
    """A layer of gated linear attention.

        q, k, v, o, d = W_iq x, W_ik x, W_iv x, W_io x, W_id x
        g = log_sigmoid(W_d d + b_d) / temperature
        S', h = the step of a GLACoreCell with q, k, v, g
        y = W_out (gain rms(h) silu(o))                rms and gain per head

    where `rms(h) = h / sqrt(mean(h^2) + eps)`. The rows of `weight_ih` are q, k, v, o, d, of which
    the first four have the features of the first head first.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry
    `(*batch, num_heads, key_size, hidden_size / num_heads)`.

    **Source:** S. Yang et al., "Gated linear attention transformers with hardware-efficient
    training", ICML, arXiv:2312.06635 (2024). In flash-linear-attention, the rows of `weight_ih` are
    `q_proj.weight`, `k_proj.weight`, `v_proj.weight`, `g_proj.weight` and `gk_proj.0.weight`;
    `weight_decay` and `bias_decay` are `gk_proj.1.weight` and `gk_proj.1.bias`; `gain` and
    `weight_out` are `g_norm_swish_gate.weight` and `o_proj.weight`.
    """

    weight_ih: Float[Array, "rows {self.input_size}"]
    weight_decay: Float[Array, "decays rank"]
    bias_decay: Float[Array, " decays"] | None
    gain: Float[Array, "{self.core.value_size}"]
    weight_out: Float[Array, "{self.input_size} {self.hidden_size}"]
    core: GLACoreCell
    temperature: float = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 1,
        key_size: int | None = None,
        decay: Decay = "channel",
        rank: int = 16,
        temperature: float = 16.0,
        eps: float = 1e-5,
        **options: Unpack[BiasedOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of values of all
        heads, and

        - `num_heads`: the number of heads, a divisor of `hidden_size`.
        - `key_size`: the number of keys per head. `None` means half the number of values.
        - `decay`: whether there is one decay per `"channel"` of the keys or per `"head"`.
        - `rank`: the number of rows of `W_id`.
        - `temperature`: with higher values, the memory lasts longer.
        - `eps`: a number that is added to each mean square.
        """
        draw = self._setup(
            input_size, hidden_size, options, num_heads=num_heads, key_size=key_size, rank=rank
        )
        check_heads("GLACell", num_heads, hidden_size)
        check_number("GLACell", "temperature", temperature)
        check_number("GLACell", "eps", eps)
        value_size = hidden_size // num_heads
        key_size = key_size or max(value_size // 2, 1)
        self.core = GLACoreCell(num_heads, key_size, value_size, decay=decay)
        decays = num_heads * (key_size if decay == "channel" else 1)
        ih, d, b, g, o = draw.keys(5)
        self.weight_ih = draw.rows(ih, self._sizes(rank))
        self.weight_decay = draw.weight(d, 1, decays, rank)
        self.bias_decay = draw.bias(b, 1, size=decays)
        self.gain = draw.array(g, jinit.ones, (value_size,))
        self.weight_out = draw.weight(o, 1, input_size, hidden_size)
        self.temperature, self.eps = temperature, eps

    def _sizes(self, rank: int) -> tuple[int, ...]:
        keys, values = self.core.num_heads * self.core.key_size, self.hidden_size
        return keys, keys, values, values, rank

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.input_size}"]]:
        sizes = self._sizes(self.weight_decay.shape[1])
        *parts, d = split_sizes(project(self.weight_ih, inputs), sizes)
        decay = log_sigmoid(affine(self.weight_decay, d, self.bias_decay)) / self.temperature
        q, k, v, o, g = (split_heads(a, self.core.num_heads) for a in (*parts, decay))
        state, h = self.core.advance(carry, q, k, v, g, time)
        y = along(self.gain, h) * normalize_scale(h, self.eps) * silu(o)
        return state, project(self.weight_out, join_heads(y))
