from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.nn.initializers as jinit
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray, PyTree

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
from .affine import add_bias
from .conv import Padding, check_padding, convolve, kernel_shape, per_axis, state_shape

Hidden = Float[Array, "*batch_and_new_space {self.hidden_size}"]


class ConvGRUGates(NamedTuple):
    """Pre-activations of the reset and update gate, and the candidate's two parts."""

    r: Float[Array, "*batch_and_new_space hidden_size"]
    z: Float[Array, "*batch_and_new_space hidden_size"]
    n_x: PyTree[Float[Array, "*batch_and_new_space hidden_size"]]  # None in the other part
    n_h: PyTree[Float[Array, "*batch_and_new_space hidden_size"]]  # None in the other part


class ConvGRUCell(FactoredCell):
    """Convolutional GRU, for images, volumes and other fields that change over time.

        r = sigmoid(W_ir * x + b_r + W_hr * h)              reset gate
        z = sigmoid(W_iz * x + b_z + W_hz * h)              update gate
        n = tanh(W_in * x + b_n + r (W_hn * h + b_hn))      candidate, reset_after=True
        n = tanh(W_in * x + b_n + W_hn * (r h))             candidate, reset_after=False
        h' = (1 - z) n + z h

    where `*` is convolution over the spatial axes, `sigmoid` stands for `gate_activation` and
    `tanh` for `activation`. The output is `h'`. The rows of the weights are the gates r, z, n.
    `bias` holds b_r, b_z, b_n; `bias_n` is b_hn.

    **Shapes:** channels last. Inputs `(*batch, *space, input_size)`; carry and outputs `(*batch,
    *new_space, hidden_size)`. `new_space` is `space` after the input convolution, read off the
    inputs. The recurrent convolution keeps it: stride 1, padding "SAME", no dilation.

    **Source:** N. Ballas, L. Yao, C. Pal, A. Courville, "Delving deeper into convolutional networks
    for learning video representations", ICLR (2016), is `reset_after=False` with the update gate
    `z` in the opposite sense (`h' = (1 - z) h + z n`) and no biases.
    """

    weight_ih: Float[Array, "3*{self.hidden_size} {self.input_size} *kernel"]
    weight_hh: Float[Array, "3*{self.hidden_size} {self.hidden_size} *kernel"]
    bias: Float[Array, "3*{self.hidden_size}"] | None
    bias_n: Float[Array, "{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    kernel_size: tuple[int, ...] = eqx.field(static=True)
    strides: tuple[int, ...] = eqx.field(static=True)
    padding: str | tuple[tuple[int, int], ...] = eqx.field(static=True)
    dilation: tuple[int, ...] = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    reset_after: bool = eqx.field(static=True)
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
        reset_after: bool = True,
        activation: Callable = jnp.tanh,
        gate_activation: Callable = jax.nn.sigmoid,
        weight_init: Initializer = jinit.lecun_normal(),
        recurrent_weight_init: Initializer = jinit.orthogonal(),
        bias_init: Initializer = jinit.zeros,
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
        - `use_bias`, `reset_after`, `activation`, `gate_activation`, `weight_init`,
            `recurrent_weight_init`, `bias_init`, `carry_init`, `dtype`, `key`: as for `GRUCell`.
            Initialisers see one gate's kernel as `(*kernel_size, input, output)`.
        """
        name = "ConvGRUCell"
        dtype = check_options(name, dtype, input_size=input_size, hidden_size=hidden_size)
        self.kernel_size = kernel_shape(name, kernel_size, num_spatial_dims)
        num_axes = len(self.kernel_size)
        self.strides = per_axis(name, "strides", strides, num_axes)
        self.padding = check_padding(name, padding, num_axes)
        self.dilation = per_axis(name, "dilation", dilation, num_axes)
        ih_key, hh_key, bias_key, bias_n_key = split_key(name, key, 4)
        self.weight_ih = gate_weights(
            weight_init, ih_key, 3, hidden_size, input_size, dtype, self.kernel_size
        )
        self.weight_hh = gate_weights(
            recurrent_weight_init, hh_key, 3, hidden_size, hidden_size, dtype, self.kernel_size
        )
        self.bias = gate_biases(bias_init, bias_key, 3, hidden_size, dtype) if use_bias else None
        self.bias_n = (
            gate_biases(bias_init, bias_n_key, 1, hidden_size, dtype)
            if use_bias and reset_after
            else None
        )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.use_bias = use_bias
        self.reset_after = reset_after
        self.activation = activation
        self.gate_activation = gate_activation
        self.carry_init = carry_init

    @property
    def num_feature_dims(self) -> int:
        return len(self.kernel_size) + 1

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> Hidden:
        check_inputs(self, sample_input, (*"XYZ"[: len(self.kernel_size)], self.input_size))
        shape = state_shape(self, sample_input)
        (hidden,) = draw_carry(self, self.carry_init, key, sample_input, shape)
        return hidden

    def project_input(
        self, inputs: Float[Array, "*batch_and_space {self.input_size}"]
    ) -> ConvGRUGates:
        gates = convolve(inputs, self.weight_ih, self.strides, self.padding, self.dilation)
        r, z, n = jnp.split(add_bias(gates, self.bias), 3, axis=-1)
        return ConvGRUGates(r, z, n, None)

    def project_hidden(self, carry: Hidden) -> ConvGRUGates:
        if not self.reset_after:
            r, z = jnp.split(convolve(carry, self.weight_hh[: 2 * self.hidden_size]), 2, axis=-1)
            return ConvGRUGates(r, z, None, None)
        r, z, n = jnp.split(convolve(carry, self.weight_hh), 3, axis=-1)
        return ConvGRUGates(r, z, None, add_bias(n, self.bias_n))

    def update(
        self, carry: Hidden, gates: ConvGRUGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        r, z = self.gate_activation(gates.r), self.gate_activation(gates.z)
        if self.reset_after:
            n = self.activation(gates.n_x + r * gates.n_h)
        else:
            w_n = self.weight_hh[2 * self.hidden_size :]
            n = self.activation(gates.n_x + convolve(r * carry, w_n))
        hidden = (1 - z) * n + z * carry
        return hidden, hidden

    def read_out(self, carry: Hidden) -> Hidden:
        return carry
