"""Convolutions with channels last, whose transposes XLA's CPU backend runs fast.

JAX derives transposes that are convolutions with the axes in another order. This backend runs them
as plain loops. Here the gradient of the kernel is one matrix product with all patches of the
inputs. The gradient of the inputs is again a convolution with channels last.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.lax as lax
import jax.numpy as jnp
from jax.lax import conv_general_dilated_p
from jaxtyping import Array

from .jaxprs import is_known_form
from .linear import linear

_NAMES = {
    "window_strides", "padding", "lhs_dilation", "rhs_dilation", "dimension_numbers",
    "feature_group_count", "batch_group_count", "precision",
}  # fmt: skip
_OPTIONAL = {"preferred_element_type", "out_sharding"}


def is_channels_last(equation: Any) -> bool:
    """Whether an equation is a convolution of the kind that `convolution` computes."""
    if not is_known_form(equation, conv_general_dilated_p, _NAMES, _OPTIONAL):
        return False
    inputs, kernel = (v.aval for v in equation.invars)
    space = "XYZUVW"[: inputs.ndim - 2]
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    numbers = lax.conv_dimension_numbers(inputs.shape, kernel.shape, layout)
    params = equation.params
    return (
        params["dimension_numbers"] == numbers
        and params["feature_group_count"] == params["batch_group_count"] == 1
        and set(params["lhs_dilation"]) == {1}
        and params.get("out_sharding") is None
        and inputs.dtype == kernel.dtype == equation.outvars[0].aval.dtype
    )


def convolution(inputs: Any, kernel: Any, params: dict[str, Any]) -> Array:
    """`(batch, *space, in), (*sizes, in, out) -> (batch, *new_space, out)`.

    `params` are those of an equation for which `is_channels_last` is true.
    """
    convolve = functools.partial(conv_general_dilated_p.bind, **params)
    # The functions below stay in a jaxpr, so they may hold shapes but must not hold arrays.
    shape, kernel_shape = inputs.shape, kernel.shape
    output = jax.eval_shape(convolve, inputs, kernel)

    def of_inputs(kernel: Sequence[Array], inputs: Sequence[Array]) -> list[Array]:
        return [convolve(inputs[0], kernel[0])]

    def to_inputs(kernel: Sequence[Array], d_outputs: Sequence[Any]) -> list[Array]:
        return [_to_inputs(kernel[0], d_outputs[0], shape, params)]

    def of_kernel(inputs: Sequence[Array], kernel: Sequence[Array]) -> list[Array]:
        return linear(of_inputs, to_inputs, kernel, inputs, [output])

    def to_kernel(inputs: Sequence[Array], d_outputs: Sequence[Any]) -> list[Array]:
        patches = _patches(inputs[0], kernel_shape[:-2], output.shape[1:-1], params)
        rows = tuple(range(patches.ndim - 1))
        d_kernel = lax.dot_general(
            patches, d_outputs[0], ((rows, rows), ((), ())), precision=params["precision"]
        )
        return [d_kernel.reshape(kernel_shape)]

    return linear(of_kernel, to_kernel, [inputs], [kernel], [output])[0]


def _patches(
    inputs: Array, sizes: tuple[int, ...], new_space: tuple[int, ...], params: dict[str, Any]
) -> Array:
    """The inputs under the kernel at each place: `(batch, *new_space, prod(sizes) * in)`."""
    pads = [(0, 0, 0), *((low, high, 0) for low, high in params["padding"]), (0, 0, 0)]
    inputs = lax.pad(inputs, jnp.zeros((), inputs.dtype), pads)
    strides, dilation = params["window_strides"], params["rhs_dilation"]
    parts = []
    for offsets in itertools.product(*map(range, sizes)):
        start = [o * d for o, d in zip(offsets, dilation, strict=True)]
        stop = [b + (n - 1) * s + 1 for b, n, s in zip(start, new_space, strides, strict=True)]
        ends = [inputs.shape[0], *stop, inputs.shape[-1]]
        parts.append(lax.slice(inputs, [0, *start, 0], ends, [1, *strides, 1]))
    return jnp.concatenate(parts, axis=-1)


def _to_inputs(
    kernel: Array, d_outputs: Array, shape: tuple[int, ...], params: dict[str, Any]
) -> Array:
    """The transpose in the inputs: a convolution with the kernel flipped, channels swapped."""
    axes = tuple(range(kernel.ndim - 2))
    padding = []
    for axis in axes:
        reach = (kernel.shape[axis] - 1) * params["rhs_dilation"][axis]
        spread = (d_outputs.shape[1 + axis] - 1) * params["window_strides"][axis] + 1
        low, _ = params["padding"][axis]
        padding.append((reach - low, shape[1 + axis] + low - spread))
    return lax.conv_general_dilated(
        d_outputs,
        jnp.flip(kernel, axes).swapaxes(-1, -2),
        window_strides=len(axes) * (1,),
        padding=padding,
        lhs_dilation=params["window_strides"],
        rhs_dilation=params["rhs_dilation"],
        dimension_numbers=params["dimension_numbers"],
        precision=params["precision"],
    )
