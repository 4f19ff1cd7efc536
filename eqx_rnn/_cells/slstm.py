from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax.nn
import jax.nn.initializers as jinit
import jax.numpy as jnp
import jax.random as jr
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


class SLSTMMemory(NamedTuple):
    """What an sLSTM remembers: `cell / normaliser`, both held divided by `exp(stabiliser)`."""

    cell: Float[Array, "*batch hidden_size"]
    normaliser: Float[Array, "*batch hidden_size"]
    stabiliser: Float[Array, "*batch hidden_size"]

    def mix(self, other: "SLSTMMemory", share: Any) -> "SLSTMMemory":
        """`share` of this memory and `1 - share` of the other, as held without a stabiliser."""
        # As a step with the forget gate `share` and the input gate `1 - share`, so n stays >= 1.
        log_f, log_i = (jnp.log(s).astype(self.cell.dtype) for s in (share, 1 - share))
        own = log_f + jnp.where(self.normaliser == 0, -jnp.inf, self.stabiliser)
        others = log_i + other.stabiliser
        stabiliser = jnp.maximum(own, others)
        keep, take = jnp.exp(own - stabiliser), jnp.exp(others - stabiliser)
        cell = keep * self.cell + take * other.cell
        return SLSTMMemory(cell, keep * self.normaliser + take * other.normaliser, stabiliser)


class SLSTMCarry(NamedTuple):
    """The state of an sLSTM: `hidden` is what it puts out, `memory` what it remembers."""

    hidden: Float[Array, "*batch hidden_size"]
    memory: SLSTMMemory


class SLSTMGates(NamedTuple):
    """Pre-activations of the input and forget gate, the candidate and the output gate."""

    i: Float[Array, "*batch hidden_size"]
    f: Float[Array, "*batch hidden_size"]
    z: Float[Array, "*batch hidden_size"]
    o: Float[Array, "*batch hidden_size"]


