from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.nn
import jax.nn.initializers as jinit
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

Hidden = Float[Array, "*batch {self.hidden_size}"]


class IndRNNCell(FactoredCell):
    """Independently recurrent network: each unit sees its own past only.

        h' = relu(W_ih x + b + u h)

    where `u` (`weight_hh`) is a vector and `relu` stands for `activation`. The output is `h'`.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** S. Li, W. Li, C. Cook, C. Zhu, Y. Gao, "Independently recurrent neural network
    (IndRNN): building a longer and deeper RNN", CVPR (2018). With ReLU and `T` steps the paper
    keeps `|u|` below a bound of `2 ** (1 / T)`, so that gradients do not explode; the cell does
    not: clip `weight_hh` after an optimiser's step if you want that.
    """

    weight_ih: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.hidden_size}"]
    bias: Float[Array, "{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        use_bias: bool = True,
        activation: Callable = jax.nn.relu,
        weight_init: Initializer = jinit.lecun_normal(),
        recurrent_weight_init: Initializer = jinit.uniform(1.0),
        bias_init: Initializer = jinit.zeros,
        carry_init: Initializer = jinit.zeros,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray | None = None,
    ):
        """**Arguments:**

        - `input_size`: how many features the inputs have.
        - `hidden_size`: how many features the hidden state, and so the output, has.
        - `use_bias`: whether there is a bias `b`.
        - `activation`: any function from an array to an array of the same shape. A module with
            parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `bias_init`: as in `jax.nn.initializers`.
        - `recurrent_weight_init`: likewise, for a vector. The default is uniform between 0 and 1,
            which the paper's bound tends to in long sequences; for few steps `T` pass
            `jax.nn.initializers.uniform(2 ** (1 / T))`. Where only the last output counts, the
            paper starts the last layer near 1.
        - `carry_init`: as in `jax.nn.initializers`, for the hidden state before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        dtype = check_options("IndRNNCell", dtype, input_size=input_size, hidden_size=hidden_size)
        ih_key, hh_key, bias_key = split_key("IndRNNCell", key, 3)
        self.weight_ih = gate_weights(weight_init, ih_key, 1, hidden_size, input_size, dtype)
        self.weight_hh = draw(recurrent_weight_init, hh_key, (hidden_size,), dtype)
        self.bias = gate_biases(bias_init, bias_key, 1, hidden_size, dtype) if use_bias else None
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.use_bias = use_bias
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
        return carry * along(self.weight_hh, carry)

    def update(
        self, carry: Hidden, gates: Hidden, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        hidden = self.activation(gates)
        return hidden, hidden

    def read_out(self, carry: Hidden) -> Hidden:
        return carry
