"""The properties of `RNN`, `Bidirectional` and `Stacked` that are known before any input."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import Array, PyTree

from .._base.cells import RNNCellBase
from .._base.layers import AbstractLayer
from .._base.structs import output_struct
from .._base.widths import cell_outputs
from .._checks.messages import describe_tree, is_ours
from .resets import backward_resets
from .valid_steps import Axes, Valid, check_leading, clear_padding

CellOutputs = Callable[[Any, Any], Any]


class CellLayer(AbstractLayer):
    """A layer that runs cells. It handles skipped steps and episodes, and its widths are known.

    A user may subclass `RNN` and change its inputs or outputs, so the widths of such a class are
    unknown: see `first_cell` and `known_outputs` below.
    """

    @property
    @abc.abstractmethod
    def input_size(self) -> int:
        """The size of the last axis of the inputs."""

    @property
    @abc.abstractmethod
    def output_size(self) -> int:
        """The size of the last axis of the outputs."""

    @property
    @abc.abstractmethod
    def check_lengths(self) -> bool:
        """Whether lengths outside the time axis raise an error: see `RNN`."""

    @property
    @abc.abstractmethod
    def keeps_order(self) -> bool:
        """Whether outputs come in the order of the inputs."""

    @property
    @abc.abstractmethod
    def starts_at_end(self) -> bool:
        """Whether the layer starts at the last step, and so resets at an episode's last step."""

    @property
    @abc.abstractmethod
    def first_cell(self) -> RNNCellBase | None:
        """The cell that reads the inputs; `None` if unknown."""

    @abc.abstractmethod
    def step_struct(self, sample_input: Any, of_cell: CellOutputs) -> PyTree[Any]:
        """Shapes and dtypes of one step of the outputs, from those of one step of the inputs.

        `of_cell` returns the same for a cell: `output_struct` traces a step, and `cell_outputs`
        knows the width only.
        """

    @abc.abstractmethod
    def as_step(self, name: str) -> RNNCellBase:
        """The cell that computes one step of this layer. Errors call the layer `name`."""


def get_size(layer: CellLayer, name: str, struct: jax.ShapeDtypeStruct | None) -> int:
    """The size of the last axis of one step, for the attribute `name`."""
    if struct is None:
        raise AttributeError(
            f"{type(layer).__name__} has no `{name}`, because a cell inside does not have it"
        )
    return struct.shape[-1]


def first_cell(layer: AbstractLayer) -> RNNCellBase | None:
    """The cell that reads the inputs of a layer; `None` if a user wrote the layer's class."""
    return layer.first_cell if isinstance(layer, CellLayer) and is_ours(type(layer)) else None


def known_outputs(layer: AbstractLayer, sample_input: Any) -> PyTree[Any]:
    """One step of a layer's outputs, with their width; `None` if a user wrote its class."""
    if isinstance(layer, CellLayer) and is_ours(type(layer)):
        return layer.step_struct(sample_input, cell_outputs)
    return None


def outputs_of(
    layer: AbstractLayer, sample_input: Any, of_cell: CellOutputs = output_struct
) -> PyTree[Any]:
    """One step of a layer's outputs. A class that a user wrote is traced over one step."""
    if isinstance(layer, CellLayer) and is_ours(type(layer)):
        return layer.step_struct(sample_input, of_cell)
    shape = tuple(sample_input.shape)
    axis = 0 if layer.time_major else len(shape) - layer.num_feature_dims
    inputs = jax.ShapeDtypeStruct((*shape[:axis], 1, *shape[axis:]), sample_input.dtype)
    run = lambda inputs: layer(inputs, return_carry=True, key=jr.key(0))[1]
    outputs = eqx.filter_eval_shape(run, inputs)
    at_step = lambda y: jax.ShapeDtypeStruct(y.shape[:axis] + y.shape[axis + 1 :], y.dtype)
    return jax.tree.map(at_step, outputs)


def run_layer(
    name: str,
    layer: AbstractLayer,
    inputs: Array,
    valid: Valid | None,
    axes: Axes,
    *,
    resets: Any,
    **options: Any,
) -> tuple[PyTree, PyTree]:
    """Runs a layer of a stack, where `resets` is true at the first steps of episodes.

    At skipped steps, the inputs and outputs of a user's layer are zero.
    """
    is_custom = not isinstance(layer, CellLayer)
    if is_custom:
        inputs = clear_padding(valid, inputs, axes)
    elif resets is not None and layer.starts_at_end:
        resets = backward_resets("Stacked", resets, valid, axes)
    result = layer(inputs, resets=resets, **options)
    if type(result) is not tuple or len(result) != 2:
        raise TypeError(
            f"Stacked: `{name}` must return the pair (carry, outputs) with `return_carry=True`, "
            f"got {describe_tree(result)} from {type(layer).__name__}. A layer without state "
            "returns `((), outputs)`."
        )
    carry, outputs = result
    if is_custom and valid is not None:
        advice = "Lengths and masks are for that time axis."
        check_leading(f"Stacked: `{name}`", outputs, axes, advice)
        outputs = clear_padding(valid, outputs, axes)
    return carry, outputs
