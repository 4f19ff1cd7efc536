"""The code that cells with one matrix per head share."""

import abc
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._checks.options import check_sizes
from .._dtypes import widest
from ..initializers import draw_carry
from .base import AbstractCell, BlockCell, VectorCell
from .base import MatrixOptions as MatrixOptions
from .draw import Draw

Decay = Literal["channel", "head"]
Matrix = Float[Array, "*batch {self.num_heads} {self.key_size} {self.value_size}"]


class MatrixCell(VectorCell, ChunkCell, key=None):
    """A cell whose inputs are queries, keys, values and gates of several heads, joined.

    It multiplies its inputs by no matrix. Without any weights, `dtype` and `key` have no effect.
    """

    num_heads: int = eqx.field(static=True)
    key_size: int = eqx.field(static=True)
    value_size: int = eqx.field(static=True)
    _derived: ClassVar[tuple[str, ...]] = ("input_size", "hidden_size")  # not in the `repr`

    @property
    @abc.abstractmethod
    def _parts(self) -> tuple[tuple[int, int], ...]:
        """The parts of the inputs: pairs of a number of heads and a number of features per head."""

    def _setup_heads(
        self,
        num_heads: int,
        key_size: int,
        value_size: int,
        options: MatrixOptions,
        **sizes: int | None,
    ) -> Draw:
        """Like `_setup`. Fields on which `_parts` depends must be set before."""
        sizes |= {"num_heads": num_heads, "key_size": key_size, "value_size": value_size}
        check_sizes(type(self).__name__, **sizes)
        scale = getattr(self, "scale", None)
        if scale is not None and not math.isfinite(scale):
            raise ValueError(
                f"{type(self).__name__}: `scale` must be a finite number, got {scale}. Leave it "
                "out to use the default."
            )
        self.num_heads, self.key_size, self.value_size = num_heads, key_size, value_size
        input_size = sum(heads * size for heads, size in self._parts)
        return self._setup(input_size, num_heads * value_size, options)

    def _split(self, inputs: Array) -> list[Array]:
        """The parts of the inputs, each `(*batch, heads, size)`."""
        parts = split_sizes(inputs, [heads * size for heads, size in self._parts])
        return [split_heads(p, heads) for p, (heads, _) in zip(parts, self._parts, strict=True)]

    @property
    def output_size(self) -> int:
        return self.num_heads * self.value_size


class OneMatrixCell(MatrixCell):
    """A `MatrixCell` whose carry is one matrix per head."""

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> Matrix:
        self._space(sample_input)
        shape = self.num_heads, self.key_size, self.value_size
        (state,) = draw_wide(self, key, sample_input, shape)
        return state


class ScaledMatrixCell(OneMatrixCell):
    """A `OneMatrixCell` whose queries are multiplied by `scale`, or by `1 / sqrt(key_size)`."""

    scale: eqx.AbstractVar[float | None]

    def _scale(self, q: Array) -> Array:
        return (self.key_size**-0.5 if self.scale is None else self.scale) * q


class OneMatrixBlock(BlockCell, ChunkCell):
    """A layer around a `OneMatrixCell`, whose carry is the matrices of this core."""

    core: eqx.AbstractVar[Any]  # a `OneMatrixCell`

    @property
    def num_heads(self) -> int:
        """The number of heads."""
        return self.core.num_heads

    @property
    def key_size(self) -> int:
        """The number of keys per head."""
        return self.core.key_size

    def initialize_carry(
        self, key: PRNGKeyArray | None, sample_input: Any
    ) -> Float[Array, "*batch heads keys values"]:
        self._space(sample_input)
        shape = self.core.num_heads, self.core.key_size, self.core.value_size
        (state,) = draw_wide(self, key, sample_input, shape)
        return state


def draw_wide(
    cell: AbstractCell,
    key: PRNGKeyArray | None,
    sample_input: Any,
    *shapes: Sequence[int],
    num_wide: int = 1,
) -> list[Array]:
    """The arrays of a first carry, of which the first `num_wide` are sums over many steps.

    These are float32 or wider. In half precision, a long sum would stop growing.
    """
    arrays = draw_carry(cell, cell.carry_init, key, sample_input, *shapes)
    wide = [a.astype(widest(a.dtype, jnp.float32)) for a in arrays[:num_wide]]
    return wide + arrays[num_wide:]


def split_sizes(x: Array, sizes: Sequence[int]) -> list[Array]:
    """Parts of the last axis, with these sizes."""
    return jnp.split(x, np.cumsum(sizes)[:-1], axis=-1)


def split_heads(x: Array, num_heads: int) -> Array:
    """`(*batch, num_heads * size)` as `(*batch, num_heads, size)`."""
    return x.reshape(*x.shape[:-1], num_heads, x.shape[-1] // num_heads)


def join_heads(x: Array) -> Array:
    """`(*batch, num_heads, size)` as `(*batch, num_heads * size)`."""
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])
