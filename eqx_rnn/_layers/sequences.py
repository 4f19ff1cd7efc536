"""Sequences of different lengths in one array."""

from typing import Any, NamedTuple

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from .._checks.arguments import guard
from .._checks.errors import caller, fault
from .._checks.messages import as_array, describe
from .._dtypes import widest
from .._kernels.run_time import error_if
from .._scan import fill_skipped


@guard
def flip_sequences(
    inputs: Any,
    seq_lengths: Any = None,
    *,
    num_batch_dims: int | None = None,
    time_major: bool = False,
    check_lengths: bool = True,
) -> Array:
    """Reverses sequences in time; with `seq_lengths`, each within its length.

    The padding stays where it is, at the end. With lengths 1, 2, 3:

        [[a, -, -],         [[a, -, -],
         [b, c, -],   ->     [c, b, -],
         [d, e, f]]          [f, e, d]]

    **Arguments:**

    - `inputs`: `(*batch, time, *features)`, or `(time, *batch, *features)` if `time_major`.
    - `seq_lengths`: integers in `[0, time]` of shape `(*batch)`.
    - `num_batch_dims`: how many batch axes there are. `seq_lengths` tells; without them, it is
        needed unless `time_major`.
    - `time_major`: whether time comes first.
    - `check_lengths`: see `RNN`.
    """
    inputs = as_array("flip_sequences", "inputs", inputs)
    if seq_lengths is None:
        if num_batch_dims is None and not time_major:
            raise ValueError(
                "flip_sequences: `num_batch_dims` must be given, because without `seq_lengths` "
                "nothing tells which axis is time. Pass for example `num_batch_dims=1` for "
                "(batch, time, features)."
            )
        time_axis = 0 if time_major or num_batch_dims is None else num_batch_dims
        if not 0 <= time_axis < inputs.ndim:
            raise ValueError(
                "flip_sequences: `num_batch_dims` must be a number of axes in front of the time "
                f"axis, from 0 to {inputs.ndim - 1} for these inputs, got {num_batch_dims} and "
                f"{describe(inputs)}."
            )
        return jnp.flip(inputs, time_axis)
    ndim = jnp.ndim(seq_lengths)
    if num_batch_dims not in (None, ndim):
        raise ValueError(
            "flip_sequences: `num_batch_dims` must be the number of axes of `seq_lengths`, got "
            f"{num_batch_dims} and {describe(seq_lengths)}. Leave it out."
        )
    time_axis = 0 if time_major else ndim
    if inputs.ndim <= ndim:
        raise ValueError(
            f"flip_sequences: `inputs` must have a time axis beside the batch axes of "
            f"`seq_lengths`, got {describe(inputs)} and {describe(seq_lengths)}."
        )
    xs = jnp.moveaxis(inputs, time_axis, 0)
    batch, num_steps = xs.shape[1 : ndim + 1], xs.shape[0]
    lengths = as_lengths("flip_sequences", seq_lengths, batch, num_steps, check_lengths)[None]
    time = jnp.arange(xs.shape[0], dtype=jnp.int32).reshape(-1, *ndim * (1,))
    source = jnp.where(time < lengths, lengths - 1 - time, time)
    source = source.reshape(source.shape + (1,) * (xs.ndim - source.ndim))
    return jnp.moveaxis(jnp.take_along_axis(xs, source, 0), 0, time_axis)


def as_lengths(
    owner: str,
    seq_lengths: Any,
    batch: tuple[Any, ...],
    num_steps: Any,
    check: bool,
    advice: str = "",
) -> Int[Array, "*batch"]:
    """`seq_lengths` as int32: shape and dtype checked now, the values at run time, or clipped."""
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
    wide = lengths.astype(widest(lengths.dtype, jnp.int32))  # int8 has no 300
    if not check:
        return jnp.clip(wide, 0, num_steps).astype(jnp.int32)
    not_exported = (
        f"{owner}: `seq_lengths` cannot be checked in an exported function, because an error that "
        "depends on values needs Python. Build the layer with `check_lengths=False`: lengths are "
        "then clipped to the time axis."
    )
    return error_if(
        wide.astype(jnp.int32),
        (wide < 0) | (wide > num_steps),
        f"{caller(owner)}: `seq_lengths` must be between 0 and {num_steps}, the length of the "
        "time axis, got one outside. Clip the lengths, or pad the inputs to the longest.",
        not_exported,
    )


