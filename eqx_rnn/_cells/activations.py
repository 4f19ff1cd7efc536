"""Activations of stacked gates."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks.functions import check_activated


def activate(
    gates: Float[Array, "*batch stacked"], *functions: Callable
) -> list[Float[Array, "*batch hidden_size"]]:
    """Splits stacked gates and applies one function to each."""
    parts = jnp.split(gates, len(functions), axis=-1)
    return [
        check_activated(function, part, function(part))
        for function, part in zip(functions, parts, strict=True)
    ]
