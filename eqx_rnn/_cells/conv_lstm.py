from collections.abc import Sequence
from typing import Any, Unpack

from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._kernels.products import add_bias, convolve
from .activations import activate
from .base import MemoryCell
from .carry import LSTMCarry
from .conv import ConvCell, ConvCellOptions, Hidden

Gates = Float[Array, "*batch_and_new_space 4*{self.hidden_size}"]


class ConvLSTMCell(MemoryCell, ConvCell, FactoredCell):
    """Convolutional LSTM, for images, volumes and other fields that change over time.

        i = sigmoid(W_ii * x + b_i + W_hi * h)     input gate
        f = sigmoid(W_if * x + b_f + W_hf * h)     forget gate
        g = tanh(W_ig * x + b_g + W_hg * h)        candidate
        o = sigmoid(W_io * x + b_o + W_ho * h)     output gate
        c' = f c + i g
        h' = o tanh(c')

    where `*` is convolution over the spatial axes, `sigmoid` stands for `gate_activation` and
    `tanh` for `activation`. The output is `h'`. The rows of the weights are the gates i, f, g, o.

    **Shapes:** channels last. Inputs `(*batch, *space, input_size)`; carry `LSTMCarry(hidden,
    cell)`, both `(*batch, *new_space, hidden_size)`; outputs as `hidden`. `new_space` is `space`
    after the input convolution.

    **Source:** X. Shi et al., "Convolutional LSTM network: a machine learning approach for
    precipitation nowcasting", NeurIPS (2015). Departure: no peepholes, as in Flax and Keras.
    """

    weight_ih: Float[Array, "4*{self.hidden_size} {self.input_size} *kernel"]
    weight_hh: Float[Array, "4*{self.hidden_size} {self.hidden_size} *kernel"]
    bias: Float[Array, "4*{self.hidden_size}"] | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        kernel_size: int | Sequence[int],
        *,
        forget_bias: float = 1.0,
        **options: Unpack[ConvCellOptions],
    ):
        """**Arguments:** those of every convolutional cell, and

        - `forget_bias`: as for `LSTMCell`.
        """
        draw = self._setup_conv(input_size, hidden_size, kernel_size, options)
        ih, hh, b = draw.keys(3)
        self.weight_ih = draw.weight(ih, 4)
        self.weight_hh = draw.recurrent_weight(hh, 4)
        self.bias = draw.bias(b, 4, {1: forget_bias})

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> LSTMCarry:
        return LSTMCarry(*self._first_carry(key, sample_input, self.hidden_size, self.hidden_size))

    def project_input(self, inputs: Float[Array, "*batch_and_space {self.input_size}"]) -> Gates:
        gates = convolve(inputs, self.weight_ih, self.strides, self.padding, self.dilation)
        return add_bias(gates, self.bias)

    def project_hidden(self, carry: LSTMCarry) -> Gates:
        return convolve(carry.hidden, self.weight_hh)

    def update(
        self, carry: LSTMCarry, gates: Gates, *, key: PRNGKeyArray | None = None
    ) -> tuple[LSTMCarry, Hidden]:
        sigmoid, tanh = self.gate_activation, self.activation
        i, f, g, o = activate(gates, sigmoid, sigmoid, tanh, sigmoid)
        cell = f * carry.cell + i * g
        hidden = o * tanh(cell)
        return LSTMCarry(hidden, cell), hidden
