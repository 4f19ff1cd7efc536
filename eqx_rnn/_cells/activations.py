"""Activations of stacked gates."""

from collections.abc import Callable

import jax
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


def positive(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """`x + 1/2` for `x >= 0`, and `sigmoid(x)` below: positive and continuous.

    The activation of the candidate in `MinGRUCell` and `MinLSTMCell`.
    """
    return jnp.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))
