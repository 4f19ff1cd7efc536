from typing import NamedTuple, Unpack

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._checks.options import check_number
from .._kernels.products import affine, project
from .base import Gate, GatedCell, GatedCellOptions, Hidden, HiddenCell, Part, VectorCell


class AntisymmetricRNNGates(NamedTuple):
    """Pre-activations of the gate (`None` if not `gated`) and of the candidate."""

    z: Part
    n: Gate


class AntisymmetricRNNCell(HiddenCell, GatedCell, VectorCell, FactoredCell):
    """AntisymmetricRNN: an Euler step of a differential equation that keeps its state for long.

        A = W_hh - W_hh^T - gamma I
        n = tanh(W_in x + b_n + A h)                candidate
        z = sigmoid(W_iz x + b_z + A h)             gate, gated=True only
        h' = h + epsilon n                          gated=False
        h' = h + epsilon z n                        gated=True

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    The rows of `weight_ih` and `bias` are z, n, or only n. The eigenvalues of A have the real
    part -gamma for every W_hh.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Rounding:** A step shrinks the difference between two states only if
    `epsilon (w^2 + gamma^2) < 2 gamma`. Here `w` is the largest absolute eigenvalue of
    `W_hh - W_hh^T`, at first up to 2. With the default options, which are the paper's, a step
    enlarges the difference slightly. In float32, errors therefore grow to about 1e-5 within 10,000
    steps and to 0.01 or more within 100,000, in any implementation. With `gamma=0.1` they stay at
    1e-6.

    **Source:** B. Chang, M. Chen, E. Haber, E. H. Chi, "AntisymmetricRNN: a dynamical system view
    on recurrent neural networks", ICLR, arXiv:1902.09689 (2019). Departures: W_hh is a full
    matrix, although its upper triangle would suffice, and starts orthogonal, not normal.
    """

    gated: bool = eqx.field(static=True)
    weight_ih: Float[Array, "{1+self.gated}*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "{1+self.gated}*{self.hidden_size}"] | None
    epsilon: float = eqx.field(static=True)
    gamma: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        gated: bool = False,
        epsilon: float | int = 0.01,
        gamma: float | int = 0.01,
        **options: Unpack[GatedCellOptions],
    ):
        """**Arguments:** those of every cell, and

        - `gated`: whether the cell has the gate z.
        - `epsilon`: the step size of Euler's method, positive, in the equation's unit of time.
        - `gamma`: the diffusion, zero or positive. Its unit is one over that unit of time. With
            zero, the method is unstable, and more so for a larger `epsilon`.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, b = draw.keys(3)
        self.weight_ih = draw.weight(ih, 1 + gated)
        self.weight_hh = draw.recurrent_weight(hh, 1)
        self.bias = draw.bias(b, 1 + gated)
        self.gated = gated
        self.epsilon = check_number("AntisymmetricRNNCell", "epsilon", epsilon)
        self.gamma = check_number("AntisymmetricRNNCell", "gamma", gamma, or_zero=True)

    def project_input(
        self, inputs: Float[Array, "*batch {self.input_size}"]
    ) -> AntisymmetricRNNGates:
        gates = affine(self.weight_ih, inputs, self.bias)
        z, n = jnp.split(gates, 2, axis=-1) if self.gated else (None, gates)
        return AntisymmetricRNNGates(z, n)

    def project_hidden(self, carry: Hidden) -> AntisymmetricRNNGates:
        identity = jnp.eye(self.hidden_size, dtype=self.weight_hh.dtype)
        matrix = self.weight_hh - self.weight_hh.T - self.gamma * identity
        product = project(matrix, carry)
        return AntisymmetricRNNGates(product if self.gated else None, product)

    def update(
        self, carry: Hidden, gates: AntisymmetricRNNGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        n = self.activation(gates.n)
        change = self.gate_activation(gates.z) * n if self.gated else n
        hidden = carry + self.epsilon * change
        return hidden, hidden
