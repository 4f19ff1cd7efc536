"""The code that cells with a complex diagonal recurrence share.

Weights are real arrays. The state is complex64, or complex128 for float64, because there is no
complex type of half precision. A product with a complex matrix is one
real product with its stacked real and imaginary parts.
"""

import abc
from typing import Any

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from .._dtypes import widest
from .._kernels.products import along, project
from ..initializers import draw_carry
from .base import AbstractCell


class ComplexStateCell(AbstractCell):
    """A cell of vectors whose carry is one complex array, and whose outputs have the input size."""

    @property
    @abc.abstractmethod
    def _state_shape(self) -> tuple[int, ...]:
        """The shape of the state, without batch axes."""

    @property
    def output_size(self) -> int:
        return self.input_size

    def initialize_carry(
        self, key: PRNGKeyArray | None, sample_input: Any
    ) -> Complex[Array, "*batch_and_state"]:
        self._space(sample_input)
        shape = self._state_shape
        real, imag = draw_carry(self, self.carry_init, key, sample_input, shape, shape)
        return as_complex(real, imag)


def as_complex(real: Array, imag: Array) -> Array:
    dtype = widest(real.dtype, jnp.float32)
    return lax.complex(real.astype(dtype), imag.astype(dtype))


def project_complex(
    weight: Float[Array, "2 states features"], inputs: Float[Array, "*batch features"]
) -> Complex[Array, "*batch states"]:
    """`(weight[0] + i weight[1]) x` for real `x`."""
    both = project(weight.reshape(-1, weight.shape[-1]), inputs)
    return as_complex(*jnp.split(both, 2, axis=-1))


def read_real(
    weight: Float[Array, "features 2 states"], hidden: Complex[Array, "*batch states"]
) -> Float[Array, "*batch features"]:
    """The real part of `(weight[:, 0] + i weight[:, 1]) h`, without a copy of the weight."""
    parts = jnp.concatenate([hidden.real, -hidden.imag], axis=-1)
    return project(weight.reshape(weight.shape[0], -1), parts)


def add_skip(
    cell: Any, outputs: Float[Array, "*batch features"], inputs: Float[Array, "*batch features"]
) -> Float[Array, "*batch features"]:
    """`y + D x` with the vector `cell.skip`, in the dtype of the weights and inputs."""
    outputs = outputs + along(cell.skip, inputs) * inputs
    return outputs.astype(widest(inputs.dtype, cell.skip.dtype))
