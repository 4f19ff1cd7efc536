from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.nn
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
from .affine import affine
from .carry import LSTMCarry

Gates = Float[Array, "*batch 4*{self.hidden_size}"]
Output = Float[Array, "*batch {self.output_size}"]


class LSTMCell(FactoredCell):
    """Long short-term memory, with forget gate.

        i = sigmoid(W_ii x + b_i + W_hi h)         input gate
        f = sigmoid(W_if x + b_f + W_hf h)         forget gate
        g = tanh(W_ig x + b_g + W_hg h)            candidate
        o = sigmoid(W_io x + b_o + W_ho h)         output gate
        c' = f c + i g
        h' = o tanh(c')                            or, with `proj_size`, W_hr (o tanh(c'))

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    The rows of the weights are the gates i, f, g, o; names, shapes and order are those of
    `eqx.nn.LSTMCell` and, but for a second bias, `torch.nn.LSTM`.

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
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    proj_size: int | None = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    gate_activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        proj_size: int | None = None,
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

        - `input_size`: how many features the inputs have.
        - `hidden_size`: how many features the memory `c` has.
        - `proj_size`: how many features `h` has, if other than `hidden_size`.
        - `use_bias`: whether there are biases.
        - `activation`, `gate_activation`: any functions from an array to one of the same shape. A
            module with parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`; the
            first two are called once a gate, so that each gate's matrix is orthogonal, say.
        - `forget_bias`: added once, here, to what `bias_init` draws for the forget gate (R.
            Jozefowicz, W. Zaremba, I. Sutskever 2015). Without effect if `use_bias=False`.
        - `carry_init`: as in `jax.nn.initializers`, for the carry before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        sizes = {"input_size": input_size, "hidden_size": hidden_size}
        if proj_size is not None:
            sizes["proj_size"] = proj_size
        dtype = check_options("LSTMCell", dtype, **sizes)
        ih_key, hh_key, hr_key, bias_key = split_key("LSTMCell", key, 4)
        output_size = proj_size or hidden_size
        self.weight_ih = gate_weights(weight_init, ih_key, 4, hidden_size, input_size, dtype)
        self.weight_hh = gate_weights(
            recurrent_weight_init, hh_key, 4, hidden_size, output_size, dtype
        )
        self.weight_hr = (
            None
            if proj_size is None
            else gate_weights(weight_init, hr_key, 1, proj_size, hidden_size, dtype)
        )
        self.bias = (
            gate_biases(bias_init, bias_key, 4, hidden_size, dtype, {1: forget_bias})
            if use_bias
            else None
        )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.proj_size = proj_size
        self.use_bias = use_bias
        self.activation = activation
        self.gate_activation = gate_activation
        self.carry_init = carry_init

    @property
    def output_size(self) -> int:
        """How many features `h` and the output have."""
        return self.proj_size or self.hidden_size

    @property
    def num_feature_dims(self) -> int:
        return 1

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> LSTMCarry:
        check_inputs(self, sample_input, (self.input_size,))
        shapes = (self.output_size,), (self.hidden_size,)
        return LSTMCarry(*draw_carry(self, self.carry_init, key, sample_input, *shapes))

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Gates:
        return affine(self.weight_ih, inputs, self.bias)

    def project_hidden(self, carry: LSTMCarry) -> Gates:
        return carry.hidden @ self.weight_hh.T

    def update(
        self, carry: LSTMCarry, gates: Gates, *, key: PRNGKeyArray | None = None
    ) -> tuple[LSTMCarry, Output]:
        sigmoid, tanh = self.gate_activation, self.activation
        i, f, g, o = activate(gates, sigmoid, sigmoid, tanh, sigmoid)
        cell = f * carry.cell + i * g
        hidden = o * tanh(cell)
        if self.weight_hr is not None:
            hidden = hidden @ self.weight_hr.T
        return LSTMCarry(hidden, cell), hidden

    def read_out(self, carry: LSTMCarry) -> Output:
        return carry.hidden
