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
from .affine import add_bias, affine

Hidden = Float[Array, "*batch {self.hidden_size}"]


class MGUGates(NamedTuple):
    """Pre-activations of the forget gate, and the candidate's two parts."""

    f: Float[Array, "*batch hidden_size"]
    n_x: PyTree[Float[Array, "*batch hidden_size"]]  # None in the other part
    n_h: PyTree[Float[Array, "*batch hidden_size"]]  # None in the other part


class MGUCell(FactoredCell):
    """Minimal gated unit: a GRU whose one gate both resets and updates.

        f = sigmoid(W_if x + b_f + W_hf h)                  forget gate
        n = tanh(W_in x + b_n + f (W_hn h + b_hn))          candidate, reset_gate=True
        n = tanh(W_in x + b_n + W_hn h)                     candidate, reset_gate=False
        h' = (1 - f) n + f h

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    The rows of the weights are f, n. `bias` holds b_f, b_n; `bias_n` is b_hn.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** G.-B. Zhou, J. Wu, C.-L. Zhang, Z.-H. Zhou, "Minimal gated unit for recurrent neural
    networks", International Journal of Automation and Computing 13 (2016). Departures, all of
    them Flax's: the paper's `h' = (1 - f) h + f n` gives the gate the opposite sense, so a large
    `f` keeps the state here and replaces it there; and the paper gates before the product, `W_hn
    (f h)`, with one bias. `reset_gate=False` drops the gate from the candidate.
    """

    weight_ih: Float[Array, "2*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "2*{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "2*{self.hidden_size}"] | None
    bias_n: Float[Array, "{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    reset_gate: bool = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    gate_activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        use_bias: bool = True,
        reset_gate: bool = True,
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
        - `use_bias`: whether there are biases. (`bias_n` exists only if `reset_gate=True`; it
            would be a second `b_n` otherwise.)
        - `reset_gate`: whether the gate multiplies the state's part of the candidate, too.
        - `activation`, `gate_activation`: any functions from an array to one of the same shape. A
            module with parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`; the
            first two are called once a gate, so that each gate's matrix is orthogonal, say.
        - `forget_bias`: added once, here, to what `bias_init` draws for the forget gate. Without
            effect if `use_bias=False`.
        - `carry_init`: as in `jax.nn.initializers`, for the hidden state before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        dtype = check_options("MGUCell", dtype, input_size=input_size, hidden_size=hidden_size)
        ih_key, hh_key, bias_key, bias_n_key = split_key("MGUCell", key, 4)
        self.weight_ih = gate_weights(weight_init, ih_key, 2, hidden_size, input_size, dtype)
        self.weight_hh = gate_weights(
            recurrent_weight_init, hh_key, 2, hidden_size, hidden_size, dtype
        )
        self.bias = (
            gate_biases(bias_init, bias_key, 2, hidden_size, dtype, {0: forget_bias})
            if use_bias
            else None
        )
        self.bias_n = (
            gate_biases(bias_init, bias_n_key, 1, hidden_size, dtype)
            if use_bias and reset_gate
            else None
        )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.use_bias = use_bias
        self.reset_gate = reset_gate
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

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> MGUGates:
        gates = affine(self.weight_ih, inputs, self.bias)
        f, n = jnp.split(gates, 2, axis=-1)
        return MGUGates(f, n, None)

    def project_hidden(self, carry: Hidden) -> MGUGates:
        f, n = jnp.split(carry @ self.weight_hh.T, 2, axis=-1)
        return MGUGates(f, None, add_bias(n, self.bias_n))

    def update(
        self, carry: Hidden, gates: MGUGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        f = self.gate_activation(gates.f)
        n = self.activation(gates.n_x + (f * gates.n_h if self.reset_gate else gates.n_h))
        hidden = (1 - f) * n + f * carry
        return hidden, hidden

    def read_out(self, carry: Hidden) -> Hidden:
        return carry
