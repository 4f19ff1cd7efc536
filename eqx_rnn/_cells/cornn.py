from typing import Any, NamedTuple, Unpack

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._checks.options import check_number
from .._kernels.products import affine, project
from .base import CellOptions, Gate, Hidden, MemoryCell, NonlinearCell, VectorCell


class CoRNNCarry(NamedTuple):
    """The state of coupled oscillators: their positions `hidden`, which are the output."""

    hidden: Gate
    velocity: Gate


class CoRNNCell(MemoryCell, NonlinearCell, VectorCell, FactoredCell):
    """Coupled oscillatory RNN: driven, damped oscillators that act on one another.

        a = tanh(W_ih x + b + W_hh y + W_zh z)                      force
        z' = z + dt (a - gamma y - epsilon z)                       velocity
        y' = y + dt z'                                              position

    where `tanh` stands for `activation`. The output is `y'`. These are explicit Euler steps of
    `d^2y/dt^2 = tanh(...) - gamma y - epsilon dy/dt`, except that the last line uses the new
    velocity.

    **Shapes:** inputs `(*batch, input_size)`; carry `CoRNNCarry(hidden, velocity)`, y and z, both
    `(*batch, hidden_size)`; outputs as `hidden`.

    **Source:** T. K. Rusch, S. Mishra, "Coupled oscillatory recurrent neural network (coRNN): an
    accurate and (gradient) stable architecture for learning long time dependencies", ICLR,
    arXiv:2010.00951 (2021). Of the paper's two discretisations this is the one with explicit
    damping, `epsilon z` instead of `epsilon z'`, as in its authors' code. The defaults of `dt`,
    `gamma` and `epsilon` are those of that code for sequential MNIST.
    """

    weight_ih: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    weight_zh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "{self.hidden_size}"] | None
    dt: float = eqx.field(static=True)
    gamma: float = eqx.field(static=True)
    epsilon: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float | int = 0.042,
        gamma: float | int = 2.7,
        epsilon: float | int = 4.7,
        **options: Unpack[CellOptions],
    ):
        """**Arguments:** those of every cell, and

        - `dt`: the time of one step, positive.
        - `gamma`: the square of each oscillator's own angular frequency, positive. Its unit is
            one over the square of the unit of `dt`.
        - `epsilon`: the damping, zero or positive. Its unit is one over the unit of `dt`.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, zh, b = draw.keys(4)
        self.weight_ih = draw.weight(ih, 1)
        self.weight_hh = draw.recurrent_weight(hh, 1)
        self.weight_zh = draw.recurrent_weight(zh, 1)
        self.bias = draw.bias(b, 1)
        self.dt = check_number("CoRNNCell", "dt", dt)
        self.gamma = check_number("CoRNNCell", "gamma", gamma)
        self.epsilon = check_number("CoRNNCell", "epsilon", epsilon, or_zero=True)

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> CoRNNCarry:
        return CoRNNCarry(*self._first_carry(key, sample_input, self.hidden_size, self.hidden_size))

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Hidden:
        return affine(self.weight_ih, inputs, self.bias)

    def project_hidden(self, carry: CoRNNCarry) -> Hidden:
        return project(self.weight_hh, carry.hidden) + project(self.weight_zh, carry.velocity)

    def update(
        self, carry: CoRNNCarry, gates: Hidden, *, key: PRNGKeyArray | None = None
    ) -> tuple[CoRNNCarry, Hidden]:
        y, z = carry
        z = z + self.dt * (self.activation(gates) - self.gamma * y - self.epsilon * z)
        y = y + self.dt * z
        return CoRNNCarry(y, z), y
