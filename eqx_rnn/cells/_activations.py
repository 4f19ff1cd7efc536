"""Activations of stacked gates, in the form that XLA compiles best."""

from collections.abc import Callable

import jax.nn
import jax.numpy as jnp
from jaxtyping import Array, Float


def activate(
    gates: Float[Array, "*batch stacked"], *functions: Callable
) -> list[Float[Array, "*batch hidden_size"]]:
    """Splits stacked gates and applies a function of its own to each.

    Activated first, split afterwards: XLA's CPU backend does not vectorise an activation that
    reads a slice. Sigmoids and tanhs take a single pass, by `sigmoid(x) = (1 + tanh(x / 2)) / 2`,
    which holds to rounding of values near 1.
    """
    if all(function in (jax.nn.sigmoid, jnp.tanh) for function in functions):
        size = gates.shape[-1] // len(functions)
        is_sigmoid = [function is jax.nn.sigmoid for function in functions]
        scale = jnp.repeat(jnp.where(jnp.array(is_sigmoid), 0.5, 1.0), size).astype(gates.dtype)
        return jnp.split(jnp.tanh(scale * gates) * scale + (1 - scale), len(functions), axis=-1)
    activated = {function: function(gates) for function in functions}
    parts = {f: jnp.split(a, len(functions), axis=-1) for f, a in activated.items()}
    return [parts[function][i] for i, function in enumerate(functions)]