class Axes(NamedTuple):
    """Which axes of an array of sequences mean what."""

    time_axis: int
    num_steps: Any  # an integer, or a symbolic dimension of an export, as each of `batch`
    batch: tuple[Any, ...]


def find_axes(owner: str, inputs: Array, num_feature_dims: int, time_major: bool) -> Axes:
    """The axes of `(*batch, time, *features)` or, time-major, `(time, *batch, *features)`."""
    num_batch_dims = inputs.ndim - num_feature_dims - 1
    if num_batch_dims < 0:
        raise fault(
            ValueError,
            owner,
            f"`inputs` must have a time axis and, for this cell, {num_feature_dims} feature axes, "
            f"got {describe(inputs)}. Add the missing axes; for a single step, call the cell "
            "itself.",
        )
    time_axis = 0 if time_major else num_batch_dims
    leading = inputs.shape[: num_batch_dims + 1]
    return Axes(time_axis, leading[time_axis], leading[:time_axis] + leading[time_axis + 1 :])


def check_steps(owner: str, name: str, value: Any, axes: Axes) -> Bool[Array, "time *batch"]:
    """A `mask` or `resets`, checked, with its time axis in front."""
    shape = (*axes.batch[: axes.time_axis], axes.num_steps, *axes.batch[axes.time_axis :])
    start = (
        f"`{name}` must be a bool array of shape {shape}, the batch and time axes of the "
        f"inputs, got {describe(value)}."
    )
    value = as_array(owner, name, value)
    if value.dtype != jnp.bool_:
        raise fault(TypeError, owner, f"{start} Compare first, for example `{name} != 0`.")
    if value.shape != shape:
        raise fault(ValueError, owner, f"{start} Pass one value per step of each sequence.")
    return jnp.moveaxis(value, axes.time_axis, 0)


def _advise_layout(seq_lengths: Any, axes: Axes) -> str:
    """Says so if lengths do not fit the inputs' layout, but the other one."""
    if getattr(seq_lengths, "shape", axes.batch) == axes.batch:
        return ""
    shape = (*axes.batch[: axes.time_axis], axes.num_steps, *axes.batch[axes.time_axis :])
    time_major = axes.time_axis == 0
    if seq_lengths.shape != (shape[:-1] if time_major else shape[1:]):
        return ""
    return f" They fit inputs of `time_major={not time_major}`."


def valid_steps(
    owner: str, seq_lengths: Any, mask: Any, axes: Axes, check_lengths: bool
) -> tuple[Bool[Array, "time *batch"] | None, Int[Array, "*batch"] | None]:
    """Which steps are valid, time first, and where the last valid one ends; `None` if all are."""
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


def episode_ends(
    resets: Bool[Array, "time *batch"], valid: Bool[Array, "time *batch"] | None
) -> Bool[Array, "time *batch"]:
    """From the first steps of episodes, the last ones: where the next valid step is a first."""
    if valid is None:
        valid = jnp.ones_like(resets)
    num_steps = resets.shape[0]
    time = jnp.arange(num_steps).reshape(-1, *(resets.ndim - 1) * (1,))
    at_or_after = lax.cummin(jnp.where(valid, time, num_steps), reverse=True)
    pad = [(0, 1), *(resets.ndim - 1) * [(0, 0)]]
    after = jnp.pad(at_or_after, pad, constant_values=num_steps)[1:]
    return jnp.take_along_axis(jnp.pad(resets, pad), after, 0)


def backward_resets(
    owner: str, resets: Any, seq_lengths: Any, mask: Any, axes: Axes, check_lengths: bool
) -> Bool[Array, "*batch_and_time"]:
    """From the first steps of episodes, what `RNN(reverse=True)` wants: the last ones."""
    starts = check_steps(owner, "resets", resets, axes)
    valid, _ = valid_steps(owner, seq_lengths, mask, axes, check_lengths)
    ends = episode_ends(starts, valid)
    return jnp.moveaxis(ends, 0, axes.time_axis)


def fill_padding(
    owner: str, inputs: Array, seq_lengths: Any, mask: Any, num_feature_dims: int, time_major: bool
) -> Array:
    """`inputs`, at skipped steps those of a valid step."""
    axes = find_axes(owner, inputs, num_feature_dims, time_major)
    valid, _ = valid_steps(owner, seq_lengths, mask, axes, check_lengths=False)
    if valid is None:
        return inputs
    steps = fill_skipped(valid, jnp.moveaxis(inputs, axes.time_axis, 0))
    return jnp.moveaxis(steps, 0, axes.time_axis)