class SLSTMCell(FactoredCell):
    """sLSTM of the xLSTM family: an LSTM with exponential gates, normalised, in heads.

        i = exp(W_ii x + b_i + W_hi h)              input gate
        f = sigmoid(W_if x + b_f + W_hf h)          forget gate, or exp(...)
        z = tanh(W_iz x + b_z + W_hz h)             candidate
        o = sigmoid(W_io x + b_o + W_ho h)          output gate
        m' = max(log f + m, log i)                  stabiliser
        c' = exp(log f + m - m') c + exp(log i - m') z
        n' = exp(log f + m - m') n + exp(log i - m')
        h' = o c' / n'

    where `sigmoid` of `o` stands for `gate_activation` and `tanh` for `activation`. The output is
    `h'`. Where n = 0, as before the first step, nothing is remembered, and m counts as -inf.

    The rows of `weight_ih` and `bias` are the gates i, f, z, o, all heads of one gate together.
    Head k has the features `k * head_size` to `(k + 1) * head_size` of h and of each gate, and its
    own recurrent matrix `weight_hh[k]`, from the rows h to the columns i, f, z, o.

    **Shapes:** inputs `(*batch, input_size)`; carry `SLSTMCarry(hidden, SLSTMMemory(cell,
    normaliser, stabiliser))`, h, c, n and m, each `(*batch, hidden_size)`; outputs as `hidden`.

    **Source:** M. Beck et al., "xLSTM: extended long short-term memory", NeurIPS,
    arXiv:2405.04517 (2024). The first step is that of its authors' code; the paper leaves it
    open. Of the paper's block this is the cell alone, without its convolution, norm and
    projections. The weights start as in `LSTMCell`, not by the block's own rules.
    """

    weight_ih: Float[Array, "4*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.num_heads} {self.head_size} 4*{self.head_size}"]
    bias: Float[Array, "4*{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    num_heads: int = eqx.field(static=True)
    forget_gate: Literal["sigmoid", "exp"] = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    gate_activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 1,
        forget_gate: Literal["sigmoid", "exp"] = "sigmoid",
        use_bias: bool = True,
        activation: Callable = jnp.tanh,
        gate_activation: Callable = jax.nn.sigmoid,
        weight_init: Initializer = jinit.lecun_normal(),
        recurrent_weight_init: Initializer = jinit.orthogonal(),
        bias_init: Initializer = jinit.zeros,
        forget_bias: float | int | None = None,
        carry_init: Initializer = jinit.zeros,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray | None = None,
    ):
        """**Arguments:**

        - `input_size`: how many features the inputs have.
        - `hidden_size`: how many features the memory `c`, and so the output, has.
        - `num_heads`: how many heads there are; it divides `hidden_size`. Heads see each other's
            `h` only through later layers.
        - `forget_gate`: its activation. With `"exp"` memories can grow in weight against what
            comes later.
        - `use_bias`: whether there are biases.
        - `activation`, `gate_activation`: any functions from an array to one of the same shape. A
            module with parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`; the
            first is called once a gate, the second once a head and gate.
        - `forget_bias`: added once, here, to what `bias_init` draws for the forget gate; if
            `None`, 1 for a sigmoid and 0 for an exponential. Without effect if `use_bias=False`.
        - `carry_init`: as in `jax.nn.initializers`, for the carry before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_heads": num_heads}
        dtype = check_options("SLSTMCell", dtype, **sizes)
        if hidden_size % num_heads:
            raise ValueError(
                f"SLSTMCell: `num_heads` must divide `hidden_size`, got {num_heads} heads for "
                f"hidden_size={hidden_size}. Change one of the two."
            )
        if forget_bias is None:
            forget_bias = 1.0 if forget_gate == "sigmoid" else 0.0
        head_size = hidden_size // num_heads
        ih_key, hh_key, bias_key = split_key("SLSTMCell", key, 3)
        heads = [
            gate_weights(recurrent_weight_init, head_key, 4, head_size, head_size, dtype).T
            for head_key in jr.split(hh_key, num_heads)
        ]
        self.weight_ih = gate_weights(weight_init, ih_key, 4, hidden_size, input_size, dtype)
        self.weight_hh = jnp.stack(heads)
        self.bias = (
            gate_biases(bias_init, bias_key, 4, hidden_size, dtype, {1: float(forget_bias)})
            if use_bias
            else None
        )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_heads = num_heads
        self.forget_gate = forget_gate
        self.use_bias = use_bias
        self.activation = activation
        self.gate_activation = gate_activation
        self.carry_init = carry_init

    @property
    def head_size(self) -> int:
        """How many features of `h` a head has."""
        return self.hidden_size // self.num_heads

    @property
    def num_feature_dims(self) -> int:
        return 1

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> SLSTMCarry:
        check_inputs(self, sample_input, (self.input_size,))
        shapes = 4 * [(self.hidden_size,)]
        hidden, *memory = draw_carry(self, self.carry_init, key, sample_input, *shapes)
        return SLSTMCarry(hidden, SLSTMMemory(*memory))

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> SLSTMGates:
        gates = affine(self.weight_ih, inputs, self.bias)
        return SLSTMGates(*jnp.split(gates, 4, axis=-1))

    def project_hidden(self, carry: SLSTMCarry) -> SLSTMGates:
        heads = carry.hidden.reshape(*carry.hidden.shape[:-1], self.num_heads, self.head_size)
        gates = jnp.einsum("...kh,khg->...kg", heads, self.weight_hh)
        gates = jnp.split(gates, 4, axis=-1)
        return SLSTMGates(*(gate.reshape(carry.hidden.shape) for gate in gates))

    def update(
        self, carry: SLSTMCarry, gates: SLSTMGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[SLSTMCarry, Hidden]:
        # Without the `where`, c' / n' of a first step with a small input gate is 0 / 0: m' = log f
        # then, and exp(log i - m') rounds to 0. With it, m' = log i, so that n' = exp(0) = 1. In
        # every later step one of the two exponents is 0 again and no factor is negative: n' >= 1
        # as long as n >= 1, and h' is o times a weighted mean of the candidates so far.
        c, n, m = carry.memory
        m = jnp.where(n == 0, -jnp.inf, m)
        log_f = jax.nn.log_sigmoid(gates.f) if self.forget_gate == "sigmoid" else gates.f
        stabiliser = jnp.maximum(log_f + m, gates.i)
        keep, take = jnp.exp(log_f + m - stabiliser), jnp.exp(gates.i - stabiliser)
        c = keep * c + take * self.activation(gates.z)
        n = keep * n + take
        hidden = self.gate_activation(gates.o) * c / n
        return SLSTMCarry(hidden, SLSTMMemory(c, n, stabiliser)), hidden

    def read_out(self, carry: SLSTMCarry) -> Hidden:
        return carry.hidden
