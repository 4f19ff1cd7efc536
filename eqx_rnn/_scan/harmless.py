"""Where a skipped step is computed from, so that it has no effect on gradients.

A loop over time computes every step of every row, and selects the results of the valid ones. The
gradient of a weight is a sum over all of them, so a skipped step must contribute zero and not
`0 * NaN`. It does if its derivative is finite. Its own inputs are padding, and its own carry may be
one that no step accepts; even zeros are not safe, as for a cell that divides by its inputs. So a
skipped step is computed from the inputs and the carry of a step that is valid.
"""

from typing import NamedTuple

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from .select import select


class Harmless(NamedTuple):
    """The carry before a valid step and its inputs, one pair per row."""

    carry: PyTree[Array]
    inputs: Array


def harmless(
    valid: Bool[Array, "time *batch"],
    resets: Bool[Array, "time *batch"] | None,
    reverse: bool,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array],
) -> Harmless:
    """The first valid step of each row, in the order of processing.

    The carry before it is known before the loop starts, because every earlier step holds it. A row
    without a valid step gets the pair of another row. If there is none in the whole call, all are
    zeros.
    """
    num_steps = valid.shape[0]
    time = lax.broadcasted_iota(jnp.int32, valid.shape, 0)
    if reverse:
        first = jnp.max(jnp.where(valid, time, -1), axis=0)
    else:
        first = jnp.min(jnp.where(valid, time, num_steps), axis=0)
    has_valid_step = jnp.any(valid, axis=0)
    first = jnp.where(has_valid_step, first, 0)

    def at_first(a: Array) -> Array:
        index = first.reshape(1, *first.shape, *(a.ndim - valid.ndim) * (1,))
        return jnp.take_along_axis(a, index, 0, mode="promise_in_bounds")[0]

    if resets is not None:
        carry = select(at_first(resets), initial, carry)
    pair = lax.stop_gradient(Harmless(carry, at_first(inputs)))
    return jax.tree.map(lambda a: _of_another_row(a, has_valid_step), pair)


def fill_skipped(valid: Bool[Array, "time *batch"], inputs: Array) -> Array:
    """`inputs`, at skipped steps those of a valid step."""
    if inputs.shape[0] == 0:
        return inputs
    safe = harmless(valid, None, False, None, inputs, None)
    return select(valid, inputs, jnp.broadcast_to(safe.inputs, inputs.shape))


def _of_another_row(a: Array, has: Bool[Array, "*batch"]) -> Array:
    """The rows of `a`; the first row that has a valid step in place of those that have none."""
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        return a  # it has no gradient
    batch_axes = tuple(range(has.ndim))
    # Sums and comparisons, not an index: the batch may be spread over devices.
    row = jnp.zeros(has.shape, jnp.int32)
    for axis in batch_axes:
        row = row * has.shape[axis] + lax.broadcasted_iota(jnp.int32, has.shape, axis)
    most = jnp.iinfo(jnp.int32).max
    is_first = has & (row == jnp.min(jnp.where(has, row, most), initial=most))
    from_first = select(is_first, a, 0)
    if a.dtype == bool:
        other = jnp.any(from_first, batch_axes)
    else:
        other = jnp.sum(from_first, batch_axes, dtype=a.dtype)
    return select(has, a, jnp.broadcast_to(other, a.shape))
