"""Substitutes for skipped steps, so that skipped steps have no effect on gradients.

A loop over time computes every step of every row and selects the results of the valid steps. The
gradient of a weight is a sum over all steps, so a skipped step must contribute zero and not
`0 * NaN`. Its contribution is zero if its derivative is finite. But the inputs of a skipped step
are padding, and its carry may be outside the domain of the cell. Zeros are not safe either, for
example for a cell that divides by its inputs. So a skipped step is computed from the carry and the
inputs of a valid step.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from .._select import select


class Substitute(NamedTuple):
    """The carry before a valid step and its inputs, one pair per row."""

    carry: PyTree[Array]
    inputs: Array

    def fill(self, valid: Bool[Array, "time *batch"], inputs: Array) -> Array:
        """`inputs` of all steps, with the inputs of the valid step at the skipped steps."""
        return select(valid, inputs, jnp.broadcast_to(self.inputs, inputs.shape))


def find_substitute(
    valid: Bool[Array, "time *batch"],
    resets: Bool[Array, "time *batch"] | None,
    reverse: bool,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array],
) -> Substitute:
    """The first valid step of each row, in the order of processing.

    The carry before this step is known before the loop starts, because all earlier steps hold the
    first carry. A row without a valid step gets the carry and inputs of another row. If no row has
    a valid step, the carry is zero and the inputs are distinct numbers, because a norm of equal
    numbers may have no derivative.
    """
    at_first, has_valid_step = first_valid_step(valid, reverse)
    if resets is not None:
        carry = select(at_first(resets), initial, carry)
    pair = lax.stop_gradient(Substitute(carry, at_first(inputs)))
    carry, inputs = jax.tree.map(lambda a: _fill_rows(a, has_valid_step), pair)
    distinct = _distinct(inputs)
    distinct = jnp.where(jnp.any(has_valid_step), jnp.zeros_like(distinct), distinct)
    return Substitute(carry, inputs + distinct)


def first_valid_step(
    valid: Bool[Array, "time *batch"], reverse: bool
) -> tuple[Callable[[Array], Array], Bool[Array, "*batch"]]:
    """A function that takes arrays at the first valid step, and whether a row has a valid step.

    "First" is in the order of processing. Rows without a valid step give step 0.
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

    return at_first, has_valid_step


def fill_skipped(valid: Bool[Array, "time *batch"], inputs: Array) -> Array:
    """`inputs`, with the inputs of a valid step at the skipped steps."""
    if inputs.shape[0] == 0:
        return inputs
    return find_substitute(valid, None, False, None, inputs, None).fill(valid, inputs)


def _distinct(like: Array) -> Array:
    """Floating numbers that differ from feature to feature, in the dtype of an array; else zero."""
    if not jnp.issubdtype(like.dtype, jnp.inexact) or like.ndim == 0:
        return jnp.zeros((), like.dtype)
    shape = *(like.ndim - 1) * (1,), like.shape[-1]
    return 1 / (1 + lax.broadcasted_iota(like.dtype, shape, like.ndim - 1))


def _fill_rows(a: Array, has_valid_step: Bool[Array, "*batch"]) -> Array:
    """`a`, with the first row that has a valid step in place of rows without one."""
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        return a  # it has no gradient
    batch_axes = tuple(range(has_valid_step.ndim))
    # Sums and comparisons, not an index: the batch may be spread over devices.
    row = jnp.zeros(has_valid_step.shape, jnp.int32)
    for axis in batch_axes:
        row = row * row.shape[axis] + lax.broadcasted_iota(jnp.int32, row.shape, axis)
    most = jnp.iinfo(jnp.int32).max
    first = jnp.min(jnp.where(has_valid_step, row, most), initial=most)
    first_row = select(has_valid_step & (row == first), a, 0)
    zeros = jnp.zeros_like(a)  # spread over devices as `a` is
    if a.dtype == bool:
        return select(has_valid_step, a, zeros | jnp.any(first_row, batch_axes, keepdims=True))
    other = jnp.sum(first_row, batch_axes, dtype=a.dtype, keepdims=True)
    return select(has_valid_step, a, zeros + other)
