from typing import NamedTuple, Unpack

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._kernels.products import add_bias, project
from .activations import activate
from .base import Hidden, HiddenCell, Part, VectorCell
from .layer_norm import LayerNormCell, LayerNormOptions


class LayerNormGRUGates(NamedTuple):
    """The input parts, normalised, and the hidden parts, which `update` normalises."""

    rz_x: Part
    n_x: Part
    rz_h: Part
    n_h: Part


class LayerNormGRUCell(HiddenCell, LayerNormCell, VectorCell, FactoredCell):
    """Gated recurrent unit with layer normalisation.

        r, z = sigmoid(s_ih LN(W_ih x) + s_hh LN(W_hh h) + b)                   both gates
        n = tanh(s_in LN(W_in x) + b_n + r (s_hn LN(W_hn h) + b_hn))            candidate
        h' = (1 - z) n + z h

    where `LN(a) = (a - mean(a)) / sqrt(var(a) + eps)`, over r and z together and over n alone,
    `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`. The rows
    of the weights, the gains s (`gain_ih`, `gain_hh`) and `bias` (b, b_n) are the gates r, z, n.
    `bias_n` is b_hn.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", arXiv:1607.06450 (2016),
    the supplementary material's GRU. Departures: r and z have one bias, where the paper adds two;
    and `z` has the sense of the authors' code and of `GRUCell`, not of the paper's
    `h' = (1 - z) h + z n`.
    """

    weight_ih: Float[Array, "3*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "3*{self.hidden_size} {self.hidden_size}"]
    gain_ih: Float[Array, "3*{self.hidden_size}"]
    gain_hh: Float[Array, "3*{self.hidden_size}"]
    bias: Float[Array, "3*{self.hidden_size}"] | None
    bias_n: Float[Array, "{self.hidden_size}"] | None

    def __init__(self, input_size: int, hidden_size: int, **options: Unpack[LayerNormOptions]):
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, gain_ih, gain_hh, b, b_n = draw.keys(6)
        self.weight_ih = draw.weight(ih, 3)
        self.weight_hh = draw.recurrent_weight(hh, 3)
        self.gain_ih = draw.vector(gain_ih, 3, "gain_init")
        self.gain_hh = draw.vector(gain_hh, 3, "gain_init")
        self.bias = draw.bias(b, 3)
        self.bias_n = draw.bias(b_n, 1)

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> LayerNormGRUGates:
        rz, n = self._normalize_parts(*self._split(project(self.weight_ih, inputs)), self.gain_ih)
        b_rz, b_n = (None, None) if self.bias is None else self._split(self.bias)
        return LayerNormGRUGates(add_bias(rz, b_rz), add_bias(n, b_n), None, None)

    def project_hidden(self, carry: Hidden) -> LayerNormGRUGates:
        # The norm is in `update`, so the backward pass does not recompute this product for it.
        return LayerNormGRUGates(None, None, *self._split(project(self.weight_hh, carry)))

    def update(
        self, carry: Hidden, gates: LayerNormGRUGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        rz_h, n_h = self._normalize_parts(gates.rz_h, gates.n_h, self.gain_hh)
        r, z = activate(gates.rz_x + rz_h, self.gate_activation, self.gate_activation)
        n = self.activation(gates.n_x + r * add_bias(n_h, self.bias_n))
        hidden = (1 - z) * n + z * carry
        return hidden, hidden

    def _split(self, rows: Float[Array, "*batch stacked"]) -> tuple[Array, Array]:
        """The rows of r and z, and the rows of n."""
        rz, n = jnp.split(rows, [2 * self.hidden_size], axis=-1)
        return rz, n

    def _normalize_parts(self, rz: Array, n: Array, gain: Array) -> tuple[Array, Array]:
        s_rz, s_n = self._split(gain)
        return self._normalize(rz, s_rz), self._normalize(n, s_n)
