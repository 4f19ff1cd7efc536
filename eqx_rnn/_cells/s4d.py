import math
from typing import Unpack

import jax.numpy as jnp
from jax.nn.initializers import normal
from jaxtyping import Array, Complex, Float

from .._base.cells import Linear, LinearCell
from .._dtypes import widest
from .._kernels.products import along
from .base import CoreOptions, VectorCell
from .complex_state import ComplexStateCell, add_skip, as_complex
from .time_steps import check_time_steps, log_time_steps

Vectors = Float[Array, "*batch {self.input_size}"]


class S4DCell(ComplexStateCell, VectorCell, LinearCell):
    """Diagonal state space model (S4D): a bank of complex linear recurrences for each feature.

        A = -exp(log_a) + i frequency
        dt = exp(log_dt)                               one per feature
        h' = exp(dt A) h + ((exp(dt A) - 1) / A) x     zero-order hold
        y = 2 Re(sum_n C h'[n]) + D x

    The features do not mix: follow the cell by a [`Pointwise`][eqx_rnn.Pointwise] layer. The
    states stand for pairs of complex conjugates, hence the factor 2.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry, complex,
    `(*batch, input_size, hidden_size)`. C is a pair of real arrays, the real and the imaginary
    part: `weight_c` `(2, input_size, hidden_size)`.

    **Source:** A. Gu, A. Gupta, K. Goel, C. Ré, "On the parameterization and initialization of
    diagonal state space models", NeurIPS, arXiv:2206.11893 (2022), with the initial weights
    S4D-Lin. In the authors' code (state-spaces, `s4d.py`), `log_a`, `frequency`, `log_dt`,
    `weight_c` and `skip` are `log_A_real`, `A_imag`, `log_dt`, `C` (real and imaginary part last)
    and `D`. That code then applies `gelu` and a gated linear layer, which are not part of the cell.
    """

    log_a: Float[Array, "{self.input_size} {self.hidden_size}"]
    frequency: Float[Array, "{self.input_size} {self.hidden_size}"]
    log_dt: Float[Array, "{self.input_size}"]
    weight_c: Float[Array, "2 {self.input_size} {self.hidden_size}"]
    skip: Float[Array, "{self.input_size}"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 32,
        *,
        min_dt: float = 0.001,
        max_dt: float = 0.1,
        **options: Unpack[CoreOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of complex states
        per feature, and

        - `min_dt`, `max_dt`: the initial time steps lie between them, uniformly in their logarithm.
            Initially, every state decays by the factor `exp(-dt / 2)` per step.
        """
        draw = self._setup(input_size, hidden_size, options)
        check_time_steps("S4DCell", min_dt, max_dt)
        t, c, d = draw.keys(3)
        shape = input_size, hidden_size
        self.log_a = jnp.full(shape, math.log(0.5), draw.dtype)
        frequencies = math.pi * jnp.arange(hidden_size, dtype=draw.dtype)
        self.frequency = jnp.broadcast_to(frequencies, shape)
        self.log_dt = draw.array(t, log_time_steps(min_dt, max_dt), (input_size,))
        self.weight_c = draw.array(c, normal(math.sqrt(0.5)), (2, *shape))
        self.skip = draw.array(d, normal(1.0), (input_size,))

    @property
    def _state_shape(self) -> tuple[int, ...]:
        return self.input_size, self.hidden_size

    def coefficients(self, inputs: Vectors) -> Linear:
        a = as_complex(-jnp.exp(self.log_a), self.frequency)
        step = a * jnp.exp(self.log_dt)[:, None]
        decay = jnp.exp(step)
        x = inputs[..., None].astype(widest(inputs.dtype, decay.dtype))
        return Linear(decay, along(jnp.expm1(step) / a, x).astype(x.dtype) * x)

    def readout(
        self, hidden: Complex[Array, "*batch {self.input_size} {self.hidden_size}"], inputs: Vectors
    ) -> Vectors:
        real, imag = (along(2 * part, hidden) for part in self.weight_c)
        return add_skip(self, jnp.sum(real * hidden.real - imag * hidden.imag, -1), inputs)
