"""The cell that computes one step of a stack."""

from typing import Any

import equinox as eqx

from .._checks.messages import is_ours
from .._wrappers import Residual, StackedCell
from .base import CellLayer


def stack_steps(stacked: Any, name: str) -> StackedCell:
    """Implements `Stacked.as_cell`. Errors call a stack inside another stack `name`."""
    path = f"{name}." if name else ""
    instead = (
        "Step through the stack by calls with a time axis of length 1: `stacked(inputs[:, None], "
        "initial_carry=carry, return_carry=True)`."
    )
    if stacked.norms:
        raise ValueError(
            f"Stacked.as_cell: `{path}norms` must be None, got {len(stacked.norms)}. A "
            f"`StackedCell` has nothing between its cells. {instead}"
        )
    if stacked.dropout is not None and not stacked.dropout.inference and stacked.num_layers > 1:
        raise ValueError(
            f"Stacked.as_cell: `{path}dropout` must be off, got dropout={stacked.dropout.p}. A "
            "`StackedCell` has nothing between its cells. For inference, call "
            "`eqx.nn.inference_mode(stacked).as_cell()`."
        )
    cells = []
    for k, layer in enumerate(stacked.layers):
        if not (isinstance(layer, CellLayer) and is_ours(type(layer))):
            raise TypeError(
                f"Stacked.as_cell: `{path}layers[{k}]` must be an `RNN` or a `Stacked`, got "
                f"{type(layer).__name__}, whose single step is unknown. {instead}"
            )
        cell = layer.as_step(f"{path}layers[{k}]")
        cells.append(Residual(cell) if stacked.residual and k > 0 else cell)
    # `tree_at` puts the cells into a stack of one cell, because the constructor refuses cells that
    # `eqx.nn.Shared` has tied.
    return eqx.tree_at(lambda cell: cell.cells, StackedCell(cells[:1]), tuple(cells))
