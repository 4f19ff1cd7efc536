"""Which axes are batch and time, and which steps are valid."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from .._checks.errors import caller, fault
from .._checks.messages import as_array, describe
from .._dtypes import widest
from .._kernels.run_time import error_if
from .._scan import fill_skipped
from .._select import select

Valid = Bool[Array, "time *batch"]


class Axes(NamedTuple):
    """The position of the time axis, and the sizes of time and batch axes."""

    time_axis: int
    num_steps: Any  # an integer, or a symbolic dimension in an export; so is each of `batch`
    batch: tuple[Any, ...]

    @property
    def leading(self) -> tuple[Any, ...]:
        """The sizes of batch and time axes, in the order of the arrays."""
        return (*self.batch[: self.time_axis], self.num_steps, *self.batch[self.time_axis :])


def find_axes(owner: str, inputs: Array, num_feature_dims: int, time_major: bool) -> Axes:
    """The axes of `(*batch, time, *features)` or, if `time_major`, `(time, *batch, *features)`."""
    num_batch_dims = inputs.ndim - num_feature_dims - 1
    if num_batch_dims < 0:
        raise fault(
            ValueError,
            owner,
            f"`inputs` must have a time axis and, for this cell, {num_feature_dims} feature axes, "
            f"got {describe(inputs)}. Add the missing axes; for a single step, call the cell "
            "itself.",
        )
    return leading_axes(inputs, num_batch_dims, time_major)


def leading_axes(inputs: Any, num_batch_dims: int, time_major: bool) -> Axes:
    """The axes of an array with `num_batch_dims` batch axes."""
    time_axis = 0 if time_major else num_batch_dims
    leading = inputs.shape[: num_batch_dims + 1]
    return Axes(time_axis, leading[time_axis], leading[:time_axis] + leading[time_axis + 1 :])


def as_lengths(
    owner: str,
    seq_lengths: Any,
    batch: tuple[Any, ...],
    num_steps: Any,
    check: bool,
    advice: str = "",
) -> Int[Array, "*batch"]:
    """`seq_lengths` as int32. Values outside the time axis raise an error, or are clipped."""
    start = (
        f"`seq_lengths` must be an integer array of shape {batch}, the batch axes of the "
        f"inputs, got {describe(seq_lengths)}."
    )
    lengths = as_array(owner, "seq_lengths", seq_lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise fault(
            TypeError, owner, f"{start} Cast it first, for example with `.astype(jnp.int32)`."
        )
    if lengths.shape != batch:
        raise fault(ValueError, owner, f"{start} Pass one length per sequence.{advice}")
    wide = lengths.astype(widest(lengths.dtype, jnp.int32))  # int8 cannot hold 300
    if not check:
        return jnp.clip(wide, 0, num_steps).astype(jnp.int32)
    where = "Pass" if owner[0].islower() else "Build the layer with"  # a function, or a class
    not_exported = (
        f"{owner}: `seq_lengths` cannot be checked in an exported function, because an error that "
        f"depends on values needs Python. {where} `check_lengths=False`: lengths are then clipped "
        "to the time axis."
    )
    return error_if(
        wide.astype(jnp.int32),
        (wide < 0) | (wide > num_steps),
        f"{caller(owner)}: `seq_lengths` must be between 0 and {num_steps}, the length of the "
        "time axis, got one outside. Clip the lengths, or pad the inputs to the longest.",
        not_exported,
    )


def check_steps(owner: str, name: str, value: Any, axes: Axes) -> Bool[Array, "time *batch"]:
    """A `mask` or `resets`, checked, with its time axis in front."""
    start = (
        f"`{name}` must be a bool array of shape {axes.leading}, the batch and time axes of the "
        f"inputs, got {describe(value)}."
    )
    value = as_array(owner, name, value)
    if value.dtype != jnp.bool_:
        raise fault(TypeError, owner, f"{start} Compare first, for example `{name} != 0`.")
    if value.shape != axes.leading:
        raise fault(ValueError, owner, f"{start} Pass one value per step of each sequence.")
    return jnp.moveaxis(value, axes.time_axis, 0)


def _advise_layout(seq_lengths: Any, axes: Axes) -> str:
    """Advice for lengths that fit the other layout of the inputs, and not this one."""
    if getattr(seq_lengths, "shape", axes.batch) == axes.batch:
        return ""
    time_major = axes.time_axis == 0
    if seq_lengths.shape != (axes.leading[:-1] if time_major else axes.leading[1:]):
        return ""
    return f" They fit inputs of `time_major={not time_major}`."


def valid_steps(
    owner: str, seq_lengths: Any, mask: Any, axes: Axes, check_lengths: bool
) -> tuple[Valid | None, Int[Array, "*batch"] | None]:
    """Which steps are valid, time first, and the number of steps up to the last valid one.

    Both are `None` if all steps are valid.
    """
    if seq_lengths is not None and mask is not None:
        raise fault(
            ValueError,
            owner,
            "`seq_lengths` and `mask` must not both be given. Pass the one that says which steps "
            "are valid; combine them as `mask & (jnp.arange(time) < lengths)`.",
        )
    time = jnp.arange(axes.num_steps, dtype=jnp.int32).reshape(-1, *len(axes.batch) * (1,))
    if seq_lengths is not None:
        advice = _advise_layout(seq_lengths, axes)
        size = axes.num_steps
        lengths = as_lengths(owner, seq_lengths, axes.batch, size, check_lengths, advice)
        return time < lengths[None], lengths
    if mask is not None:
        valid = check_steps(owner, "mask", mask, axes)
        return valid, jnp.max(jnp.where(valid, time + 1, 0), axis=0, initial=0)
    return None, None


def fill_padding(valid: Valid | None, tree: PyTree[Array], axes: Axes) -> PyTree[Array]:
    """The arrays of a tree, with the values of a valid step at each skipped step."""
    if valid is None:
        return tree
    return _with_time_first(lambda steps: fill_skipped(valid, steps), tree, axes)


def clear_padding(valid: Valid | None, tree: PyTree[Array], axes: Axes) -> PyTree[Array]:
    """The arrays of a tree, with zeros at skipped steps."""
    if valid is None:
        return tree
    return _with_time_first(lambda steps: select(valid, steps, 0), tree, axes)


def _with_time_first(function: Callable[[Array], Array], tree: PyTree[Array], axes: Axes) -> PyTree:
    def apply(array: Array) -> Array:
        return jnp.moveaxis(function(jnp.moveaxis(array, axes.time_axis, 0)), 0, axes.time_axis)

    return jax.tree.map(apply, tree)


def check_leading(text: str, tree: PyTree[Any], axes: Axes, advice: str) -> None:
    """Checks that every array of a tree has the batch and time axes in front."""
    for array in jax.tree.leaves(tree):
        if jnp.shape(array)[: len(axes.leading)] != axes.leading:
            raise ValueError(
                f"{text} must keep the batch and time axes of its inputs, {axes.leading}, got "
                f"{describe(array)}. {advice}"
            )
