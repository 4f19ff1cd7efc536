"""Checks that the layers of a stack, and the norms between them, fit together."""

from collections.abc import Sequence
from typing import Any

from .._base.cells import RNNCellBase, inner_cells
from .._base.layers import AbstractLayer
from .._base.widths import check_widths
from .._checks.messages import check_distinct, describe
from .base import CellLayer, first_cell, known_outputs
from .between import check_norm, check_residual


def keeps_order(layer: AbstractLayer) -> bool:
    """Whether the outputs of a layer come in the order of its inputs."""
    return not isinstance(layer, CellLayer) or layer.keeps_order


def check_stack(layers: Any, dropout: float, residual: bool, norms: Sequence[Any] | None) -> None:
    """Checks the arguments of `Stacked`."""
    if not isinstance(layers, list | tuple):
        raise TypeError(
            f"Stacked: `layers` must be a list or tuple of layers, got {describe(layers)}. Put "
            "them into a list, also if there is one: `Stacked([layer])`."
        )
    if len(layers) == 0:
        raise ValueError("Stacked: `layers` must be one layer or more, got none. Pass some.")
    for k, layer in enumerate(layers):
        if not isinstance(layer, AbstractLayer):
            advice = "Write a layer around it: subclass `AbstractLayer`."
            if isinstance(layer, RNNCellBase):
                advice = "Wrap a cell first: `RNN(cell)`."
            raise TypeError(
                f"Stacked: `layers[{k}]` must be an `RNN`, a `Bidirectional`, a `Stacked` or "
                f"another `AbstractLayer`, got {describe(layer)}. {advice}"
            )
    check_distinct("Stacked", "`layers`", inner_cells(tuple(layers)))
    if len({layer.time_major for layer in layers}) > 1:
        raise ValueError(
            "Stacked: `layers` must agree on `time_major`, got "
            f"{[layer.time_major for layer in layers]}. Build all with the same one."
        )
    for k, layer in enumerate(layers):
        last = k == len(layers) - 1
        if not keeps_order(layer) and (not last or (residual and k > 0)):
            raise ValueError(
                f"Stacked: `layers[{k}]` must return its steps in the order of its inputs, "
                "got reverse=True, keep_order=False. Build it with `keep_order=True`."
            )
    if not 0 <= dropout < 1:
        raise ValueError(
            f"Stacked: `dropout` must be a fraction, 0 <= dropout < 1, got {dropout}. Pass "
            "the share of the entries to be dropped."
        )
    if norms is not None and len(norms) != len(layers) - 1:
        raise ValueError(
            f"Stacked: `norms` must be one between each two of the {len(layers)} layers, got "
            f"{len(norms)}. Pass {len(layers) - 1}."
        )
    check_layers(layers, residual, norms)


def check_layers(layers: Sequence[Any], residual: bool, norms: Sequence[Any] | None) -> None:
    """Checks the widths that the layers know."""
    outputs = check_widths("Stacked", "layers", layers, known_outputs, first_cell)
    for k, below in enumerate(outputs[:-1]):
        if below is None:
            continue
        if norms is not None:
            check_norm(k, norms[k], below)
        above = outputs[k + 1]
        if residual and above is not None and above.shape[-1] != below.shape[-1]:
            check_residual(k + 1, above, below)
