"""The options of convolutional cells, and the spatial axes of their state."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from .._checks.errors import fault
from .._checks.messages import check_inputs
from .._checks.spatial import Padding, check_padding, kernel_shape, per_axis
from .._kernels.products import convolve
from .base import GatedCell, GatedCellOptions
from .draw import Draw

Hidden = Float[Array, "*batch_and_new_space {self.hidden_size}"]


class ConvCellOptions(GatedCellOptions, total=False):
    """The keyword arguments of every convolutional cell: see `ConvCell`."""

    num_spatial_dims: int | None
    strides: int | Sequence[int]
    padding: Padding
    dilation: int | Sequence[int]


class ConvCell(GatedCell, num_spatial_dims=None, strides=1, padding="SAME", dilation=1):
    """A cell with gates whose inputs are images or volumes, channels last. It has more arguments:

    - `kernel_size`: the size of both kernels, one number per spatial axis. A single integer is the
        size along each of `num_spatial_dims` axes. Initialisers see the kernel of one gate,
        `(*kernel_size, input, output)`.
    - `num_spatial_dims`: the number of spatial axes, only needed with an integer `kernel_size`.
    - `strides`, `dilation`: those of the input convolution, an integer or one per spatial axis.
    - `padding`: that of the input convolution: `"SAME"`, `"VALID"` or one pair `(before, after)`
        per spatial axis.
    """

    kernel_size: tuple[int, ...] = eqx.field(static=True)
    strides: tuple[int, ...] = eqx.field(static=True)
    padding: str | tuple[tuple[int, int], ...] = eqx.field(static=True)
    dilation: tuple[int, ...] = eqx.field(static=True)
    weight_ih: eqx.AbstractVar[Array]

    def _setup_conv(
        self,
        input_size: int,
        hidden_size: int,
        kernel_size: int | Sequence[int],
        options: ConvCellOptions,
    ) -> Draw:
        """`_setup` for a cell with convolutions."""
        owner, values = type(self).__name__, {**self._defaults, **options}
        self.kernel_size = kernel_shape(owner, kernel_size, values["num_spatial_dims"])
        draw = self._setup(input_size, hidden_size, options, self.kernel_size)
        num_axes = len(self.kernel_size)
        self.strides = per_axis(owner, "strides", values["strides"], num_axes)
        self.padding = check_padding(owner, values["padding"], num_axes)
        self.dilation = per_axis(owner, "dilation", values["dilation"], num_axes)
        return draw

    @property
    def num_feature_dims(self) -> int:
        return len(self.kernel_size) + 1

    def _space(self, sample_input: Any) -> tuple[Any, ...]:
        check_inputs(self, sample_input, (*"XYZ"[: len(self.kernel_size)], self.input_size))
        space, weight = sample_input.shape[-len(self.kernel_size) - 1 : -1], self.weight_ih
        gates = jax.eval_shape(
            lambda x, w: convolve(x, w, self.strides, self.padding, self.dilation),
            jax.ShapeDtypeStruct((*space, self.input_size), weight.dtype),
            jax.ShapeDtypeStruct(weight.shape, weight.dtype),
        )
        if 0 in gates.shape:
            raise fault(
                ValueError,
                type(self).__name__,
                "`sample_input` must have spatial axes that the kernel fits in, got "
                f"{space} for kernel_size={self.kernel_size}, dilation={self.dilation}, padding="
                f'{self.padding!r}. Pass larger inputs, or build the cell with padding="SAME".',
            )
        return gates.shape[:-1]
