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
    check_number,
    check_options,
    draw_carry,
    gate_biases,
    gate_weights,
    split_key,
)
from .affine import affine

Hidden = Float[Array, "*batch {self.hidden_size}"]


class LEMCarry(NamedTuple):
    """The two states of a long expressive memory: `hidden` is what it puts out."""

    hidden: Float[Array, "*batch hidden_size"]
    auxiliary: Float[Array, "*batch hidden_size"]


class LEMGates(NamedTuple):
    """Pre-activations of the time steps `s`, `t` and of the candidates for `z` and `y`."""

    s: Float[Array, "*batch hidden_size"]
    t: Float[Array, "*batch hidden_size"]
    z: Float[Array, "*batch hidden_size"]
    y: PyTree[Float[Array, "*batch hidden_size"]]  # None in the hidden part


class LEMCell(FactoredCell):
    """Long expressive memory: two states, each with time steps of its own that it learns.

        s = dt sigmoid(W_is x + b_s + W_hs y)                   time step of z
        t = dt sigmoid(W_it x + b_t + W_ht y)                   time step of y
        z' = (1 - s) z + s tanh(W_iz x + b_z + W_hz y)
        y' = (1 - t) y + t tanh(W_iy x + b_y + W_zh z')

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `y'`.
    The rows of `weight_ih` and `bias` are s, t, z, y, those of `weight_hh` s, t, z.

    **Shapes:** inputs `(*batch, input_size)`; carry `LEMCarry(hidden, auxiliary)`, y and z, both
    `(*batch, hidden_size)`; outputs as `hidden`.

    **Source:** T. K. Rusch, S. Mishra, N. B. Erichson, M. W. Mahoney, "Long expressive memory for
    sequence modeling", ICLR, arXiv:2110.04744 (2022), whose two time steps are s and t here. The
    rows of its authors' code are t, s, y, z, and t, s, z.
    """

    weight_ih: Float[Array, "4*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "3*{self.hidden_size} {self.hidden_size}"]
    weight_zh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "4*{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    gate_activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float | int = 1.0,
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
        - `hidden_size`: how many features each state, and so the output, has.
        - `dt`: the longest time step that can be learnt, positive, in units of the states' own
            time constant, which is 1. The paper's bounds want at most 1.
        - `use_bias`: whether there are biases.
        - `activation`, `gate_activation`: any functions from an array to one of the same shape. A
            module with parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`; the
            first two are called once a gate, so that each gate's matrix is orthogonal, say.
        - `carry_init`: likewise, for the carry before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        dtype = check_options("LEMCell", dtype, input_size=input_size, hidden_size=hidden_size)
        ih_key, hh_key, zh_key, bias_key = split_key("LEMCell", key, 4)
        square = hidden_size, hidden_size, dtype
        self.weight_ih = gate_weights(weight_init, ih_key, 4, hidden_size, input_size, dtype)
        self.weight_hh = gate_weights(recurrent_weight_init, hh_key, 3, *square)
        self.weight_zh = gate_weights(recurrent_weight_init, zh_key, 1, *square)
        self.bias = gate_biases(bias_init, bias_key, 4, hidden_size, dtype) if use_bias else None
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.dt = check_number("LEMCell", "dt", dt)
        self.use_bias = use_bias
        self.activation = activation
        self.gate_activation = gate_activation
        self.carry_init = carry_init

    @property
    def num_feature_dims(self) -> int:
        return 1

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> LEMCarry:
        check_inputs(self, sample_input, (self.input_size,))
        shapes = 2 * [(self.hidden_size,)]
        return LEMCarry(*draw_carry(self, self.carry_init, key, sample_input, *shapes))

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> LEMGates:
        gates = affine(self.weight_ih, inputs, self.bias)
        return LEMGates(*jnp.split(gates, 4, axis=-1))

    def project_hidden(self, carry: LEMCarry) -> LEMGates:
        s, t, z = jnp.split(carry.hidden @ self.weight_hh.T, 3, axis=-1)
        return LEMGates(s, t, z, None)

    def update(
        self, carry: LEMCarry, gates: LEMGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[LEMCarry, Hidden]:
        y, z = carry
        s, t = self.dt * self.gate_activation(gates.s), self.dt * self.gate_activation(gates.t)
        z = (1 - s) * z + s * self.activation(gates.z)
        y = (1 - t) * y + t * self.activation(gates.y + z @ self.weight_zh.T)
        return LEMCarry(y, z), y

    def read_out(self, carry: LEMCarry) -> Hidden:
        return carry.hidden
