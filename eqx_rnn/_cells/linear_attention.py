from collections.abc import Callable
from typing import Any, Unpack

from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._checks.options import check_heads, check_number
from .._kernels.products import affine
from .._time import Advanced, State, Time
from .base import BiasedCell, BiasedOptions, BlockCell
from .heads import draw_wide, join_heads, split_heads, split_sizes
from .linear_attention_core import LinearAttentionCoreCell, Memory, elu_plus_one


class LinearAttentionCell(BlockCell, BiasedCell, ChunkCell):
    """A layer of linear attention.

        q, k, v = W_iq x + b_q, W_ik x + b_k, W_iv x + b_v
        S', h = the step of a LinearAttentionCoreCell with q, k, v
        y = W_out h + b_out

    The rows of `weight_ih` and `bias` are q, k, v, each with the features of the first head first.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry
    `(*batch, num_heads, key_size, hidden_size / num_heads + 1)`, or one column less with
    `normalize=False`.

    **Source:** A. Katharopoulos, A. Vyas, N. Pappas, F. Fleuret, "Transformers are RNNs: fast
    autoregressive transformers with linear attention", ICML, arXiv:2006.16236 (2020). In the
    authors' code (fast-transformers, `AttentionLayer`), the rows of `weight_ih` are
    `query_projection.weight`, `key_projection.weight` and `value_projection.weight`, those of
    `bias` are their biases; `weight_out` and `bias_out` are those of `out_projection`. Departure:
    the initial weights.
    """

    weight_ih: Float[Array, "rows {self.input_size}"]
    bias: Float[Array, " rows"] | None
    weight_out: Float[Array, "{self.input_size} {self.hidden_size}"]
    bias_out: Float[Array, "{self.input_size}"] | None
    core: LinearAttentionCoreCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 1,
        key_size: int | None = None,
        feature_map: Callable = elu_plus_one,
        normalize: bool = True,
        scale: float | None = None,
        eps: float = 1e-6,
        **options: Unpack[BiasedOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of values of all
        heads, and

        - `num_heads`: the number of heads, a divisor of `hidden_size`.
        - `key_size`: the number of keys per head. `None` means the number of values per head.
        - `feature_map`, `normalize`, `scale`, `eps`: see `LinearAttentionCoreCell`.
        """
        draw = self._setup(input_size, hidden_size, options, num_heads=num_heads, key_size=key_size)
        check_heads("LinearAttentionCell", num_heads, hidden_size)
        check_number("LinearAttentionCell", "eps", eps, or_zero=True)
        value_size = hidden_size // num_heads
        self.core = LinearAttentionCoreCell(
            num_heads,
            key_size or value_size,
            value_size,
            feature_map=feature_map,
            normalize=normalize,
            scale=scale,
            eps=eps,
        )
        ih, b, o, bo = draw.keys(4)
        self.weight_ih = draw.rows(ih, self._sizes)
        self.bias = draw.bias(b, 1, size=sum(self._sizes))
        self.weight_out = draw.weight(o, 1, input_size, hidden_size)
        self.bias_out = draw.bias(bo, 1, size=input_size)

    @property
    def inseparable(self) -> bool:
        """See `LinearAttentionCoreCell`."""
        return self.core.normalize

    @property
    def _sizes(self) -> tuple[int, int, int]:
        keys = self.core.num_heads * self.core.key_size
        return keys, keys, self.hidden_size

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> Memory:
        self._space(sample_input)
        shape = self.core.memory_shape
        (memory,) = draw_wide(self, key, sample_input, shape)
        return memory

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.input_size}"]]:
        parts = split_sizes(affine(self.weight_ih, inputs, self.bias), self._sizes)
        q, k, v = (split_heads(a, self.core.num_heads) for a in parts)
        memory, h = self.core.advance(carry, q, k, v, time)
        return memory, affine(self.weight_out, join_heads(h), self.bias_out)
