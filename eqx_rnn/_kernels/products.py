"""Products with a weight, convolutions, and vectors of weights on batches of any rank.

Vectors are broadcast explicitly, for `jax_numpy_rank_promotion="raise"`.
"""

import math
from collections.abc import Sequence

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._dtypes import widest
from .forms import has_forms, rows_first
from .support import unsupported


def project(weight: Float[Array, "out in"], x: Float[Array, "*any in"]) -> Float[Array, "*any out"]:
    """`x @ weight.T`, in the form that is fastest for these shapes: see `forms.py`.

    For one row, XLA's CPU backend would copy `weight.T` at every call.
    """
    dtype = widest(x, weight)
    x, weight = x.astype(dtype), weight.astype(dtype)
    if has_forms(weight) and unsupported() is None:
        from .dots import multiply  # here, because it needs names that JAX may lack

        return multiply(x, weight, 1)
    return rows_first(x, weight, axis=1, precision=None)


def along(vector: Float[Array, "*features"], batch: Float[Array, "..."]) -> Float[Array, "..."]:
    """A vector (or a scalar) with as many axes as `batch`, to combine it with the last one."""
    return lax.expand_dims(vector, range(batch.ndim - vector.ndim)) if vector.ndim else vector


def add_bias(
    gates: Float[Array, "... rows"], bias: Float[Array, " rows"] | None
) -> Float[Array, "... rows"]:
    """Adds a bias, unless it is `None`."""
    return gates if bias is None else gates + along(bias, gates)


def affine(
    weight: Float[Array, "rows columns"],
    inputs: Float[Array, "*batch columns"],
    bias: Float[Array, " rows"] | None,
) -> Float[Array, "*batch rows"]:
    """`W x + b` for each `x` of the batch, or `W x` if `b` is `None`."""
    return add_bias(project(weight, inputs), bias)


def convolve(
    inputs: Float[Array, "*batch_and_space input_size"],
    weight: Float[Array, "output_size input_size *kernel"],
    strides: tuple[int, ...] | None = None,
    padding: str | Sequence[tuple[int, int]] = "SAME",
    dilation: tuple[int, ...] | None = None,
) -> Float[Array, "*batch_and_new_space output_size"]:
    """Convolution (without flipping the kernel), channels last, any number of batch axes."""
    num_axes = weight.ndim - 2
    batch = inputs.shape[: -num_axes - 1]
    space = "XYZ"[:num_axes]
    dtype = widest(inputs, weight)
    # XLA's CPU backend is several times as fast if the channels of the kernel come last, too.
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
