"""Whether the layers of a stack fit on each other, and what is between them."""

from collections.abc import Sequence
from typing import Any

import jax

from ._checks import describe_tree
from ._widths import check_widths
from .base import output_struct
from .bidirectional import Bidirectional
from .rnn import RNN


def check_residual(k: int, outputs: Any, inputs: Any) -> None:
    if getattr(outputs, "shape", None) != inputs.shape:
        raise ValueError(
            f"Stacked: with `residual`, `layers[{k}]` must put out the shape that it takes in, "
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
    """What can be told about widths from the layers alone."""
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
    """One step of what a layer returns."""
    if isinstance(layer, RNN):
        return output_struct(layer.cell, sample)
    if isinstance(layer, Bidirectional):
        outputs = [output_struct(rnn.cell, sample) for rnn in (layer.forward_rnn, layer.backward_rnn)]
        return jax.eval_shape(layer.merged, *outputs)
    for inner in layer.layers:
        sample = _layer_outputs(inner, sample)
    return sample
