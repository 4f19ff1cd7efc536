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


class GRUGates(NamedTuple):
    """Pre-activations of the reset and update gate, and the candidate's two parts."""

    r: Float[Array, "*batch hidden_size"]
    z: Float[Array, "*batch hidden_size"]
    n_x: PyTree[Float[Array, "*batch hidden_size"]]  # None in the other part
    n_h: PyTree[Float[Array, "*batch hidden_size"]]  # None in the other part


class GRUCell(FactoredCell):
    """Gated recurrent unit.

        r = sigmoid(W_ir x + b_r + W_hr h)                  reset gate
        z = sigmoid(W_iz x + b_z + W_hz h)                  update gate
        n = tanh(W_in x + b_n + r (W_hn h + b_hn))          candidate, reset_after=True
        n = tanh(W_in x + b_n + W_hn (r h))                 candidate, reset_after=False
        h' = (1 - z) n + z h

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    The rows of the weights are the gates r, z, n. `bias` holds b_r, b_z, b_n; `bias_n` is b_hn.
    Names, shapes and order are those of `eqx.nn.GRUCell` (and of `torch.nn.GRU` but for its two
    more biases).

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** K. Cho et al., "Learning phrase representations using RNN encoder-decoder for
    statistical machine translation", EMNLP (2014), which has no biases, is `reset_after=False`.
    Resetting after the product is the first version of that paper, arXiv:1406.1078v1, and the
    form of cuDNN, torch, Flax and Keras; it lets all products of a step run at once.
    """

    weight_ih: Float[Array, "3*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "3*{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "3*{self.hidden_size}"] | None
    bias_n: Float[Array, "{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    reset_after: bool = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    gate_activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        use_bias: bool = True,
        reset_after: bool = True,
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
        - `use_bias`: whether there are biases. (`bias_n` exists only if `reset_after=True`; it
            would be a second `b_n` otherwise.)
        - `reset_after`: whether the reset gate multiplies after the candidate's matrix product.
        - `activation`, `gate_activation`: any functions from an array to one of the same shape. A
            module with parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`; the
            first two are called once a gate, so that each gate's matrix is orthogonal, say.
        - `carry_init`: likewise, for the hidden state before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        dtype = check_options("GRUCell", dtype, input_size=input_size, hidden_size=hidden_size)
        ih_key, hh_key, bias_key, bias_n_key = split_key("GRUCell", key, 4)
        self.weight_ih = gate_weights(weight_init, ih_key, 3, hidden_size, input_size, dtype)
        self.weight_hh = gate_weights(
            recurrent_weight_init, hh_key, 3, hidden_size, hidden_size, dtype
        )
        self.bias = gate_biases(bias_init, bias_key, 3, hidden_size, dtype) if use_bias else None
        self.bias_n = (
            gate_biases(bias_init, bias_n_key, 1, hidden_size, dtype)
            if use_bias and reset_after
            else None
        )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.use_bias = use_bias
        self.reset_after = reset_after
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

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> GRUGates:
        gates = affine(self.weight_ih, inputs, self.bias)
        r, z, n = jnp.split(gates, 3, axis=-1)
        return GRUGates(r, z, n, None)

    def project_hidden(self, carry: Hidden) -> GRUGates:
        if not self.reset_after:
            r, z = jnp.split(carry @ self.weight_hh[: 2 * self.hidden_size].T, 2, axis=-1)
            return GRUGates(r, z, None, None)
        r, z, n = jnp.split(carry @ self.weight_hh.T, 3, axis=-1)
        return GRUGates(r, z, None, add_bias(n, self.bias_n))

    def update(
        self, carry: Hidden, gates: GRUGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        r, z = self.gate_activation(gates.r), self.gate_activation(gates.z)
        if self.reset_after:
            n = self.activation(gates.n_x + r * gates.n_h)
        else:
            w_n = self.weight_hh[2 * self.hidden_size :]
            n = self.activation(gates.n_x + (r * carry) @ w_n.T)
        hidden = (1 - z) * n + z * carry
        return hidden, hidden

    def read_out(self, carry: Hidden) -> Hidden:
        return carry
