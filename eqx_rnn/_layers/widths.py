"""Checks that the layers of a stack, and the norms between them, fit on each other."""

from collections.abc import Sequence
from typing import Any

import jax
from jaxtyping import Array

from .._base.cells import RNNCellBase
from .._base.widths import cell_outputs, check_widths, is_own_layer
from .._checks.messages import describe, describe_tree
from .bidirectional import Bidirectional
from .rnn import RNN


def keeps_order(layer: Any) -> bool:
    """Whether the outputs of a layer come in the order of its inputs."""
    if hasattr(layer, "layers"):
        return keeps_order(layer.layers[-1])
    return not isinstance(layer, RNN) or layer.keep_order or not layer.reverse


def add_inputs(k: int, outputs: Any, inputs: Array) -> Array:
    """The outputs of the `k`-th layer with its inputs added."""
    check_residual(k, outputs, inputs)
    return outputs + inputs


def check_residual(k: int, outputs: Any, inputs: Any) -> None:
    if getattr(outputs, "shape", None) != inputs.shape:
        raise ValueError(
            f"Stacked: with `residual`, `layers[{k}]` must return the shape of its inputs, "
            f"{describe_tree(inputs)}, got {describe_tree(outputs)}. Make the layers equally wide, "
            "or leave out `residual`."
        )


def check_norm(k: int, norm: Any, outputs: Any) -> None:
    if norm.shape != outputs.shape[-1:]:
        raise ValueError(
            f"Stacked: `norms[{k}]` must be for {outputs.shape[-1]} features, those of "
            f"`layers[{k}]`, got {norm.shape}. Build it with that size."
        )


def check_layers(layers: Sequence[Any], residual: bool, norms: Sequence[Any] | None) -> None:
    """Checks the widths that are known from the layers alone."""
    outputs = check_widths("Stacked", "layers", layers, _layer_outputs)
    for k, below in enumerate(outputs[:-1]):
        if below is None:
            continue
        if norms is not None:
            check_norm(k, norms[k], below)
        above = outputs[k + 1]
        if residual and above is not None and above.shape[-1] != below.shape[-1]:
            check_residual(k + 1, above, below)


def _layer_outputs(layer: Any, sample: Any) -> Any:
    """One step of what a layer returns; `None` if not known."""
    if is_own_layer(layer):
        return None
    if isinstance(layer, RNN):
        return cell_outputs(layer.cell, sample)
    if isinstance(layer, Bidirectional):
        rnns = layer.forward_rnn, layer.backward_rnn
        outputs = [cell_outputs(rnn.cell, sample) for rnn in rnns]
        return jax.eval_shape(layer.merged, *outputs)
    for inner in layer.layers:
        sample = _layer_outputs(inner, sample)
    return sample


def check_cell_class(cell: Any) -> None:
    """Checks what `Stacked.create` builds cells with."""
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
