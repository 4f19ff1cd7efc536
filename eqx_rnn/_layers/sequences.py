"""Functions for sequences of different lengths in one array."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Bool

from .._base.hints import ArrayLike, Size
from .._checks.arguments import guard
from .._checks.messages import as_array, describe, describe_tree
from .._kernels.sizes import is_known
from .._select import select
from .valid_steps import as_lengths, leading_axes, valid_steps


@guard
def flip_sequences(
    inputs: ArrayLike,
    seq_lengths: ArrayLike | None = None,
    *,
    num_batch_dims: int | None = None,
    time_major: bool = False,
    check_lengths: bool = True,
) -> Array:
    """Reverses sequences in time; with `seq_lengths`, each within its length.

    The padding stays at the end. With lengths 1, 2, 3:

        [[a, -, -],         [[a, -, -],
         [b, c, -],   ->     [c, b, -],
         [d, e, f]]          [f, e, d]]

    **Arguments:**

    - `inputs`: `(*batch, time, *features)`, or `(time, *batch, *features)` if `time_major`.
    - `seq_lengths`: integers in `[0, time]` of shape `(*batch)`.
    - `num_batch_dims`: the number of batch axes. It is needed without `seq_lengths`, unless
        `time_major`.
    - `time_major`: whether time comes first.
    - `check_lengths`: see `RNN`.
    """
    inputs = as_array("flip_sequences", "inputs", inputs)
    if seq_lengths is None:
        if num_batch_dims is None and not time_major:
            raise ValueError(
                "flip_sequences: `num_batch_dims` must be given, because without `seq_lengths` "
                "it is unknown which axis is time. Pass for example `num_batch_dims=1` for (batch, "
                "time, features)."
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


@guard
def last_valid(
    outputs: Any,
    *,
    seq_lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    time_major: bool = False,
    check_lengths: bool = True,
) -> Any:
    """The outputs at the last valid step of each sequence.

        outputs = rnn(inputs, seq_lengths=lengths)               # (*batch, time, *features)
        last = last_valid(outputs, seq_lengths=lengths)          # (*batch, *features)

    `outputs[:, -1]` is zero for every sequence that is shorter than the time axis. Values at
    skipped steps have no effect on the result or its gradients, even if they are NaN. A sequence
    without a valid step gives zeros.

    The backward direction of a `Bidirectional` ends at the first step, so the last step is not its
    final output. For both, take the final carries, which `return_carry=True` returns.

    **Arguments:**

    - `outputs`: `(*batch, time, *features)`, or `(time, *batch, *features)` if `time_major`; or a
        PyTree of such arrays, each with its own features.
    - `seq_lengths`: integers in `[0, time]` of shape `(*batch)`.
    - `mask`: bool, `(*batch, time)`, or `(time, *batch)` if `time_major`; false at skipped steps.
        Exactly one of `seq_lengths` and `mask` is needed.
    - `time_major`: whether time comes first.
    - `check_lengths`: see `RNN`.
    """
    if (seq_lengths is None) == (mask is None):
        raise ValueError(
            "last_valid: exactly one of `seq_lengths` and `mask` must be given, got "
            f"{'none' if mask is None else 'both'}. They say which steps are valid. If no step is "
            "skipped, the last outputs are `outputs[:, -1]`."
        )
    name, given = ("mask", mask) if seq_lengths is None else ("seq_lengths", seq_lengths)
    num_batch_dims = as_array("last_valid", name, given).ndim - (name == "mask")
    leaves = [as_array("last_valid", "outputs", leaf) for leaf in jax.tree.leaves(outputs)]
    shapes = {leaf.shape[: num_batch_dims + 1] for leaf in leaves}
    if num_batch_dims < 0 or len(shapes) != 1 or len(next(iter(shapes))) <= num_batch_dims:
        raise ValueError(
            f"last_valid: `outputs` must have the batch axes of `{name}` and a time axis in front, "
            f"got {describe_tree(outputs)} and {describe(given)}."
        )
    axes = leading_axes(leaves[0], num_batch_dims, time_major)
    lengths: Any = valid_steps("last_valid", seq_lengths, mask, axes, check_lengths)[1]

    def at_last(array: Array) -> Array:
        steps = jnp.moveaxis(jnp.asarray(array), axes.time_axis, 0)
        if is_known(axes.num_steps) and axes.num_steps == 0:
            return jnp.zeros(steps.shape[1:], steps.dtype)
        index = jnp.maximum(lengths - 1, 0)
        index = index.reshape(1, *index.shape, *(steps.ndim - 1 - num_batch_dims) * (1,))
        last = jnp.take_along_axis(steps, index, 0, mode="promise_in_bounds")[0]
        return select(lengths > 0, last, 0)

    return jax.tree.map(at_last, outputs)


@guard
def lengths_to_mask(
    seq_lengths: ArrayLike,
    num_steps: Size,
    *,
    time_major: bool = False,
    check_lengths: bool = True,
) -> Bool[Array, "..."]:
    """The `mask` that means the same as `seq_lengths`: true at valid steps.

        lengths_to_mask(jnp.array([1, 3]), 4)
        [[True, False, False, False],
         [True, True,  True,  False]]

    **Arguments:**

    - `seq_lengths`: integers in `[0, num_steps]` of shape `(*batch)`.
    - `num_steps`: the size of the time axis, such as `inputs.shape[1]`.
    - `time_major`: whether time comes first: `(time, *batch)` in place of `(*batch, time)`.
    - `check_lengths`: see `RNN`.
    """
    is_size = is_known(num_steps) and not isinstance(num_steps, bool) and num_steps >= 0
    if not (is_size or export.is_symbolic_dim(num_steps)):
        raise TypeError(
            "lengths_to_mask: `num_steps` must be the size of the time axis, a Python integer that "
            f"is not negative, got {describe(num_steps)}. Pass for example `inputs.shape[1]`."
        )
    batch = as_array("lengths_to_mask", "seq_lengths", seq_lengths).shape
    lengths = as_lengths("lengths_to_mask", seq_lengths, batch, num_steps, check_lengths)
    time = jnp.arange(num_steps, dtype=jnp.int32).reshape(-1, *len(batch) * (1,))
    return jnp.moveaxis(time < lengths[None], 0, 0 if time_major else -1)
