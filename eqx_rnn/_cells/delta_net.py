from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax.nn.initializers as jinit
from jax.nn import sigmoid, silu
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._checks.options import check_heads, check_number
from .._kernels.products import along, project
from .._time import Advanced, State, Time
from .base import BlockCell, WeightCell, WeightOptions
from .delta_rule import DeltaNetCoreCell
from .heads import draw_wide, join_heads, split_heads, split_sizes
from .norms import normalize_scale, unit
from .short_convolution import convolve_steps


class DeltaNetCarry(NamedTuple):
    """The state of a DeltaNet layer: its matrices, and the last inputs of its convolutions."""

    memory: Any
    window: Any


class DeltaNetBlock(BlockCell, WeightCell, ChunkCell):
    """The code that layers with short convolutions around the delta rule share."""

    weight_conv: eqx.AbstractVar[Array]
    core: eqx.AbstractVar[Any]  # a cell with one matrix per head
    key_eps: eqx.AbstractVar[float]
    negative_eigenvalues: eqx.AbstractVar[bool]

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> DeltaNetCarry:
        self._space(sample_input)
        memory = self.core.num_heads, self.core.key_size, self.core.value_size
        lags, features = self.weight_conv.shape
        shapes = memory, (lags - 1, features)
        return DeltaNetCarry(*draw_wide(self, key, sample_input, *shapes))

    def _sizes(self, *others: int) -> tuple[int, ...]:
        keys = self.core.num_heads * self.core.key_size
        return keys, keys, self.hidden_size, *others

    def _convolve(self, window: State, u: Array, time: Time) -> tuple[Advanced, list[Array]]:
        """The new window, and q, k and v per head, q and k with length 1."""
        advanced, u = convolve_steps(window, u, self.weight_conv, None, time)
        parts = split_sizes(silu(u), self._sizes())
        q, k, v = (split_heads(a, self.core.num_heads) for a in parts)
        return advanced, [unit(q, self.key_eps), unit(k, self.key_eps), v]

    def _beta(self, b: Array) -> Array:
        return ((2 if self.negative_eigenvalues else 1) * sigmoid(b))[..., None]


class DeltaNetCell(DeltaNetBlock):
    """A layer with the delta rule, whose keys and values come from short convolutions.

        u_q, u_k, u_v, b = W_iq x, W_ik x, W_iv x, W_ib x
        q, k = unit(silu(conv(u_q))), unit(silu(conv(u_k)))        length 1 per head
        v, beta = silu(conv(u_v)), sigmoid(b)                      one beta per head
        S', h = the step of a DeltaNetCoreCell with q, k, v, beta
        y = W_out (gain rms(h))                                    rms and gain per head

    where `conv(u) = sum_j w_j u[t - window + 1 + j]` for j = 0, ..., window - 1, elementwise;
    `unit(q) = q / sqrt(sum(q^2) + key_eps)`; and `rms(h) = h / sqrt(mean(h^2) + eps)`. The rows of
    `weight_ih` are q, k, v, b, and the columns of `weight_conv` are q, k, v, each with the features
    of the first head first.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry `DeltaNetCarry(memory, window)`
    with `memory` `(*batch, num_heads, key_size, hidden_size / num_heads)` and `window`
    `(*batch, window - 1, 2 * num_heads * key_size + hidden_size)`, the last u, oldest first.

    **Source:** S. Yang et al., "Parallelizing linear transformers with the delta rule over sequence
    length", NeurIPS, arXiv:2406.06484 (2024). In flash-linear-attention, the rows of `weight_ih`
    are `q_proj.weight`, `k_proj.weight`, `v_proj.weight` and `b_proj.weight`; the columns of
    `weight_conv` are `q_conv1d.weight[:, 0].T`, and those of `k_conv1d` and `v_conv1d`; `gain` and
    `weight_out` are `o_norm.weight` and `o_proj.weight`. Its kernels have `key_eps=1e-6`.
    `negative_eigenvalues` is `allow_neg_eigval` there: R. Grazzi et al., "Unlocking state-tracking
    in linear RNNs through negative eigenvalues", ICLR, arXiv:2411.12537 (2025).
    """

    weight_ih: Float[Array, "rows {self.input_size}"]
    weight_conv: Float[Array, "{self.window} features"]
    gain: Float[Array, "{self.core.value_size}"]
    weight_out: Float[Array, "{self.input_size} {self.hidden_size}"]
    core: DeltaNetCoreCell
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
        - `key_size`: the number of keys per head. `None` means the number of values.
        - `window`: how many steps the convolutions see, at least 1.
        - `negative_eigenvalues`: whether beta is `2 sigmoid(b)`. Then a step can change the sign of
            what the matrix holds for a key, and a layer can track states such as a parity.
        - `key_eps`: a number that is added to the squared length of q and of k.
        - `eps`: a number that is added to each mean square.
        """
        draw = self._setup(
            input_size, hidden_size, options, num_heads=num_heads, key_size=key_size, window=window
        )
        check_heads("DeltaNetCell", num_heads, hidden_size)
        value_size = hidden_size // num_heads
        self.core = DeltaNetCoreCell(num_heads, key_size or value_size, value_size)
        ih, c, g, o = draw.keys(4)
        self.weight_ih = draw.rows(ih, self._sizes(num_heads))
        self.weight_conv = draw.weight(c, 1, sum(self._sizes()), window).T
        self.gain = draw.array(g, jinit.ones, (value_size,))
        self.weight_out = draw.weight(o, 1, input_size, hidden_size)
        self.window, self.negative_eigenvalues = window, negative_eigenvalues
        self.key_eps = check_number("DeltaNetCell", "key_eps", key_eps, or_zero=True)
        self.eps = check_number("DeltaNetCell", "eps", eps)

    def chunk(
        self, carry: DeltaNetCarry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[DeltaNetCarry, Float[Array, "*batch {self.input_size}"]]:
        sizes = sum(self._sizes()), self.core.num_heads
        u, b = split_sizes(project(self.weight_ih, inputs), sizes)
        window, (q, k, v) = self._convolve(carry.window, u, time)
        memory, h = self.core.advance(carry.memory, q, k, v, self._beta(b), time)
        h = along(self.gain, h) * normalize_scale(h, self.eps)
        return DeltaNetCarry(memory, window), project(self.weight_out, join_heads(h))
