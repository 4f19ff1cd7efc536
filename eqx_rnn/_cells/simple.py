from collections.abc import Callable
from typing import Any

import equinox as eqx
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


class SimpleCell(FactoredCell):
    """Elman's simple recurrent network.

        h' = tanh(W_ih x + b + W_hh h)            residual=False
        h' = tanh(W_ih x + b + W_hh h + h)        residual=True

    where `tanh` stands for `activation`. The output is `h'`.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** J. L. Elman, "Finding structure in time", Cognitive Science 14 (1990); the
    activation there is logistic. `residual=True` is the recurrent identity network of Y. Hu,
    A. Huber, J. Anumula, S.-C. Liu, "Overcoming the vanishing gradient problem in plain recurrent
    networks", arXiv:1801.06105 (2018); the activation there is ReLU.
    """

    weight_ih: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    residual: bool = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        use_bias: bool = True,
        residual: bool = False,
        activation: Callable = jnp.tanh,
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
        - `use_bias`: whether there is a bias `b`.
        - `residual`: whether `h` is added inside the activation.
        - `activation`: any function from an array to an array of the same shape. A module with
            parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`.
        - `carry_init`: likewise, for the hidden state before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        dtype = check_options("SimpleCell", dtype, input_size=input_size, hidden_size=hidden_size)
        ih_key, hh_key, bias_key = split_key("SimpleCell", key, 3)
        self.weight_ih = gate_weights(weight_init, ih_key, 1, hidden_size, input_size, dtype)
        self.weight_hh = gate_weights(
            recurrent_weight_init, hh_key, 1, hidden_size, hidden_size, dtype
        )
        self.bias = gate_biases(bias_init, bias_key, 1, hidden_size, dtype) if use_bias else None
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.use_bias = use_bias
        self.residual = residual
        self.activation = activation
        self.carry_init = carry_init

    @property
    def num_feature_dims(self) -> int:
        return 1

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> Hidden:
        check_inputs(self, sample_input, (self.input_size,))
        (hidden,) = draw_carry(self, self.carry_init, key, sample_input, (self.hidden_size,))
        return hidden

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Hidden:
        return affine(self.weight_ih, inputs, self.bias)

    def project_hidden(self, carry: Hidden) -> Hidden:
        return carry @ self.weight_hh.T

    def update(
        self, carry: Hidden, gates: Hidden, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        hidden = self.activation(gates + carry if self.residual else gates)
        return hidden, hidden

    def read_out(self, carry: Hidden) -> Hidden:
        return carry
