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


class AntisymmetricRNNGates(NamedTuple):
    """Pre-activations of the gate and of the candidate."""

    z: PyTree[Float[Array, "*batch hidden_size"]]  # None if not gated
    n: Float[Array, "*batch hidden_size"]


class AntisymmetricRNNCell(FactoredCell):
    """AntisymmetricRNN: an Euler step of a differential equation that neither grows nor forgets.

        A = W_hh - W_hh^T - gamma I
        n = tanh(W_in x + b_n + A h)                candidate
        z = sigmoid(W_iz x + b_z + A h)             gate, gated=True only
        h' = h + epsilon n                          gated=False
        h' = h + epsilon z n                        gated=True

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    The rows of `weight_ih` and `bias` are z, n, or n alone; both share A. The eigenvalues of A
    have the real part -gamma, whatever W_hh is.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Rounding:** A step shrinks differences between two states only if `epsilon (w^2 + gamma^2) < 2
    gamma`, where `w` is the largest frequency (the absolute eigenvalues of `W_hh - W_hh^T`, up to 2
    at first); with the default options, which are the paper's, a step enlarges them slightly. In
    float32, errors therefore grow to about 1e-5 within 10,000 steps and to 0.01 or more within
    100,000, in any implementation; with `gamma=0.1` they stay at 1e-6.

    **Source:** B. Chang, M. Chen, E. Haber, E. H. Chi, "AntisymmetricRNN: a dynamical system view
    on recurrent neural networks", ICLR, arXiv:1902.09689 (2019). Departures: W_hh is a whole
    matrix, where its upper triangle would do, and starts orthogonal, not normal.
    """

    weight_ih: Float[Array, "{1+self.gated}*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "{1+self.gated}*{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    gated: bool = eqx.field(static=True)
    epsilon: float = eqx.field(static=True)
    gamma: float = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    gate_activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        gated: bool = False,
        epsilon: float | int = 0.01,
        gamma: float | int = 0.01,
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
        - `gated`: whether there is the gate z.
        - `epsilon`: the step of Euler's method, positive. A unit of time is whatever makes the
            differential equation the one above.
        - `gamma`: the diffusion, 0 or positive, in 1 over that unit. Without any, Euler's method
            is unstable, the faster the larger `epsilon`.
        - `use_bias`: whether there are biases.
        - `activation`, `gate_activation`: any functions from an array to one of the same shape. A
            module with parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`; the
            first is called once a gate.
        - `carry_init`: likewise, for the hidden state before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        name = "AntisymmetricRNNCell"
        dtype = check_options(name, dtype, input_size=input_size, hidden_size=hidden_size)
        ih_key, hh_key, bias_key = split_key(name, key, 3)
        num_gates = 1 + gated
        self.weight_ih = gate_weights(
            weight_init, ih_key, num_gates, hidden_size, input_size, dtype
        )
        self.weight_hh = gate_weights(
            recurrent_weight_init, hh_key, 1, hidden_size, hidden_size, dtype
        )
        self.bias = (
            gate_biases(bias_init, bias_key, num_gates, hidden_size, dtype) if use_bias else None
        )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.gated = gated
        self.epsilon = check_number(name, "epsilon", epsilon)
        self.gamma = check_number(name, "gamma", gamma, or_zero=True)
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

    def project_input(
        self, inputs: Float[Array, "*batch {self.input_size}"]
    ) -> AntisymmetricRNNGates:
        gates = affine(self.weight_ih, inputs, self.bias)
        if not self.gated:
            return AntisymmetricRNNGates(None, gates)
        return AntisymmetricRNNGates(*jnp.split(gates, 2, axis=-1))

    def project_hidden(self, carry: Hidden) -> AntisymmetricRNNGates:
        identity = jnp.eye(self.hidden_size, dtype=self.weight_hh.dtype)
        matrix = self.weight_hh - self.weight_hh.T - self.gamma * identity
        product = carry @ matrix.T
        return AntisymmetricRNNGates(product if self.gated else None, product)

    def update(
        self, carry: Hidden, gates: AntisymmetricRNNGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        change = self.activation(gates.n)
        if self.gated:
            change = self.gate_activation(gates.z) * change
        hidden = carry + self.epsilon * change
        return hidden, hidden

    def read_out(self, carry: Hidden) -> Hidden:
        return carry
