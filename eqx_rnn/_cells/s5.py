import math
from typing import Any, Literal, Unpack

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import normal
from jaxtyping import Array, Complex, Float

from .._base.cells import Linear, LinearCell
from .._kernels.products import along
from .base import VectorCell, WeightCell, WeightOptions
from .complex_state import ComplexStateCell, add_skip, as_complex, project_complex, read_real
from .hippo import normal_part
from .time_steps import check_time_steps, log_time_steps

Vectors = Float[Array, "*batch {self.input_size}"]


class S5Cell(ComplexStateCell, WeightCell, VectorCell, LinearCell):
    """Simplified state space layer (S5): one diagonal state space model for all features.

        dt = exp(log_dt)                               one per state
        a = exp(dt Lambda)                             zero-order hold
        h' = a h + ((a - 1) / Lambda) (B x)
        y = 2 Re(C h') + D x

    and with `discretization="bilinear"`

        a = (1 + dt Lambda / 2) / (1 - dt Lambda / 2)
        h' = a h + (dt / (1 - dt Lambda / 2)) (B x)

    The states stand for pairs of complex conjugates, hence the factor 2. With
    `conjugate_symmetry=False` they stand for themselves, and the factor is 1.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry, complex, `(*batch, hidden_size)`.
    Lambda, B and C are pairs of real arrays, the real and the imaginary part: `eigenvalues`
    `(2, hidden_size)`, `weight_b` `(2, hidden_size, input_size)` and `weight_c`
    `(input_size, 2, hidden_size)`.

    **Source:** J. T. H. Smith, A. Warrington, S. W. Linderman, "Simplified state space layers for
    sequence modeling", ICLR, arXiv:2208.04933 (2023), with its initial weights from HiPPO-LegS. In
    the authors' code, `eigenvalues` is `Lambda_re` and `Lambda_im`, `log_dt` and `skip` are
    `log_step` and `D`. The last axis of its `B` and `C`, the real and the imaginary part, is axis 0
    of `weight_b` and axis 1 of `weight_c`. The bidirectional layer there has one B for both
    directions; `Bidirectional` has one B per direction.
    """

    eigenvalues: Float[Array, "2 {self.hidden_size}"]
    log_dt: Float[Array, "{self.hidden_size}"]
    weight_b: Float[Array, "2 {self.hidden_size} {self.input_size}"]
    weight_c: Float[Array, "{self.input_size} 2 {self.hidden_size}"]
    skip: Float[Array, "{self.input_size}"]
    discretization: Literal["zoh", "bilinear"] = eqx.field(static=True)
    conjugate_symmetry: bool = eqx.field(static=True)
    clip_eigenvalues: bool = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_blocks: int = 1,
        discretization: Literal["zoh", "bilinear"] = "zoh",
        conjugate_symmetry: bool = True,
        clip_eigenvalues: bool = False,
        min_dt: float = 0.001,
        max_dt: float = 0.1,
        **options: Unpack[WeightOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of complex states
        in the carry. `weight_init` draws B before the change to the basis of the eigenvectors, in
        the shape `(2 * hidden_size, input_size)`, or `(hidden_size, input_size)` without conjugate
        symmetry. And

        - `num_blocks`: the initial Lambda is that of `num_blocks` equal HiPPO matrices. It divides
            `hidden_size`.
        - `discretization`: `"zoh"` (zero-order hold) or `"bilinear"`.
        - `conjugate_symmetry`: whether each state stands for a pair of complex conjugates.
        - `clip_eigenvalues`: whether the real part of Lambda is at most -0.0001, so that the
            recurrence stays stable.
        - `min_dt`, `max_dt`: the initial time steps lie between them, uniformly in their logarithm.
        """
        draw = self._setup(input_size, hidden_size, options, num_blocks=num_blocks)
        check_time_steps("S5Cell", min_dt, max_dt)
        if hidden_size % num_blocks:
            raise ValueError(
                f"S5Cell: `num_blocks` must divide `hidden_size`, got {num_blocks} blocks for "
                f"hidden_size={hidden_size}. Change one of the two."
            )
        t, b, c, d = draw.keys(4)
        full_size = 2 * hidden_size if conjugate_symmetry else hidden_size
        eigenvalues, (real, imag) = _blocks(hidden_size, full_size, num_blocks)
        self.eigenvalues = jnp.asarray(eigenvalues, draw.dtype)
        self.log_dt = draw.array(t, log_time_steps(min_dt, max_dt), (hidden_size,))
        weight_b = draw.array(b, draw.options["weight_init"], (full_size, input_size))
        self.weight_b = jnp.stack([real.T @ weight_b, -imag.T @ weight_b]).astype(draw.dtype)
        scale = normal(1 / math.sqrt(full_size))
        re, im = draw.array(c, scale, (2, input_size, full_size))
        weight_c = [re @ real - im @ imag, re @ imag + im @ real]
        self.weight_c = jnp.stack(weight_c, axis=1).astype(draw.dtype)
        self.skip = draw.array(d, normal(1.0), (input_size,))
        self.discretization = discretization
        self.conjugate_symmetry = conjugate_symmetry
        self.clip_eigenvalues = clip_eigenvalues

    @property
    def _state_shape(self) -> tuple[int, ...]:
        return (self.hidden_size,)

    def coefficients(self, inputs: Vectors) -> Linear:
        real, imag = self.eigenvalues
        eigenvalues = as_complex(jnp.minimum(real, -1e-4) if self.clip_eigenvalues else real, imag)
        dt = jnp.exp(self.log_dt).astype(eigenvalues.dtype)
        step = dt * eigenvalues
        if self.discretization == "zoh":
            a, b = jnp.exp(step), jnp.expm1(step) / eigenvalues
        else:
            a, b = (1 + step / 2) / (1 - step / 2), dt / (1 - step / 2)
        u = project_complex(self.weight_b, inputs)
        return Linear(a, along(b, u) * u)

    def readout(
        self, hidden: Complex[Array, "*batch {self.hidden_size}"], inputs: Vectors
    ) -> Vectors:
        factor = 2.0 if self.conjugate_symmetry else 1.0
        return add_skip(self, factor * read_real(self.weight_c, hidden), inputs)


def _blocks(size: int, full_size: int, num_blocks: int) -> tuple[np.ndarray, Any]:
    """The eigenvalues of equal HiPPO blocks, and the real and imaginary part of the eigenvectors.

    If only half of the eigenvalues are taken, these are one of each pair of complex conjugates.
    """
    eigenvalues, vectors = normal_part(full_size // num_blocks)
    own = size // num_blocks
    basis = np.kron(np.eye(num_blocks), vectors[:, :own])
    eigenvalues = np.tile(eigenvalues[:own], num_blocks)
    return np.stack([np.real(eigenvalues), np.imag(eigenvalues)]), (np.real(basis), np.imag(basis))
