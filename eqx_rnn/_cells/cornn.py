from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.nn.initializers as jinit
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._checks.messages import check_inputs
from .._functions.function import as_function
from ..initializers import (
    Initializer,
    check_number,
    check_options,
    draw_carry,
    gate_biases,
    gate_weights,
    split_key,
)
from .affine import affine

Hidden = Float[Array, "*batch {self.hidden_size}"]


class CoRNNCarry(NamedTuple):
    """The state of coupled oscillators: `hidden`, where they are, is put out."""

    hidden: Float[Array, "*batch hidden_size"]
    velocity: Float[Array, "*batch hidden_size"]


class CoRNNCell(FactoredCell):
    """Coupled oscillatory RNN: driven, damped oscillators that act on one another.

        a = tanh(W_ih x + b + W_hh y + W_zh z)                      force
        z' = z + dt (a - gamma y - epsilon z)                       velocity
        y' = y + dt z'                                              position

    where `tanh` stands for `activation`. The output is `y'`. This is `y'' = tanh(...) - gamma y -
    epsilon y'` in steps of `dt`: explicit in all but the last line, which takes the new velocity.

    **Shapes:** inputs `(*batch, input_size)`; carry `CoRNNCarry(hidden, velocity)`, y and z, both
    `(*batch, hidden_size)`; outputs as `hidden`.

    **Source:** T. K. Rusch, S. Mishra, "Coupled oscillatory recurrent neural network (coRNN): an
    accurate and (gradient) stable architecture for learning long time dependencies", ICLR,
    arXiv:2010.00951 (2021). Of its two discretisations this is the one with the explicit damping,
    `epsilon z` and not `epsilon z'`, which its authors' code has. `dt`, `gamma` and `epsilon` are
    by default that code's for sequential MNIST.
    """

    weight_ih: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    weight_zh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    gamma: float = eqx.field(static=True)
    epsilon: float = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float | int = 0.042,
        gamma: float | int = 2.7,
        epsilon: float | int = 4.7,
        use_bias: bool = True,
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
        - `hidden_size`: how many oscillators there are, and features the output has.
        - `dt`: the time of a step, positive.
        - `gamma`: the square of the oscillators' own angular frequency, positive, in 1 over the
            square of the unit of `dt`.
        - `epsilon`: the damping, 0 or positive, in 1 over the unit of `dt`.
        - `use_bias`: whether there is a bias `b`.
        - `activation`: any function from an array to an array of the same shape. A module with
            parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`; the
            second is called for `weight_hh` and for `weight_zh`.
        - `carry_init`: likewise, for the carry before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        name = "CoRNNCell"
        dtype = check_options(name, dtype, input_size=input_size, hidden_size=hidden_size)
        ih_key, hh_key, zh_key, bias_key = split_key(name, key, 4)
        square = 1, hidden_size, hidden_size, dtype
        self.weight_ih = gate_weights(weight_init, ih_key, 1, hidden_size, input_size, dtype)
        self.weight_hh = gate_weights(recurrent_weight_init, hh_key, *square)
        self.weight_zh = gate_weights(recurrent_weight_init, zh_key, *square)
        self.bias = gate_biases(bias_init, bias_key, 1, hidden_size, dtype) if use_bias else None
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.dt = check_number(name, "dt", dt)
        self.gamma = check_number(name, "gamma", gamma)
        self.epsilon = check_number(name, "epsilon", epsilon, or_zero=True)
        self.use_bias = use_bias
        self.activation = activation
        self.carry_init = carry_init

    @property
    def num_feature_dims(self) -> int:
        return 1

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> CoRNNCarry:
        check_inputs(self, sample_input, (self.input_size,))
        shapes = 2 * [(self.hidden_size,)]
        return CoRNNCarry(*draw_carry(self, self.carry_init, key, sample_input, *shapes))

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Hidden:
        return affine(self.weight_ih, inputs, self.bias)

    def project_hidden(self, carry: CoRNNCarry) -> Hidden:
        return carry.hidden @ self.weight_hh.T + carry.velocity @ self.weight_zh.T

    def update(
        self, carry: CoRNNCarry, gates: Hidden, *, key: PRNGKeyArray | None = None
    ) -> tuple[CoRNNCarry, Hidden]:
        y, z = carry
        z = z + self.dt * (self.activation(gates) - self.gamma * y - self.epsilon * z)
        y = y + self.dt * z
        return CoRNNCarry(y, z), y

    def read_out(self, carry: CoRNNCarry) -> Hidden:
        return carry.hidden
