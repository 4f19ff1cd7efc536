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

Gates = Float[Array, "*batch 2*{self.hidden_size}"]
Hidden = Float[Array, "*batch {self.hidden_size}"]


class UGRNNCell(FactoredCell):
    """Update-gate network: a highway between the old state and a simple recurrent network.

        g = sigmoid(W_ig x + b_g + W_hg h)         update gate
        n = tanh(W_in x + b_n + W_hn h)            candidate
        h' = g h + (1 - g) n

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    The rows of the weights are g, n.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** J. Collins, J. Sohl-Dickstein, D. Sussillo, "Capacity and trainability in recurrent
    neural networks", ICLR (2017), where the candidate is called c.
    """

    weight_ih: Float[Array, "2*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "2*{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "2*{self.hidden_size}"] | None
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
        bias_init: Initializer = jinit.zeros,
        forget_bias: float = 1.0,
        carry_init: Initializer = jinit.zeros,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray | None = None,
    ):
        """**Arguments:**

        - `input_size`: how many features the inputs have.
        - `hidden_size`: how many features the hidden state, and so the output, has.
        - `use_bias`: whether there are biases.
        - `activation`, `gate_activation`: any functions from an array to one of the same shape. A
            module with parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`; the
            first two are called once a gate, so that each gate's matrix is orthogonal, say.
        - `forget_bias`: added once, here, to what `bias_init` draws for the update gate, which
            forgets where it is small. Without effect if `use_bias=False`.
        - `carry_init`: as in `jax.nn.initializers`, for the hidden state before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        dtype = check_options("UGRNNCell", dtype, input_size=input_size, hidden_size=hidden_size)
        ih_key, hh_key, bias_key = split_key("UGRNNCell", key, 3)
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

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Gates:
        return affine(self.weight_ih, inputs, self.bias)

    def project_hidden(self, carry: Hidden) -> Gates:
        return carry @ self.weight_hh.T

    def update(
        self, carry: Hidden, gates: Gates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        g, n = activate(gates, self.gate_activation, self.activation)
        hidden = g * carry + (1 - g) * n
        return hidden, hidden

    def read_out(self, carry: Hidden) -> Hidden:
        return carry
