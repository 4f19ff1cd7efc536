"""Cells around given weights."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.nn.initializers as jinit
import jax.numpy as jnp

from .._base.cells import RNNCellBase
from .._functions.function import is_part
from .arrays import Weights


def build(
    cell_type: Callable[..., RNNCellBase],
    *sizes: Any,
    weights: Mapping[str, Weights],
    **options: Any,
) -> Any:
    """A cell with these weights. Its constructor checks the options; no weights are drawn."""
    weights = {name: value for name, value in weights.items() if value is not None}
    arrays = {name: jnp.asarray(value) for name, value in weights.items()}
    arrays |= {name: value for name, value in options.items() if is_part(value)}
    shapes = eqx.filter_eval_shape(
        cell_type,
        *sizes,
        use_bias="bias" in weights,
        weight_init=jinit.zeros,
        recurrent_weight_init=jinit.zeros,
        dtype=weights["weight_ih"].dtype,
        key=jax.random.key(0),
        **options,
    )
    return eqx.tree_at(
        lambda cell: [getattr(cell, name) for name in arrays], shapes, list(arrays.values())
    )
