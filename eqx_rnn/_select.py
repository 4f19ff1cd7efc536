"""Selects between two PyTrees, row by row."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree


def select(condition: Bool[Array, "*batch"] | None, on_true: PyTree, on_false: Any) -> PyTree:
    """`jnp.where` over PyTrees whose leaves start with the axes of the condition.

    A condition of `None` counts as true everywhere. `on_false` may be the number 0.
    """
    if condition is None:
        return on_true

    def select_leaf(a: Array, b: Any) -> Array:
        features = (1,) * (a.ndim - condition.ndim)
        return jnp.where(condition.reshape(condition.shape + features), a, b)

    if isinstance(on_false, int):
        return jax.tree.map(lambda a: select_leaf(a, jnp.zeros_like(a)), on_true)
    return jax.tree.map(select_leaf, on_true, on_false)
