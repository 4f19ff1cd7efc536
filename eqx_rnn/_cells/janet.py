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
    draw_carry,
    gate_biases,
    gate_weights,
    split_key,
)
from .affine import affine

Hidden = Float[Array, "*batch {self.hidden_size}"]


class JANETGates(NamedTuple):
    """Pre-activations of the forget gate and the candidate."""

    s: Float[Array, "*batch hidden_size"]
    n: Float[Array, "*batch hidden_size"]


class JANETCell(FactoredCell):
    """Just another network: an LSTM with nothing but the forget gate.

        s = W_is x + b_s + W_hs h                                 forget gate
        n = tanh(W_in x + b_n + W_hn h)                           candidate
        h' = sigmoid(s) h + (1 - sigmoid(s - beta)) n

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    The rows of the weights are s, n. With `beta > 0` more comes in than goes out.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** J. van der Westhuizen, J. Lasenby, "The unreasonable effectiveness of the forget
    gate", arXiv:1804.04849 (2018), where the state is called c and `beta` is 1 throughout. The
    chrono initialisation that it recommends is an option here, since it needs to know how long
    the sequences are: `forget_bias=eqx_rnn.chrono(max_steps)`.
    """

    weight_ih: Float[Array, "2*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "2*{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "2*{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    beta: float = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    gate_activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        use_bias: bool = True,
        beta: float = 1.0,
        activation: Callable = jnp.tanh,
        gate_activation: Callable = jax.nn.sigmoid,
        weight_init: Initializer = jinit.lecun_normal(),
        recurrent_weight_init: Initializer = jinit.orthogonal(),
        bias_init: Initializer = jinit.zeros,
        forget_bias: float | Initializer = 1.0,
        carry_init: Initializer = jinit.zeros,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray | None = None,
    ):
        """**Arguments:**

        - `input_size`: how many features the inputs have.
        - `hidden_size`: how many features the hidden state, and so the output, has.
        - `use_bias`: whether there are biases.
        - `beta`: what is subtracted from the gate's pre-activation for the candidate.
        - `activation`, `gate_activation`: any functions from an array to one of the same shape. A
            module with parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`; the
            first two are called once a gate, so that each gate's matrix is orthogonal, say.
        - `forget_bias`: added once, here, to what `bias_init` draws for the forget gate: a number,
            or an initialiser, such as `eqx_rnn.chrono`, that draws one a unit. Without effect if
            `use_bias=False`.
        - `carry_init`: as in `jax.nn.initializers`, for the hidden state before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        dtype = check_options("JANETCell", dtype, input_size=input_size, hidden_size=hidden_size)
        ih_key, hh_key, bias_key = split_key("JANETCell", key, 3)
        self.weight_ih = gate_weights(weight_init, ih_key, 2, hidden_size, input_size, dtype)
        self.weight_hh = gate_weights(
            recurrent_weight_init, hh_key, 2, hidden_size, hidden_size, dtype
        )
        self.bias = (
            gate_biases(bias_init, bias_key, 2, hidden_size, dtype, {0: forget_bias})
            if use_bias
            else None
        )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.use_bias = use_bias
        self.beta = beta
        self.activation = activation
        self.gate_activation = gate_activation
        self.carry_init = carry_init

    @property
    def num_feature_dims(self) -> int:
        return 1

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> Hidden:
        check_inputs(self, sample_input, (self.input_size,))
        (hidden,) = draw_carry(self, self.carry_init, key, sample_input, (self.hidden_size,))
        return hidden

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> JANETGates:
        gates = affine(self.weight_ih, inputs, self.bias)
        return JANETGates(*jnp.split(gates, 2, axis=-1))

    def project_hidden(self, carry: Hidden) -> JANETGates:
        return JANETGates(*jnp.split(carry @ self.weight_hh.T, 2, axis=-1))

    def update(
        self, carry: Hidden, gates: JANETGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        s, n = gates.s, self.activation(gates.n)
        sigmoid = self.gate_activation
        hidden = sigmoid(s) * carry + (1 - sigmoid(s - self.beta)) * n
        return hidden, hidden

    def read_out(self, carry: Hidden) -> Hidden:
        return carry
