"""Widths of inputs and outputs, known before any input, and checks that parts fit together.

Only the fields of this package's classes are read, because fields of users' classes may mean
anything.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._checks.messages import has_field, is_ours
from .cells import output_struct

# A size of spatial axes that is large enough for a usual kernel. Nothing is computed on them.
_SPACE = 32


def first_cells(cell: Any) -> list[Any]:
    """A cell, and the cells inside it that read its inputs."""
    if has_field(cell, "cells"):
        return [cell, *first_cells(cell.cells[0])]
    if has_field(cell, "cell"):
        return [cell, *first_cells(cell.cell)]
    return [cell]


def wrapped_cell(cell: Any) -> Any:
    """The cell inside all wrappers."""
    while has_field(cell, "cell"):
        cell = cell.cell
    return cell


def is_known(cell: Any) -> bool:
    """Whether this package defines all `first_cells`. A user's cell may embed its inputs first."""
    return all(is_ours(type(inner)) for inner in first_cells(cell))


def features(cell: Any, size: Any) -> jax.ShapeDtypeStruct | None:
    """One step of features with a last axis of `size`, without batch axes; `None` if unknown."""
    if not isinstance(size, int) or cell.num_feature_dims < 1:
        return None
    space = (cell.num_feature_dims - 1) * (_SPACE,)
    return jax.ShapeDtypeStruct((*space, size), jnp.result_type(float))


def input_struct(cell: Any) -> jax.ShapeDtypeStruct | None:
    """One step of a cell's inputs without batch axes; `None` if their size is unknown."""
    last = first_cells(cell)[-1]
    return features(last, getattr(last, "input_size", None))


def cell_outputs(cell: Any, sample: Any) -> Any:
    """One step of a cell's outputs. Cells of this package know their width; others are traced."""
    last = cell
    while is_ours(type(last)) and (has_field(last, "cells") or has_field(last, "cell")):
        last = last.cells[-1] if has_field(last, "cells") else last.cell
    known = None
    if is_ours(type(last)):
        known = features(last, getattr(last, "output_size", getattr(last, "hidden_size", None)))
    return output_struct(cell, sample) if known is None else known


def try_outputs(part: Any, sample: Any, outputs_of: Callable[[Any, Any], Any]) -> Any:
    """One step of the outputs of a cell or layer; `None` if unknown, or if not one array."""
    if sample is None:
        return None
    try:
        outputs = outputs_of(part, sample)
    except Exception:  # a user's cell may need more than a shape; an ensemble needs `vmap`
        return None
    return outputs if isinstance(outputs, jax.ShapeDtypeStruct) else None


def check_widths(
    owner: str,
    name: str,
    parts: Sequence[Any],
    outputs_of: Callable[[Any, Any], Any] = cell_outputs,
    first_cell: Callable[[Any], Any] = lambda cell: cell,
) -> list[jax.ShapeDtypeStruct | None]:
    """Checks that each part accepts the outputs of the part before it, if both widths are known.

    `first_cell` returns the cell of a part that reads its inputs, or `None` if it is unknown.
    Spatial sizes are ignored. Returns one step of the outputs of each part, or `None` if unknown.
    """
    outputs: list[jax.ShapeDtypeStruct | None] = []
    for k, part in enumerate(parts):
        first = first_cell(part)
        wanted = None if first is None else input_struct(first)
        below = outputs[-1] if outputs else None
        if below is not None and wanted is not None and below.ndim == wanted.ndim:
            width, size = below.shape[-1], wanted.shape[-1]
            if width != size and (is_known(first) or try_outputs(part, below, outputs_of) is None):
                raise ValueError(
                    f"{owner}: `{name}[{k}]` must take in {width} features, as many as "
                    f"`{name}[{k - 1}]` returns, got input_size={size}. Build it with "
                    f"`input_size={width}`."
                )
            wanted = below
        outputs.append(try_outputs(part, below if wanted is None else wanted, outputs_of))
    return outputs
