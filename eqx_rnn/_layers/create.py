"""Layers of one kind and width, for `Stacked.create`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

from .._base.cells import RNNCellBase
from .._base.widths import cell_outputs
from .._checks.messages import describe
from .._checks.options import check_sizes, split_key
from .bidirectional import Bidirectional
from .rnn import RNN

# Spatial axes wide enough for a kernel; nothing is computed on them.
_SPACE = 1000


def create_layers(
    cell: Callable[..., RNNCellBase],
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bidirectional: bool,
    key: PRNGKeyArray | None,
    cell_options: dict[str, Any],
    **options: Any,
) -> tuple[list[RNN | Bidirectional], list[eqx.nn.LayerNorm]]:
    """The layers, and a norm for each gap between them. `options` are those of `RNN`."""
    check_cell_class(cell)
    check_sizes("Stacked.create", num_layers=num_layers)
    layers, norms, size = [], [], input_size
    for k, layer_key in enumerate(split_key("Stacked.create", key, num_layers)):
        if k > 0:
            norms.append(eqx.nn.LayerNorm(size, dtype=cell_options.get("dtype")))
        cells = [
            cell(size, hidden_size, key=cell_key, **cell_options)
            for cell_key in jr.split(layer_key, 1 + bidirectional)
        ]
        rnns = [RNN(cell, **options) for cell in cells]
        layers.append(Bidirectional(rnns[0], rnns[1]) if bidirectional else rnns[0])
        size = sum(_output_size(cell, size) for cell in cells)
    return layers, norms


def _output_size(cell: RNNCellBase, input_size: int) -> int:
    space = (cell.num_feature_dims - 1) * (_SPACE,)
    sample = jax.ShapeDtypeStruct((*space, input_size), jnp.result_type(float))
    return cell_outputs(cell, sample).shape[-1]


def check_cell_class(cell: Any) -> None:
    """Checks that `Stacked.create` can build cells with `cell`."""
    if isinstance(cell, RNNCellBase):
        name = type(cell).__name__
        raise TypeError(
            f"Stacked.create: `cell` must be a cell's class, got a cell, {name}. Pass "
            f"`{name}` itself, or stack cells that exist: `Stacked([RNN(a), RNN(b)])`."
        )
    if isinstance(cell, type) and not issubclass(cell, RNNCellBase):
        raise TypeError(
            "Stacked.create: `cell` must be a cell's class, or a function that returns a cell, "
            f"got {describe(cell)}. Pass for example `eqx_rnn.LSTMCell`."
        )
