from typing import Any, Unpack

import jax.nn.initializers as jinit
import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._kernels.products import along, project
from .._time import Time
from .base import BlockCell, WeightCell, WeightOptions
from .heads import draw_wide
from .rwkv import RWKVCarry, depths, mixes, scaled_rows
from .rwkv4_core import RWKV4CoreCell, first_sums


class RWKV4Cell(BlockCell, WeightCell, ChunkCell, weight_init=jinit.orthogonal()):
    """The time mixing of RWKV-4.

        x_j = mix_j x[t] + (1 - mix_j) x[t - 1]                     for j = k, v, r
        k, v, r = W_ik x_k, W_iv x_v, W_ir x_r
        h = the step of an RWKV4CoreCell with k, v
        y = W_out (sigmoid(r) h)

    The rows of `mix` and `weight_ih` are k, v, r.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry `RWKVCarry(memory, window)` with
    the `RWKV4CoreCarry` of [`RWKV4CoreCell`][eqx_rnn.RWKV4CoreCell] and `window`
    `(*batch, 1, input_size)`, the inputs of the step before.

    **Source:** B. Peng et al., "RWKV: reinventing RNNs for the transformer era", EMNLP,
    arXiv:2305.13048 (2023). In the authors' code (RWKV-LM), the rows of `mix` are `time_mix_k`,
    `time_mix_v` and `time_mix_r`; those of `weight_ih` are `key.weight`, `value.weight` and
    `receptance.weight`; `weight_out` is `output.weight`; for `core`, see `RWKV4CoreCell`. The
    initial weights are those of that code, where W_ik and W_ir start from 0. Departure: there,
    `weight_out` starts from 0, too, and so do all outputs.
    """

    mix: Float[Array, "3 {self.input_size}"]
    weight_ih: Float[Array, "3*{self.hidden_size} {self.input_size}"]
    weight_out: Float[Array, "{self.input_size} {self.hidden_size}"]
    core: RWKV4CoreCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        layer: int = 0,
        num_layers: int = 1,
        **options: Unpack[WeightOptions],
    ):
        """**Arguments:** those of every cell, and

        - `layer`, `num_layers`: the number of this layer in a stack, from 0, and the number of all
            layers. The initial `mix`, `core.decay` and `core.bonus` depend on them.
        """
        draw = self._setup(input_size, hidden_size, options)
        deep, shallow = depths("RWKV4Cell", layer, num_layers)
        ih, o = draw.keys(2)
        more = 0.3 * deep * np.array([[0], [1], [0]])
        mix = mixes(input_size, shallow, shallow, 0.5 * shallow) + more
        self.mix = jnp.asarray(mix, draw.dtype)
        self.weight_ih = scaled_rows(draw, ih, 3 * [hidden_size], [0, 1, 0], input_size)
        self.weight_out = draw.weight(o, 1, input_size, hidden_size)
        self.core = RWKV4CoreCell(hidden_size, layer=layer, num_layers=num_layers, dtype=draw.dtype)

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> RWKVCarry:
        self._space(sample_input)
        shapes = *3 * [(self.hidden_size,)], (1, self.input_size)
        *sums, window = draw_wide(self, key, sample_input, *shapes, num_wide=3)
        return RWKVCarry(first_sums(*sums), window)

    def chunk(
        self, carry: RWKVCarry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[RWKVCarry, Float[Array, "*batch {self.input_size}"]]:
        window, (last, x) = time.window(carry.window, inputs)
        mixed = [along(m, x) * x + along(1 - m, x) * last for m in self.mix]
        k, v, r = map(project, jnp.split(self.weight_ih, 3), mixed)
        memory, h = self.core.advance(carry.memory, k, v, time)
        return RWKVCarry(memory, window), project(self.weight_out, sigmoid(r) * h)
