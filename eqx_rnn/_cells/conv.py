"""What convolutional cells share: their options, and convolution over any batch axes."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks.errors import fault
from .._dtypes import widest

Padding = str | Sequence[tuple[int, int]]


def kernel_shape(
    cell: str, kernel_size: int | Sequence[int], num_spatial_dims: int | None
) -> tuple[int, ...]:
    """The kernel's size along each spatial axis, which also says how many there are."""
    if isinstance(kernel_size, int):
        if num_spatial_dims is None:
            raise ValueError(
                f"{cell}: `kernel_size` must be a tuple with one size a spatial axis, got "
                f"{kernel_size}, which does not say how many axes there are. For images, pass "
                f"`kernel_size=({kernel_size}, {kernel_size})` or `num_spatial_dims=2`."
            )
        kernel_size = num_spatial_dims * (kernel_size,)
    kernel_size = tuple(kernel_size)
    if num_spatial_dims not in (None, len(kernel_size)):
        raise ValueError(
            f"{cell}: `num_spatial_dims` must be the length of `kernel_size`, got "
            f"{num_spatial_dims} and {kernel_size}. Pass one of the two."
        )
    if not 1 <= len(kernel_size) <= 3 or min(kernel_size) < 1:
        raise ValueError(
            f"{cell}: `kernel_size` must be 1, 2 or 3 sizes of at least 1, got {kernel_size}."
        )
    return kernel_size


def per_axis(cell: str, name: str, value: int | Sequence[int], num_axes: int) -> tuple[int, ...]:
    """An option that is one number for all spatial axes, or one for each."""
    values = num_axes * (value,) if isinstance(value, int) else tuple(value)
    if len(values) != num_axes or min(values) < 1:
        raise ValueError(
            f"{cell}: `{name}` must be an integer of at least 1, or {num_axes} of them (as many "
            f"as `kernel_size` has), got {value}."
        )
    return values


def check_padding(cell: str, padding: Padding, num_axes: int) -> str | tuple[tuple[int, int], ...]:
    if isinstance(padding, str):
        valid = padding in ("SAME", "VALID")
    else:
        padding = tuple((low, high) for low, high in padding)
        valid = len(padding) == num_axes
    if not valid:
        raise ValueError(
            f'{cell}: `padding` must be "SAME", "VALID" or {num_axes} pairs (before, after), as '
            f"many as `kernel_size` has numbers, got {padding!r}."
        )
    return padding


def convolve(
    inputs: Float[Array, "*batch_and_space input_size"],
    weight: Float[Array, "output_size input_size *kernel"],
    strides: tuple[int, ...] | None = None,
    padding: Padding = "SAME",
    dilation: tuple[int, ...] | None = None,
) -> Float[Array, "*batch_and_new_space output_size"]:
    """Convolution (without flipping the kernel), channels last, any number of batch axes."""
    num_axes = weight.ndim - 2
    batch = inputs.shape[: -num_axes - 1]
    space = "XYZ"[:num_axes]
    dtype = widest(inputs, weight)
    # XLA's CPU backend is several times as fast where the kernel's channels come last, too.
    weight = jnp.moveaxis(weight, (0, 1), (-1, -2))
    outputs = lax.conv_general_dilated(
        inputs.reshape(math.prod(batch), *inputs.shape[-num_axes - 1 :]).astype(dtype),
        weight.astype(dtype),
        window_strides=strides or num_axes * (1,),
        padding=padding,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
    )
    return outputs.reshape(*batch, *outputs.shape[1:])


def state_shape(cell: Any, sample_input: Any) -> tuple[Any, ...]:
    """The state's spatial axes and channels: the space that the input convolution leaves."""
    space = sample_input.shape[-len(cell.kernel_size) - 1 : -1]
    weight = cell.weight_ih
    gates = jax.eval_shape(
        lambda x, w: convolve(x, w, cell.strides, cell.padding, cell.dilation),
        jax.ShapeDtypeStruct((*space, cell.input_size), weight.dtype),
        jax.ShapeDtypeStruct(weight.shape, weight.dtype),
    )
    if 0 in gates.shape:
        raise fault(
            ValueError,
            type(cell).__name__,
            f"`sample_input` must have spatial axes that the kernel fits in, got {space} for "
            f"kernel_size={cell.kernel_size}, dilation={cell.dilation}, padding={cell.padding!r}. "
            'Pass larger inputs, or build the cell with padding="SAME".',
        )
    return (*gates.shape[:-1], cell.hidden_size)
