from typing import Any, NamedTuple, Unpack

import jax.nn.initializers as jinit
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._kernels.products import affine, along, project
from ..initializers import Initializer
from .base import Gate, GatedCell, GatedCellOptions, Hidden, MemoryCell, VectorCell
from .carry import LSTMCarry


class PeepholeLSTMGates(NamedTuple):
    """Pre-activations, without the peepholes."""

    i: Gate
    f: Gate
    g: Gate
    o: Gate


class PeepholeLSTMCell(MemoryCell, GatedCell, VectorCell, FactoredCell):
    """Long short-term memory whose gates see the memory.

        i = sigmoid(W_ii x + b_i + W_hi h + p_i c)         input gate
        f = sigmoid(W_if x + b_f + W_hf h + p_f c)         forget gate
        g = tanh(W_ig x + b_g + W_hg h)                    candidate
        c' = f c + i g
        o = sigmoid(W_io x + b_o + W_ho h + p_o c')        output gate
        h' = o tanh(c')

    where the peepholes p are vectors, `sigmoid` stands for `gate_activation` and `tanh` for
    `activation`. The output is `h'`. The rows of the weights are the gates i, f, g, o, as in
    `LSTMCell`; those of the peepholes (`weight_ph`) are i, f, o.

    **Shapes:** inputs `(*batch, input_size)`; carry `LSTMCarry(hidden, cell)`, both `(*batch,
    hidden_size)`; outputs as `hidden`.

    **Source:** F. A. Gers, J. Schmidhuber, "Recurrent nets that time and count", IJCNN (2000), in
    the form of A. Graves, J. Schmidhuber, "Framewise phoneme classification with bidirectional
    LSTM and other neural network architectures", Neural Networks 18 (2005). Departures: the
    first paper leaves out the last `tanh` and cuts the gradient at the gates and peepholes.
    """

    weight_ih: Float[Array, "4*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "4*{self.hidden_size} {self.hidden_size}"]
    weight_ph: Float[Array, "3*{self.hidden_size}"]
    bias: Float[Array, "4*{self.hidden_size}"] | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        peephole_init: Initializer = jinit.zeros,
        forget_bias: float = 1.0,
        **options: Unpack[GatedCellOptions],
    ):
        """**Arguments:** those of every cell, and

        - `peephole_init`: an initialiser for the peepholes. With zeros, the cell starts as an
            `LSTMCell`.
        - `forget_bias`: as for `LSTMCell`.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, ph, b = draw.keys(4)
        self.weight_ih = draw.weight(ih, 4)
        self.weight_hh = draw.recurrent_weight(hh, 4)
        self.weight_ph = draw.vector(ph, 3, peephole_init)
        self.bias = draw.bias(b, 4, {1: forget_bias})

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> LSTMCarry:
        return LSTMCarry(*self._first_carry(key, sample_input, self.hidden_size, self.hidden_size))

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> PeepholeLSTMGates:
        gates = affine(self.weight_ih, inputs, self.bias)
        return PeepholeLSTMGates(*jnp.split(gates, 4, axis=-1))

    def project_hidden(self, carry: LSTMCarry) -> PeepholeLSTMGates:
        return PeepholeLSTMGates(*jnp.split(project(self.weight_hh, carry.hidden), 4, axis=-1))

    def update(
        self, carry: LSTMCarry, gates: PeepholeLSTMGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[LSTMCarry, Hidden]:
        p_i, p_f, p_o = (along(p, carry.cell) for p in jnp.split(self.weight_ph, 3))
        i = self.gate_activation(gates.i + p_i * carry.cell)
        f = self.gate_activation(gates.f + p_f * carry.cell)
        g = self.activation(gates.g)
        cell = f * carry.cell + i * g
        o = self.gate_activation(gates.o + p_o * cell)
        hidden = o * self.activation(cell)
        return LSTMCarry(hidden, cell), hidden
