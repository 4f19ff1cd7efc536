from typing import Any, Unpack

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._kernels.products import affine, project
from .activations import activate
from .base import GatedCell, GatedCellOptions, VectorCell
from .carry import LSTMCarry

Gates = Float[Array, "*batch 4*{self.hidden_size}"]
Output = Float[Array, "*batch {self.output_size}"]


class LSTMCell(GatedCell, VectorCell, FactoredCell):
    """Long short-term memory, with forget gate.

        i = sigmoid(W_ii x + b_i + W_hi h)         input gate
        f = sigmoid(W_if x + b_f + W_hf h)         forget gate
        g = tanh(W_ig x + b_g + W_hg h)            candidate
        o = sigmoid(W_io x + b_o + W_ho h)         output gate
        c' = f c + i g
        h' = o tanh(c')                            or, with `proj_size`, W_hr (o tanh(c'))

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    The rows of the weights are the gates i, f, g, o. Names, shapes and order are those of
    `eqx.nn.LSTMCell` and of `torch.nn.LSTM`, which has a second bias.

    **Shapes:** inputs `(*batch, input_size)`; carry `LSTMCarry(hidden, cell)` with `hidden`
    `(*batch, proj_size or hidden_size)` and `cell` `(*batch, hidden_size)`; outputs as `hidden`.

    **Source:** S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9
    (1997), with the forget gate of F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to forget",
    Neural Computation 12 (2000), and the projection of H. Sak, A. Senior, F. Beaufays, "Long
    short-term memory based recurrent neural network architectures for large vocabulary speech
    recognition", arXiv:1402.1128 (2014). No peepholes.
    """

    weight_ih: Float[Array, "4*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "4*{self.hidden_size} {self.output_size}"]
    weight_hr: Float[Array, "{self.proj_size} {self.hidden_size}"] | None
    bias: Float[Array, "4*{self.hidden_size}"] | None
    proj_size: int | None = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        proj_size: int | None = None,
        forget_bias: float = 1.0,
        **options: Unpack[GatedCellOptions],
    ):
        """**Arguments:** those of every cell, and

        - `proj_size`: the number of features of `h`. `None` means `hidden_size`, as for `c`.
        - `forget_bias`: is added to the forget gate's part of the initial `bias` (R. Jozefowicz,
            W. Zaremba, I. Sutskever 2015). It has no effect with `use_bias=False`.
        """
        draw = self._setup(input_size, hidden_size, options, proj_size=proj_size)
        ih, hh, hr, b = draw.keys(4)
        self.weight_ih = draw.weight(ih, 4)
        self.weight_hh = draw.recurrent_weight(hh, 4, columns=proj_size)
        self.weight_hr = draw.weight(hr, 1, proj_size, hidden_size) if proj_size else None
        self.bias = draw.bias(b, 4, {1: forget_bias})
        self.proj_size = proj_size

    @property
    def output_size(self) -> int:
        """The number of features of `h`, which is the output."""
        return self.proj_size or self.hidden_size

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> LSTMCarry:
        return LSTMCarry(*self._first_carry(key, sample_input, self.output_size, self.hidden_size))

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Gates:
        return affine(self.weight_ih, inputs, self.bias)

    def project_hidden(self, carry: LSTMCarry) -> Gates:
        return project(self.weight_hh, carry.hidden)

    def update(
        self, carry: LSTMCarry, gates: Gates, *, key: PRNGKeyArray | None = None
    ) -> tuple[LSTMCarry, Output]:
        sigmoid, tanh = self.gate_activation, self.activation
        i, f, g, o = activate(gates, sigmoid, sigmoid, tanh, sigmoid)
        cell = f * carry.cell + i * g
        hidden = o * tanh(cell)
        if self.weight_hr is not None:
            hidden = project(self.weight_hr, hidden)
        return LSTMCarry(hidden, cell), hidden

    def read_out(self, carry: LSTMCarry) -> Output:
        return carry.hidden
