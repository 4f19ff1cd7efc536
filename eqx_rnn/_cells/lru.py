import math
from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn.initializers import normal, variance_scaling
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from .._base.cells import Linear, LinearCell
from .._checks.options import check_number, check_range
from .._kernels.products import along
from .base import VectorCell, WeightCell, WeightOptions
from .complex_state import ComplexStateCell, add_skip, as_complex, project_complex, read_real

Vectors = Float[Array, "*batch {self.input_size}"]


class LRUCell(
    ComplexStateCell,
    WeightCell,
    VectorCell,
    LinearCell,
    weight_init=variance_scaling(0.5, "fan_in", "normal"),
):
    """Linear recurrent unit: a stable, diagonal, complex linear recurrence.

        lambda = exp(-exp(nu) + i exp(theta))
        h' = lambda h + exp(gamma) B x
        y = Re(C h') + D x

    The products with `lambda`, `exp(gamma)` and `D` are elementwise. The decay `|lambda|` is below
    1 for every value of the weights. The outputs have as many features as the inputs.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry, complex, `(*batch, hidden_size)`.
    B and C are pairs of real matrices, the real and the imaginary part: `weight_b`
    `(2, hidden_size, input_size)` and `weight_c` `(input_size, 2, hidden_size)`.

    **Source:** A. Orvieto et al., "Resurrecting recurrent neural networks for long sequences",
    ICML, arXiv:2303.06349 (2023). Initial weights are those of the paper. As there, `gamma` is
    trained freely from its initial value. In the code minimal-LRU, `nu`, `theta`, `gamma` and
    `skip` are `nu_log`, `theta_log`, `gamma_log` and `D`; `weight_b` stacks `B_re` and `B_im` along
    axis 0, and `weight_c` stacks `C_re` and `C_im` along axis 1.
    """

    nu: Float[Array, "{self.hidden_size}"]
    theta: Float[Array, "{self.hidden_size}"]
    gamma: Float[Array, "{self.hidden_size}"]
    weight_b: Float[Array, "2 {self.hidden_size} {self.input_size}"]
    weight_c: Float[Array, "{self.input_size} 2 {self.hidden_size}"]
    skip: Float[Array, "{self.input_size}"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        min_radius: float = 0.0,
        max_radius: float = 0.999,
        max_phase: float = 2 * math.pi,
        **options: Unpack[WeightOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of complex states
        and `weight_init` draws the real and the imaginary part of B, and

        - `min_radius`, `max_radius`: the initial `|lambda|` lies between them, uniformly in the
            ring. For long sequences take both near 1.
        - `max_phase`: the initial phases are uniform in `[0, max_phase]`, in radians per step.
        """
        draw = self._setup(input_size, hidden_size, options)
        check_range("LRUCell", "min_radius", min_radius, "max_radius", max_radius)
        check_number("LRUCell", "max_phase", max_phase)
        n, t, b, c, d = draw.keys(5)
        self.nu = draw.array(n, ring(min_radius, max_radius), (hidden_size,))
        self.theta = draw.array(t, log_uniform_phase(max_phase), (hidden_size,))
        self.gamma = 0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(self.nu)))  # log sqrt(1 - |lambda|^2)
        self.weight_b = draw.weight(b, 2).reshape(2, hidden_size, input_size)
        shape = input_size, 2, hidden_size
        self.weight_c = draw.array(c, normal(1 / math.sqrt(hidden_size)), shape)
        self.skip = draw.array(d, normal(1.0), (input_size,))

    @property
    def _state_shape(self) -> tuple[int, ...]:
        return (self.hidden_size,)

    def coefficients(self, inputs: Vectors) -> Linear:
        eigenvalues = jnp.exp(as_complex(-jnp.exp(self.nu), jnp.exp(self.theta)))
        u = project_complex(self.weight_b, inputs)
        return Linear(eigenvalues, along(jnp.exp(self.gamma), u).astype(u.dtype) * u)

    def readout(self, hidden: Complex[Array, "*batch {self.hidden_size}"], inputs: Vectors):
        return add_skip(self, read_real(self.weight_c, hidden), inputs)


def ring(least: float, most: float):
    """Draws `log(-log r)` with `r^2` uniform in `[least^2, most^2]`."""

    def init(key: PRNGKeyArray, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        least_square = max(least**2, float(jnp.finfo(dtype).tiny))
        square = jax.random.uniform(key, shape, dtype, least_square, most**2)
        return jnp.log(-0.5 * jnp.log(square))

    return init


def log_uniform_phase(most: float):
    """Draws the logarithm of a number that is uniform in `[0, most]`."""

    def init(key: PRNGKeyArray, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        least = jnp.finfo(dtype).tiny
        return jnp.log(jax.random.uniform(key, shape, dtype, least, most))

    return init
