from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax.nn.initializers as jinit
import jax.numpy as jnp
from jax.nn.initializers import glorot_normal, lecun_uniform
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._checks.options import check_number
from .._kernels.products import affine, along, project
from .base import CellOptions, Gate, Hidden, MemoryCell, NonlinearCell, Part, VectorCell
from .legendre import legendre_step


class LMUCarry(NamedTuple):
    """The state of a Legendre memory unit: the output `hidden`, and the linear memory."""

    hidden: Gate
    memory: Part


class LMUGates(NamedTuple):
    """The input `u` of the memory, the change of the memory, and the pre-activation of `h`."""

    u: Part
    m: Part
    h: Part


class LMUCell(
    MemoryCell,
    NonlinearCell,
    VectorCell,
    FactoredCell,
    weight_init=glorot_normal(),
    recurrent_weight_init=glorot_normal(),
):
    """Legendre memory unit: a linear memory of a sliding window, and a nonlinear hidden state.

        u = e_i . x + e_h . h + e_m . m                     one number
        m' = A m + B u                                      memory
        h' = tanh(W_ih x + b + W_hh h + W_mh m')            hidden state

    where `tanh` stands for `activation`. The output is `h'`. A and B are fixed: they are the exact
    step (zero-order hold) of a linear system whose state `m` holds the inputs u of the last `theta`
    steps as `order` Legendre coefficients. See
    [`LegendreMemoryCell`][eqx_rnn.LegendreMemoryCell].

    **Shapes:** inputs `(*batch, input_size)`; carry `LMUCarry(hidden, memory)`, h
    `(*batch, hidden_size)` and m `(*batch, order)`; outputs as `hidden`.

    **Source:** A. R. Voelker, I. Kajić, C. Eliasmith, "Legendre memory units: continuous-time
    representation in recurrent neural networks", NeurIPS (2019). The paper has no bias. In the
    authors' Keras code, `encoder_i`, `encoder_h`, `encoder_m`, `weight_ih`, `weight_hh` and
    `weight_mh` are `input_encoders`, `hidden_encoders`, `memory_encoders`, `input_kernel`,
    `hidden_kernel` and `memory_kernel`, where all matrices are transposed. The initial weights are
    the same. A and B are not trained, which is the default there.
    """

    weight_ih: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    weight_mh: Float[Array, "{self.hidden_size} {self.order}"]
    encoder_i: Float[Array, "{self.input_size}"]
    encoder_h: Float[Array, "{self.hidden_size}"]
    encoder_m: Float[Array, "{self.order}"]
    bias: Float[Array, "{self.hidden_size}"] | None
    order: int = eqx.field(static=True)
    theta: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        order: int,
        theta: float | int,
        **options: Unpack[CellOptions],
    ):
        """**Arguments:** those of every cell, where `weight_init` draws W_ih and W_mh,
        and

        - `order`: the number of Legendre coefficients of the memory.
        - `theta`: the length of the window that the memory holds, in steps, positive.
        """
        draw = self._setup(input_size, hidden_size, options, order=order)
        ih, hh, mh, i, h, m, b = draw.keys(7)
        self.weight_ih = draw.weight(ih, 1)
        self.weight_hh = draw.recurrent_weight(hh, 1)
        self.weight_mh = draw.weight(mh, 1, hidden_size, order)
        self.encoder_i = draw.array(i, lecun_uniform(), (input_size, 1))[:, 0]
        self.encoder_h = draw.array(h, lecun_uniform(), (hidden_size, 1))[:, 0]
        self.encoder_m = draw.array(m, jinit.zeros, (order,))
        self.bias = draw.bias(b, 1)
        self.order, self.theta = order, check_number("LMUCell", "theta", theta)

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> LMUCarry:
        return LMUCarry(*self._first_carry(key, sample_input, self.hidden_size, self.order))

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> LMUGates:
        u = project(self.encoder_i[None], inputs)
        return LMUGates(u, None, affine(self.weight_ih, inputs, self.bias))

    def project_hidden(self, carry: LMUCarry) -> LMUGates:
        h, m = carry
        change, _ = legendre_step(self.order, self.theta)  # A - 1
        u = project(self.encoder_h[None], h) + project(self.encoder_m[None], m)
        change = project(jnp.asarray(change, m.dtype), m)
        return LMUGates(u, change, project(self.weight_hh, h))

    def update(
        self, carry: LMUCarry, gates: LMUGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[LMUCarry, Hidden]:
        _, b = legendre_step(self.order, self.theta)
        m = carry.memory + gates.m + along(jnp.asarray(b, gates.u.dtype), gates.u) * gates.u
        h = self.activation(gates.h + project(self.weight_mh, m))
        return LMUCarry(h, m), h
