from typing import Any, Literal, Unpack

import equinox as eqx
import jax.nn
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._checks.options import check_heads
from .._kernels.products import affine
from .base import GatedCell, GatedCellOptions, Hidden, MemoryCell, VectorCell
from .slstm_state import SLSTMCarry, SLSTMGates, SLSTMMemory, weigh


class SLSTMCell(MemoryCell, GatedCell, VectorCell, FactoredCell):
    """sLSTM of the xLSTM family: an LSTM with exponential gates, a normaliser and heads.

        i = exp(W_ii x + b_i + W_hi h)              input gate
        f = sigmoid(W_if x + b_f + W_hf h)          forget gate, or exp(...)
        z = tanh(W_iz x + b_z + W_hz h)             candidate
        o = sigmoid(W_io x + b_o + W_ho h)          output gate
        m' = max(log f + m, log i)                  stabiliser
        c' = exp(log f + m - m') c + exp(log i - m') z
        n' = exp(log f + m - m') n + exp(log i - m')
        h' = o c' / n'

    where the `sigmoid` of o stands for `gate_activation` and `tanh` for `activation`. The output is
    `h'`. Where n = 0, as before the first step, the memory is empty, and m counts as -inf. The rows
    of `weight_ih` and `bias` are i, f, z, o. Head k has features `k * head_size` to `(k + 1) *
    head_size` of h and of each gate. The rows of its matrix `weight_hh[k]` are these features of h.
    The columns are i, f, z, o.

    **Shapes:** inputs `(*batch, input_size)`; carry `SLSTMCarry(hidden, SLSTMMemory(cell,
    normaliser, stabiliser))`, h, c, n and m, each `(*batch, hidden_size)`; outputs as `hidden`.

    **Source:** M. Beck et al., "xLSTM: extended long short-term memory", NeurIPS,
    arXiv:2405.04517 (2024); the first step, which it leaves open, is that of its authors' code.
    Departures: the cell leaves out the convolution, norm and projections of the paper's block, and
    its weights start as in `LSTMCell`.
    """

    weight_ih: Float[Array, "4*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.num_heads} {self.head_size} 4*{self.head_size}"]
    bias: Float[Array, "4*{self.hidden_size}"] | None
    num_heads: int = eqx.field(static=True)
    forget_gate: Literal["sigmoid", "exp"] = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 1,
        forget_gate: Literal["sigmoid", "exp"] = "sigmoid",
        forget_bias: float | int | None = None,
        **options: Unpack[GatedCellOptions],
    ):
        """**Arguments:** those of every cell, and

        - `num_heads`: the number of heads, a divisor of `hidden_size`. A head sees the `h` of other
            heads only in later layers.
        - `forget_gate`: the activation of the forget gate. With `"exp"`, old memories can outweigh
            later inputs.
        - `forget_bias`: as for `LSTMCell`. `None` means 1 for a sigmoid, 0 for an exponential.
        """
        draw = self._setup(input_size, hidden_size, options, num_heads=num_heads)
        check_heads("SLSTMCell", num_heads, hidden_size)
        self.num_heads, self.forget_gate = num_heads, forget_gate
        ih, hh, b = draw.keys(3)
        size, default_bias = self.head_size, float(forget_gate == "sigmoid")
        heads = [draw.recurrent_weight(k, 4, size, size).T for k in jr.split(hh, num_heads)]
        self.weight_ih = draw.weight(ih, 4)
        self.weight_hh = jnp.stack(heads)
        self.bias = draw.bias(b, 4, {1: default_bias if forget_bias is None else forget_bias})

    @property
    def head_size(self) -> int:
        """The number of features of `h` per head."""
        return self.hidden_size // self.num_heads

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> SLSTMCarry:
        hidden, *memory = self._first_carry(key, sample_input, *4 * [self.hidden_size])
        return SLSTMCarry(hidden, SLSTMMemory(*memory))

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> SLSTMGates:
        return SLSTMGates(*jnp.split(affine(self.weight_ih, inputs, self.bias), 4, axis=-1))

    def project_hidden(self, carry: SLSTMCarry) -> SLSTMGates:
        heads = carry.hidden.reshape(*carry.hidden.shape[:-1], self.num_heads, self.head_size)
        gates = jnp.split(jnp.einsum("...kh,khg->...kg", heads, self.weight_hh), 4, axis=-1)
        return SLSTMGates(*(gate.reshape(carry.hidden.shape) for gate in gates))

    def update(
        self, carry: SLSTMCarry, gates: SLSTMGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[SLSTMCarry, Hidden]:
        c, n, _ = carry.memory
        log_f = jax.nn.log_sigmoid(gates.f) if self.forget_gate == "sigmoid" else gates.f
        m, keep, take = weigh(carry.memory, log_f, gates.i)
        c = keep * c + take * self.activation(gates.z)
        n = keep * n + take
        hidden = self.gate_activation(gates.o) * c / n
        return SLSTMCarry(hidden, SLSTMMemory(c, n, m)), hidden
