"""Which widths cells and layers have, and whether they fit, before any input is there."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._checks.messages import has_field, is_ours
from .cells import output_struct

# Spatial axes of any size, wide enough for a usual kernel. Nothing is computed on them.
_SPACE = 32


def first_cells(part: Any) -> list[Any]:
    """A cell or layer, and the cells and layers inside it that see its inputs.

    Only fields of our classes count: fields of users' classes may mean anything.
    """
    for name in ("layers", "cells"):
        if has_field(part, name):
            return [part, *first_cells(getattr(part, name)[0])]
    for name in ("forward_rnn", "cell"):
        if has_field(part, name):
            return [part, *first_cells(getattr(part, name))]
    return [part]


def is_known(part: Any) -> bool:
    """Whether all these are of our classes. A cell of users may embed its inputs first."""
    return all(is_ours(type(cell)) for cell in first_cells(part))


def is_own_layer(part: Any) -> bool:
    """Whether a user wrote a layer's class: it may change inputs and outputs in any way."""
    return any(hasattr(p, "time_major") and not is_ours(type(p)) for p in first_cells(part))


def features(cell: Any, size: Any) -> jax.ShapeDtypeStruct | None:
    """Features of a cell's kind, so many, without batch axes; `None` if the size is unknown."""
    if not isinstance(size, int) or cell.num_feature_dims < 1:
        return None
    space = (cell.num_feature_dims - 1) * (_SPACE,)
    return jax.ShapeDtypeStruct((*space, size), jnp.result_type(float))


def input_struct(part: Any) -> jax.ShapeDtypeStruct | None:
    """One step of the inputs of a cell or layer without batch axes; `None` if not known."""
    cell = first_cells(part)[-1]
    return features(cell, getattr(cell, "input_size", None))


def cell_outputs(cell: Any, sample: Any) -> Any:
    """One step of a cell's outputs. Our own cells know their width; others are traced."""
    last = cell
    while is_ours(type(last)) and (has_field(last, "cells") or has_field(last, "cell")):
        last = last.cells[-1] if has_field(last, "cells") else last.cell
    known = None
    if is_ours(type(last)):
        known = features(last, getattr(last, "output_size", getattr(last, "hidden_size", None)))
    return output_struct(cell, sample) if known is None else known


def try_outputs(part: Any, sample: Any, outputs_of: Callable[[Any, Any], Any]) -> Any:
    """One step of the outputs of a cell or layer; `None` if not known, or not one array."""
    if sample is None:
        return None
    try:
        outputs = outputs_of(part, sample)
    except Exception:  # cells of users may need more than a shape; an ensemble needs `vmap`
        return None
    return outputs if isinstance(outputs, jax.ShapeDtypeStruct) else None


def check_widths(
    owner: str,
    name: str,
    parts: Sequence[Any],
    outputs_of: Callable[[Any, Any], Any] = cell_outputs,
) -> list[jax.ShapeDtypeStruct | None]:
    """Checks that each part can take in the outputs of the one before, where widths are known.

    Returns one step of the outputs of each part, where known. Spatial sizes do not count.
    """
    outputs: list[jax.ShapeDtypeStruct | None] = []
    for k, part in enumerate(parts):
        below, wanted = outputs[-1] if outputs else None, input_struct(part)
        if below is not None and wanted is not None and below.ndim == wanted.ndim:
            have, size = below.shape[-1], wanted.shape[-1]
            if have != size and _refuses(part, below, outputs_of):
                raise ValueError(
                    f"{owner}: `{name}[{k}]` must take in {have} features, as many as "
                    f"`{name}[{k - 1}]` returns, got input_size={size}. Build it with "
                    f"`input_size={have}`."
                )
            wanted = below
        sample = below if wanted is None else wanted
        outputs.append(try_outputs(part, sample, outputs_of))
    return outputs


def _refuses(part: Any, sample: Any, outputs_of: Callable[[Any, Any], Any]) -> bool:
    """Whether a cell or layer cannot take in a sample of another width than its `input_size`."""
    if is_own_layer(part):
        return False
    return is_known(part) or try_outputs(part, sample, outputs_of) is None
