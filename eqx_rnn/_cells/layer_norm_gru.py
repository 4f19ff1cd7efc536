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
    draw,
    draw_carry,
    gate_biases,
    gate_weights,
    split_key,
)
from .activations import activate
from .affine import add_bias, along
from .layer_norm import normalize

Hidden = Float[Array, "*batch {self.hidden_size}"]


class LayerNormGRUGates(NamedTuple):
    """The input's parts, normalised, and the hidden state's, not yet: see `update`."""

    rz_x: PyTree[Float[Array, "*batch stacked"]]  # None in the other part
    n_x: PyTree[Float[Array, "*batch hidden_size"]]  # None in the other part
    rz_h: PyTree[Float[Array, "*batch stacked"]]  # None in the other part
    n_h: PyTree[Float[Array, "*batch hidden_size"]]  # None in the other part


class LayerNormGRUCell(FactoredCell):
    """Gated recurrent unit with layer normalisation.

        r, z = sigmoid(s_ih LN(W_ih x) + s_hh LN(W_hh h) + b)                   both gates
        n = tanh(s_in LN(W_in x) + b_n + r (s_hn LN(W_hn h) + b_hn))            candidate
        h' = (1 - z) n + z h

    where `LN(a) = (a - mean(a)) / sqrt(var(a) + eps)` over r and z together and over n alone,
    `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`. The
    rows of the weights are the gates r, z, n; the gains s (`gain_ih`, `gain_hh`) and `bias` (b,
    b_n) have that order too. `bias_n` is b_hn.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", arXiv:1607.06450 (2016),
    the supplementary material's GRU. Departures: the two biases that the paper adds up in r and z
    are one; and `z` has the sense of the authors' code and of `GRUCell`, the opposite of the
    paper's `h' = (1 - z) h + z n`.
    """

    weight_ih: Float[Array, "3*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "3*{self.hidden_size} {self.hidden_size}"]
    gain_ih: Float[Array, "3*{self.hidden_size}"]
    gain_hh: Float[Array, "3*{self.hidden_size}"]
    bias: Float[Array, "3*{self.hidden_size}"] | None
    bias_n: Float[Array, "{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    gate_activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        use_bias: bool = True,
        eps: float = 1e-5,
        activation: Callable = jnp.tanh,
        gate_activation: Callable = jax.nn.sigmoid,
        weight_init: Initializer = jinit.lecun_normal(),
        recurrent_weight_init: Initializer = jinit.orthogonal(),
        gain_init: Initializer = jinit.ones,
        bias_init: Initializer = jinit.zeros,
        carry_init: Initializer = jinit.zeros,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray | None = None,
    ):
        """**Arguments:**

        - `input_size`: how many features the inputs have.
        - `hidden_size`: how many features the hidden state, and so the output, has.
        - `use_bias`: whether there are biases.
        - `eps`: what is added to a variance.
        - `activation`, `gate_activation`: any functions from an array to one of the same shape. A
            module with parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`; the
            first two are called once a gate, so that each gate's matrix is orthogonal, say.
        - `gain_init`: likewise, for the gains.
        - `carry_init`: likewise, for the hidden state before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        name = "LayerNormGRUCell"
        dtype = check_options(name, dtype, input_size=input_size, hidden_size=hidden_size)
        ih_key, hh_key, *gain_keys, bias_key, bias_n_key = split_key(name, key, 6)
        self.weight_ih = gate_weights(weight_init, ih_key, 3, hidden_size, input_size, dtype)
        self.weight_hh = gate_weights(
            recurrent_weight_init, hh_key, 3, hidden_size, hidden_size, dtype
        )
        self.gain_ih, self.gain_hh = (
            draw(gain_init, gain_key, (3 * hidden_size,), dtype) for gain_key in gain_keys
        )
        self.bias = gate_biases(bias_init, bias_key, 3, hidden_size, dtype) if use_bias else None
        self.bias_n = (
            gate_biases(bias_init, bias_n_key, 1, hidden_size, dtype) if use_bias else None
        )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.use_bias = use_bias
        self.eps = eps
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

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> LayerNormGRUGates:
        rz, n = self._normalize(*self._split(inputs @ self.weight_ih.T), self.gain_ih)
        if self.bias is not None:
            b_rz, b_n = self._split(self.bias)
            rz, n = add_bias(rz, b_rz), add_bias(n, b_n)
        return LayerNormGRUGates(rz, n, None, None)

    def project_hidden(self, carry: Hidden) -> LayerNormGRUGates:
        # The norm is in `update`, so that the backward pass need not redo this product for it.
        return LayerNormGRUGates(None, None, *self._split(carry @ self.weight_hh.T))

    def update(
        self, carry: Hidden, gates: LayerNormGRUGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        rz_h, n_h = self._normalize(gates.rz_h, gates.n_h, self.gain_hh)
        r, z = activate(gates.rz_x + rz_h, self.gate_activation, self.gate_activation)
        n = self.activation(gates.n_x + r * add_bias(n_h, self.bias_n))
        hidden = (1 - z) * n + z * carry
        return hidden, hidden

    def read_out(self, carry: Hidden) -> Hidden:
        return carry

    def _split(self, rows: Float[Array, "*batch stacked"]) -> tuple[Array, Array]:
        """Those of r and z, and those of n."""
        rz, n = jnp.split(rows, [2 * self.hidden_size], axis=-1)
        return rz, n

    def _normalize(self, rz: Array, n: Array, gain: Array) -> tuple[Array, Array]:
        s_rz, s_n = self._split(gain)
        rz = along(s_rz, rz) * normalize(rz, self.eps)
        n = along(s_n, n) * normalize(n, self.eps)
        return rz, n
