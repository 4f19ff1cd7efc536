from typing import Any, Literal, NamedTuple, Unpack

import equinox as eqx
from jax.nn import relu, sigmoid
from jax.nn.initializers import normal, uniform, variance_scaling
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._kernels.products import along, project
from .._time import Time
from .base import VectorCell, WeightCell, WeightOptions
from .complex_state import add_skip

Vectors = Float[Array, "*batch {self.input_size}"]


class LinOSSCarry(NamedTuple):
    """The state of linear oscillators: their positions and velocities."""

    position: Any
    velocity: Any


class LinOSSCell(
    WeightCell,
    VectorCell,
    ChunkCell,
    weight_init=variance_scaling(1 / 3, "fan_in", "uniform"),
):
    """Linear oscillatory state-space model: forced, undamped harmonic oscillators.

        dt = sigmoid(log_dt),  A = relu(stiffness)         one per oscillator
        z' = z + dt (B x - A p')                           velocity,  scheme="im"
        z' = z + dt (B x - A p)                            velocity,  scheme="imex"
        p' = p + dt z'                                     position
        y = C p' + D x

    The products with `dt`, `A` and `D` are elementwise. These are time steps of
    `d^2 p / dt^2 = B x - A p`. The implicit scheme, `"im"`, damps the oscillators; its first
    equation is solved for `z'`. The implicit-explicit scheme, `"imex"`, neither damps nor
    amplifies the oscillators while `dt^2 A < 4`.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry `LinOSSCarry(position, velocity)`,
    both `(*batch, hidden_size)`.

    **Source:** T. K. Rusch, D. Rus, "Oscillatory state-space models", ICLR, arXiv:2410.03943
    (2025). Departure: B and C are real, as in the paper; the authors' code has complex ones. There,
    `stiffness`, `log_dt`, `weight_b`, `weight_c` and `skip` are `A_diag`, `steps`, `B`, `C` and
    `D`. The initial weights are the same. The transition of an oscillator is a 2 x 2 matrix, so the
    cell runs step by step inside a chunk.
    """

    stiffness: Float[Array, "{self.hidden_size}"]
    log_dt: Float[Array, "{self.hidden_size}"]
    weight_b: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_c: Float[Array, "{self.input_size} {self.hidden_size}"]
    skip: Float[Array, "{self.input_size}"]
    scheme: Literal["im", "imex"] = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        scheme: Literal["im", "imex"] = "im",
        **options: Unpack[WeightOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of oscillators and
        `weight_init` draws B and C, and

        - `scheme`: `"im"` (implicit) forgets; `"imex"` (implicit-explicit) does not.
        """
        draw = self._setup(input_size, hidden_size, options)
        a, t, b, c, d = draw.keys(5)
        self.stiffness = draw.array(a, uniform(1.0), (hidden_size,))
        self.log_dt = draw.array(t, uniform(1.0), (hidden_size,))
        self.weight_b = draw.weight(b, 1)
        self.weight_c = draw.weight(c, 1, input_size, hidden_size)
        self.skip = draw.array(d, normal(1.0), (input_size,))
        self.scheme = scheme

    @property
    def output_size(self) -> int:
        return self.input_size

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> LinOSSCarry:
        sizes = self.hidden_size, self.hidden_size
        return LinOSSCarry(*self._first_carry(key, sample_input, *sizes))

    def chunk(self, carry: LinOSSCarry, inputs: Vectors, time: Time) -> tuple[LinOSSCarry, Vectors]:
        u = project(self.weight_b, inputs)
        dt, a = (along(v, u[0]) for v in (sigmoid(self.log_dt), relu(self.stiffness)))
        # The implicit equation z' = z + dt (B x - A (p + dt z')), solved for z'.
        share = 1 / (1 + dt**2 * a) if self.scheme == "im" else 1.0

        def step(state: LinOSSCarry, u: Array) -> LinOSSCarry:
            velocity = share * (state.velocity + dt * (u - a * state.position))
            return LinOSSCarry(state.position + dt * velocity, velocity)

        carry, states = time.scan(carry, step, u)
        return carry, add_skip(self, project(self.weight_c, states.position), inputs)
