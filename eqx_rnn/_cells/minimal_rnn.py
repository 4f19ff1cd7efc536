from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.nn
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
from .affine import affine

Hidden = Float[Array, "*batch {self.hidden_size}"]


class MinimalRNNGates(NamedTuple):
    """The update gate's pre-activation, and the embedded input."""

    u: Float[Array, "*batch hidden_size"]
    z: PyTree[Float[Array, "*batch hidden_size"]]  # None in the hidden part


class MinimalRNNCell(FactoredCell):
    """MinimalRNN: the input, embedded in the space of the state, and one gate to take it up.

        z = tanh(W_ih x + b_z)                              embedded input
        u = sigmoid(W_zh z + b_u + W_hh h)                  update gate
        h' = u h + (1 - u) z

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    `bias` holds b_z, b_u.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** M. Chen, "MinimalRNN: toward more interpretable and trainable recurrent neural
    networks", arXiv:1711.06788 (2017), where W_hh is U_h and W_zh is U_z. The paper leaves the
    embedding open; this is the one of its experiments, a layer with a tanh.
    """

    weight_ih: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_zh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    weight_hh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
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
            second is called for `weight_zh` and for `weight_hh`.
        - `carry_init`: likewise, for the hidden state before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        name = "MinimalRNNCell"
        dtype = check_options(name, dtype, input_size=input_size, hidden_size=hidden_size)
        ih_key, zh_key, hh_key, bias_key = split_key(name, key, 4)
        square = 1, hidden_size, hidden_size, dtype
        self.weight_ih = gate_weights(weight_init, ih_key, 1, hidden_size, input_size, dtype)
        self.weight_zh = gate_weights(recurrent_weight_init, zh_key, *square)
        self.weight_hh = gate_weights(recurrent_weight_init, hh_key, *square)
        self.bias = gate_biases(bias_init, bias_key, 2, hidden_size, dtype) if use_bias else None
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

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> MinimalRNNGates:
        b_z, b_u = (None, None) if self.bias is None else jnp.split(self.bias, 2)
        # All that needs no carry is here, and so out of the time loop: the embedding, too.
        z = self.activation(affine(self.weight_ih, inputs, b_z))
        return MinimalRNNGates(affine(self.weight_zh, z, b_u), z)

    def project_hidden(self, carry: Hidden) -> MinimalRNNGates:
        return MinimalRNNGates(carry @ self.weight_hh.T, None)

    def update(
        self, carry: Hidden, gates: MinimalRNNGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        u = self.gate_activation(gates.u)
        hidden = u * carry + (1 - u) * gates.z
        return hidden, hidden

    def read_out(self, carry: Hidden) -> Hidden:
        return carry
