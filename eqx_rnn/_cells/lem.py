from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._checks.options import check_number
from .._kernels.products import affine, project
from .base import Gate, GatedCell, GatedCellOptions, Hidden, MemoryCell, Part, VectorCell


class LEMCarry(NamedTuple):
    """The two states of a long expressive memory: `hidden` is the output."""

    hidden: Gate
    auxiliary: Gate


class LEMGates(NamedTuple):
    """Pre-activations of the time steps `s`, `t` and of the candidates for `z` and `y`."""

    s: Gate
    t: Gate
    z: Gate
    y: Part


class LEMCell(MemoryCell, GatedCell, VectorCell, FactoredCell):
    """Long expressive memory: two states, each with its own learned time steps.

        s = dt sigmoid(W_is x + b_s + W_hs y)                   time step of z
        t = dt sigmoid(W_it x + b_t + W_ht y)                   time step of y
        z' = (1 - s) z + s tanh(W_iz x + b_z + W_hz y)
        y' = (1 - t) y + t tanh(W_iy x + b_y + W_zh z')

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `y'`.
    The rows of `weight_ih` and `bias` are s, t, z, y, those of `weight_hh` s, t, z.

    **Shapes:** inputs `(*batch, input_size)`; carry `LEMCarry(hidden, auxiliary)`, y and z, both
    `(*batch, hidden_size)`; outputs as `hidden`.

    **Source:** T. K. Rusch, S. Mishra, N. B. Erichson, M. W. Mahoney, "Long expressive memory for
    sequence modeling", ICLR, arXiv:2110.04744 (2022), whose two time steps are s and t here. In
    its authors' code, the rows are t, s, y, z and t, s, z.
    """

    weight_ih: Float[Array, "4*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "3*{self.hidden_size} {self.hidden_size}"]
    weight_zh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "4*{self.hidden_size}"] | None
    dt: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float | int = 1.0,
        **options: Unpack[GatedCellOptions],
    ):
        """**Arguments:** those of every cell, and

        - `dt`: the longest time step that can be learned, positive, in units of the states' own
            time constant, which is 1. The paper's bounds hold for `dt <= 1`.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, zh, b = draw.keys(4)
        self.weight_ih = draw.weight(ih, 4)
        self.weight_hh = draw.recurrent_weight(hh, 3)
        self.weight_zh = draw.recurrent_weight(zh, 1)
        self.bias = draw.bias(b, 4)
        self.dt = check_number("LEMCell", "dt", dt)

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> LEMCarry:
        return LEMCarry(*self._first_carry(key, sample_input, self.hidden_size, self.hidden_size))

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> LEMGates:
        return LEMGates(*jnp.split(affine(self.weight_ih, inputs, self.bias), 4, axis=-1))

    def project_hidden(self, carry: LEMCarry) -> LEMGates:
        s, t, z = jnp.split(project(self.weight_hh, carry.hidden), 3, axis=-1)
        return LEMGates(s, t, z, None)

    def update(
        self, carry: LEMCarry, gates: LEMGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[LEMCarry, Hidden]:
        y, z = carry
        s, t = self.dt * self.gate_activation(gates.s), self.dt * self.gate_activation(gates.t)
        z = (1 - s) * z + s * self.activation(gates.z)
        y = (1 - t) * y + t * self.activation(gates.y + project(self.weight_zh, z))
        return LEMCarry(y, z), y
