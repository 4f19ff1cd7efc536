"""Activations of stacked gates, in the form that XLA compiles best."""

import operator
from collections.abc import Callable

import jax.nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks.functions import check_activated
from .._functions.function import is_function
from .._kernels.products import along


def activate(
    gates: Float[Array, "*batch stacked"], *functions: Callable
) -> list[Float[Array, "*batch hidden_size"]]:
    """Splits stacked gates and applies one function to each.

    Sigmoids and tanhs are applied in one pass before the split, because XLA's CPU backend does not
    vectorise an activation that reads a slice. The pass uses `sigmoid(x) = (1 + tanh(x / 2)) / 2`,
    which is exact up to the rounding of values near 1. Other functions may depend on a whole gate,
    so they are applied after the split.
    """
    is_sigmoid = [is_function(function, jax.nn.sigmoid) for function in functions]
    is_tanh = [is_function(function, jnp.tanh) for function in functions]
    if all(map(operator.or_, is_sigmoid, is_tanh)):
        size = gates.shape[-1] // len(functions)
        scale = jnp.repeat(jnp.where(jnp.array(is_sigmoid), 0.5, 1.0), size).astype(gates.dtype)
        scale, shift = along(scale, gates), along(1 - scale, gates)
        return jnp.split(jnp.tanh(scale * gates) * scale + shift, len(functions), axis=-1)
    parts = jnp.split(gates, len(functions), axis=-1)
    return [
        check_activated(function, part, function(part))
        for function, part in zip(functions, parts, strict=True)
    ]
