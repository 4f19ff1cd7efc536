"""Norms, dropout and residual connections between the layers of a stack."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from .._checks.errors import part_of
from .._checks.messages import check_link, describe_tree
from .base import CellOutputs, outputs_of

Norm = eqx.nn.LayerNorm | eqx.nn.RMSNorm


def normalize(norms: Sequence[Norm] | None, k: int, outputs: Array) -> Array:
    """The outputs of the layer before the `k`-th, normalised."""
    if norms is None:
        return outputs
    check_norm(k - 1, norms[k - 1], outputs)
    return jnp.vectorize(norms[k - 1], signature="(n)->(n)")(outputs)


def check_norm(k: int, norm: Norm, outputs: Any) -> None:
    if norm.shape != outputs.shape[-1:]:
        raise ValueError(
            f"Stacked: `norms[{k}]` must be for {outputs.shape[-1]} features, those of "
            f"`layers[{k}]`, got {norm.shape}. Build it with that size."
        )


def drop(dropout: eqx.nn.Dropout | None, outputs: Array, key: PRNGKeyArray | None) -> Array:
    """The outputs of a layer after dropout."""
    if dropout is None:
        return outputs
    if key is None and not dropout.inference:
        raise ValueError(
            "Stacked: `key` must be a random key, because there is dropout, got None. "
            "Pass `key=jax.random.key(seed)`, or switch dropout off with "
            "`eqx.nn.inference_mode(model)`."
        )
    return dropout(outputs, key=key)


def add_inputs(k: int, outputs: Any, inputs: Array) -> Array:
    """The outputs of the `k`-th layer plus its inputs."""
    check_residual(k, outputs, inputs)
    return outputs + inputs


def check_residual(k: int, outputs: Any, inputs: Any) -> None:
    if getattr(outputs, "shape", None) != inputs.shape:
        raise ValueError(
            f"Stacked: with `residual`, `layers[{k}]` must return the shape of its inputs, "
            f"{describe_tree(inputs)}, got {describe_tree(outputs)}. Make the layers equally wide, "
            "or leave out `residual`."
        )


def step_samples(stacked: Any, sample_input: Any, of_cell: CellOutputs) -> Iterator[Any]:
    """Shapes and dtypes of one step of the inputs of each layer, then of the outputs."""
    outputs = sample_input
    for k, layer in enumerate(stacked.layers):
        below = outputs
        if k > 0:
            below = check_link("Stacked", sample_input, outputs, stacked.num_feature_dims, layer)
            outputs = jax.eval_shape(functools.partial(normalize, stacked.norms, k), below)
        yield outputs
        with part_of("Stacked", f"layers[{k}]", "", is_first=k == 0):
            outputs = outputs_of(layer, outputs, of_cell)
        if k > 0 and stacked.residual:
            outputs = jax.eval_shape(functools.partial(add_inputs, k), outputs, below)
    yield outputs
