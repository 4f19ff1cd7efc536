from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.nn.initializers as jinit
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._checks.messages import check_inputs
from .._functions.function import as_function
from ..initializers import (
    Initializer,
    check_options,
    draw_carry,
    gate_biases,
    gate_weights,
    split_key,
)
from .activations import activate
from .affine import add_bias
from .carry import LSTMCarry
from .conv import Padding, check_padding, convolve, kernel_shape, per_axis, state_shape

Gates = Float[Array, "*batch_and_new_space 4*{self.hidden_size}"]
Output = Float[Array, "*batch_and_new_space {self.hidden_size}"]


class ConvLSTMCell(FactoredCell):
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
    after the input convolution, read off the inputs. The recurrent convolution keeps it: stride
    1, padding "SAME", no dilation.

    **Source:** X. Shi et al., "Convolutional LSTM network: a machine learning approach for
    precipitation nowcasting", NeurIPS (2015). Departure: no peepholes, like Flax and Keras.
    """

    weight_ih: Float[Array, "4*{self.hidden_size} {self.input_size} *kernel"]
    weight_hh: Float[Array, "4*{self.hidden_size} {self.hidden_size} *kernel"]
    bias: Float[Array, "4*{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    kernel_size: tuple[int, ...] = eqx.field(static=True)
    strides: tuple[int, ...] = eqx.field(static=True)
    padding: str | tuple[tuple[int, int], ...] = eqx.field(static=True)
    dilation: tuple[int, ...] = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    gate_activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        kernel_size: int | Sequence[int],
        *,
        num_spatial_dims: int | None = None,
        strides: int | Sequence[int] = 1,
        padding: Padding = "SAME",
        dilation: int | Sequence[int] = 1,
        use_bias: bool = True,
        activation: Callable = jnp.tanh,
        gate_activation: Callable = jax.nn.sigmoid,
        weight_init: Initializer = jinit.lecun_normal(),
        recurrent_weight_init: Initializer = jinit.orthogonal(),
        bias_init: Initializer = jinit.zeros,
        forget_bias: float = 1.0,
        carry_init: Initializer = jinit.zeros,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray | None = None,
    ):
        """**Arguments:**

        - `input_size`, `hidden_size`: how many channels the inputs and the state have.
        - `kernel_size`: of both convolutions, one number a spatial axis. A single integer is that
            size along each of `num_spatial_dims` axes.
        - `num_spatial_dims`: needed only beside an integer `kernel_size`.
        - `strides`, `padding`, `dilation`: of the input convolution. An integer or one a spatial
            axis; `"SAME"`, `"VALID"` or one pair `(before, after)` a spatial axis.
        - `use_bias`, `activation`, `gate_activation`, `weight_init`, `recurrent_weight_init`,
            `bias_init`, `forget_bias`, `carry_init`, `dtype`, `key`: as for `LSTMCell`.
            Initialisers see one gate's kernel as `(*kernel_size, input, output)`.
        """
        name = "ConvLSTMCell"
        dtype = check_options(name, dtype, input_size=input_size, hidden_size=hidden_size)
        self.kernel_size = kernel_shape(name, kernel_size, num_spatial_dims)
        num_axes = len(self.kernel_size)
        self.strides = per_axis(name, "strides", strides, num_axes)
        self.padding = check_padding(name, padding, num_axes)
        self.dilation = per_axis(name, "dilation", dilation, num_axes)
        ih_key, hh_key, bias_key = split_key(name, key, 3)
        self.weight_ih = gate_weights(
            weight_init, ih_key, 4, hidden_size, input_size, dtype, self.kernel_size
        )
        self.weight_hh = gate_weights(
            recurrent_weight_init, hh_key, 4, hidden_size, hidden_size, dtype, self.kernel_size
        )
        self.bias = (
            gate_biases(bias_init, bias_key, 4, hidden_size, dtype, {1: forget_bias})
            if use_bias
            else None
        )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.use_bias = use_bias
        self.activation = activation
        self.gate_activation = gate_activation
        self.carry_init = carry_init

    @property
    def num_feature_dims(self) -> int:
        return len(self.kernel_size) + 1

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> LSTMCarry:
        check_inputs(self, sample_input, (*"XYZ"[: len(self.kernel_size)], self.input_size))
        shape = state_shape(self, sample_input)
        return LSTMCarry(*draw_carry(self, self.carry_init, key, sample_input, shape, shape))

    def project_input(self, inputs: Float[Array, "*batch_and_space {self.input_size}"]) -> Gates:
        gates = convolve(inputs, self.weight_ih, self.strides, self.padding, self.dilation)
        return add_bias(gates, self.bias)

    def project_hidden(self, carry: LSTMCarry) -> Gates:
        return convolve(carry.hidden, self.weight_hh)

    def update(
        self, carry: LSTMCarry, gates: Gates, *, key: PRNGKeyArray | None = None
    ) -> tuple[LSTMCarry, Output]:
        sigmoid, tanh = self.gate_activation, self.activation
        i, f, g, o = activate(gates, sigmoid, sigmoid, tanh, sigmoid)
        cell = f * carry.cell + i * g
        hidden = o * tanh(cell)
        return LSTMCarry(hidden, cell), hidden

    def read_out(self, carry: LSTMCarry) -> Output:
        return carry.hidden
