"""Convolutions, channels last, whose transposes are what XLA's CPU backend runs fastest.

What JAX derives are convolutions with the axes in other places, which that backend runs as plain
loops. Here the gradient of the kernel is one matrix product with all patches of the inputs, and
that of the inputs, where there are no strides, a convolution with the axes where they belong.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array

from .linear import linear


def is_channels_last(equation: Any) -> bool:
    """Whether an equation is a convolution of the kind that `convolution` takes."""
    if equation.primitive is not lax.conv_general_dilated_p:
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
        and inputs.dtype == kernel.dtype == equation.outvars[0].aval.dtype
    )


def convolution(inputs: Any, kernel: Any, params: dict[str, Any]) -> Array:
    """`(batch, *space, in), (*sizes, in, out) -> (batch, *new_space, out)`."""
    convolve = functools.partial(lax.conv_general_dilated_p.bind, **params)
    shape, kernel_shape = inputs.shape, kernel.shape  # no arrays in what stays in a jaxpr
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
    """What the kernel sees at each place: `(batch, *new_space, prod(sizes) * in)`."""
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
    """The transpose in the inputs: the flipped kernel, its channels exchanged."""
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
