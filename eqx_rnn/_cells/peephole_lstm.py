from collections.abc import Callable
from typing import Any, NamedTuple

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
    draw,
    draw_carry,
    gate_biases,
    gate_weights,
    split_key,
)
from .affine import affine, along
from .carry import LSTMCarry

Hidden = Float[Array, "*batch {self.hidden_size}"]


class PeepholeLSTMGates(NamedTuple):
    """Pre-activations, without what the gates see of the memory."""

    i: Float[Array, "*batch hidden_size"]
    f: Float[Array, "*batch hidden_size"]
    g: Float[Array, "*batch hidden_size"]
    o: Float[Array, "*batch hidden_size"]


class PeepholeLSTMCell(FactoredCell):
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
    LSTM and other neural network architectures", Neural Networks 18 (2005). Departures from the
    first: it leaves out the last `tanh`, and cuts the gradient at the gates and peepholes.
    """

    weight_ih: Float[Array, "4*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "4*{self.hidden_size} {self.hidden_size}"]
    weight_ph: Float[Array, "3*{self.hidden_size}"]
    bias: Float[Array, "4*{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    gate_activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        use_bias: bool = True,
        activation: Callable = jnp.tanh,
        gate_activation: Callable = jax.nn.sigmoid,
        weight_init: Initializer = jinit.lecun_normal(),
        recurrent_weight_init: Initializer = jinit.orthogonal(),
        peephole_init: Initializer = jinit.zeros,
        bias_init: Initializer = jinit.zeros,
        forget_bias: float = 1.0,
        carry_init: Initializer = jinit.zeros,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray | None = None,
    ):
        """**Arguments:**

        - `input_size`: how many features the inputs have.
        - `hidden_size`: how many features the hidden state, the memory and the output have.
        - `use_bias`: whether there are biases.
        - `activation`, `gate_activation`: any functions from an array to one of the same shape. A
            module with parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`; the
            first two are called once a gate, so that each gate's matrix is orthogonal, say.
        - `peephole_init`: likewise, for the peepholes. With zeros the cell starts as an
            `LSTMCell`.
        - `forget_bias`: added once, here, to what `bias_init` draws for the forget gate. Without
            effect if `use_bias=False`.
        - `carry_init`: as in `jax.nn.initializers`, for the carry before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        name = "PeepholeLSTMCell"
        dtype = check_options(name, dtype, input_size=input_size, hidden_size=hidden_size)
        ih_key, hh_key, ph_key, bias_key = split_key(name, key, 4)
        self.weight_ih = gate_weights(weight_init, ih_key, 4, hidden_size, input_size, dtype)
        self.weight_hh = gate_weights(
            recurrent_weight_init, hh_key, 4, hidden_size, hidden_size, dtype
        )
        self.weight_ph = draw(peephole_init, ph_key, (3 * hidden_size,), dtype)
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
        return 1

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> LSTMCarry:
        check_inputs(self, sample_input, (self.input_size,))
        shapes = (self.hidden_size,), (self.hidden_size,)
        return LSTMCarry(*draw_carry(self, self.carry_init, key, sample_input, *shapes))

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> PeepholeLSTMGates:
        gates = affine(self.weight_ih, inputs, self.bias)
        return PeepholeLSTMGates(*jnp.split(gates, 4, axis=-1))

    def project_hidden(self, carry: LSTMCarry) -> PeepholeLSTMGates:
        return PeepholeLSTMGates(*jnp.split(carry.hidden @ self.weight_hh.T, 4, axis=-1))

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

    def read_out(self, carry: LSTMCarry) -> Hidden:
        return carry.hidden
