"""Runs a `ChunkCell`: one chunk of steps after another.

The backward pass computes each chunk again from the carry before it. Only these carries are kept,
and the arrays inside a cell exist for one chunk only.
"""

from typing import Any, NamedTuple

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._base.cells import RNNCellBase, run_chunk
from .._base.contract import check_batch, check_new_carry, dtypes_of, keep_dtypes, widen
from .._select import select
from .._time import Method, State, Time
from .chunks import Piece, best_recomputed_size, join, pieces
from .plain import WiderError
from .skipped import Substitute
from .steps import Options, Steps


class Chunks(NamedTuple):
    """How a `ChunkCell` runs: the number of steps per chunk, and the method inside a chunk."""

    size: int
    method: Method

    def pieces(self, num_steps: Any, reverse: bool) -> list[Piece]:
        if self.size == 1:  # of a time axis that may be symbolic
            return [Piece(0, num_steps, 1)]
        return pieces(num_steps, self.size, reverse)


def plan(carry: PyTree[Array], inputs: Array, steps: Steps, options: Options) -> Chunks:
    """The chunks for these arrays."""
    if steps.cuts is not None:  # a chunk has no gradient cuts inside
        return Chunks(1, options.method)
    size = options.chunk_size
    if size is None:
        step = [*jax.tree.leaves(carry), jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)]
        step_bytes = sum(a.size * a.dtype.itemsize for a in step)
        size = best_recomputed_size(inputs.shape[0], step_bytes, options.platform)
    return Chunks(size, options.method)


def scan(
    chunks: Chunks,
    cell: RNNCellBase,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array] | None,
    steps: Steps,
    options: Options,
    *,
    substitute: Substitute | None,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    """`(final carry, (carries or None, outputs))`. Time is the first axis of all arrays.

    `initial` is the carry after a reset. Skipped steps are computed from `substitute`, whose inputs
    they have.
    """
    while True:
        try:
            return _scan(chunks, cell, carry, inputs, initial, steps, options, substitute)
        except WiderError as wider:
            carry = keep_dtypes(wider.args[0], carry)


def _scan(
    chunks: Chunks,
    cell: RNNCellBase,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array] | None,
    steps: Steps,
    options: Options,
    substitute: Substitute | None,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    owner, reverse, dtypes = type(cell).__name__, options.reverse, dtypes_of(carry)
    batch = inputs.shape[1 : inputs.ndim - cell.num_feature_dims]
    initial = None if initial is None else keep_dtypes(dtypes, initial)
    safe = None if substitute is None else keep_dtypes(dtypes, substitute.carry)
    if steps.resets is not None and steps.valid is not None:
        steps = steps._replace(resets=steps.resets & steps.valid)
    in_order = lambda tree: jax.tree.map(lambda a: a[::-1], tree) if reverse else tree

    def run_one(carry: PyTree[Array], xs: Any):
        x, (valid, resets, keys, cuts) = in_order(xs)
        if cuts is not None:
            carry = select(cuts[0], lax.stop_gradient(carry), carry)
        time = Time(x.shape[0], batch, valid, resets, keys, chunks.method)
        others = (carry if other is None else other for other in (initial, safe))
        states = jax.tree.map(State, carry, *others)
        new, outputs = run_chunk(cell, states, x, time)
        new_carry = jax.tree.map(lambda a: a.now, new)
        check_batch(owner, "the carry", new_carry, batch)
        check_new_carry(owner, carry, new_carry)
        wide = widen(carry, new_carry)
        if wide != dtypes:
            raise WiderError(wide)
        new_carry = keep_dtypes(dtypes, new_carry)
        carries = None
        if options.all_carries:
            carries = keep_dtypes(dtypes, jax.tree.map(lambda a: a.history(), new))
        return new_carry, in_order((carries, select(valid, outputs, 0)))

    def run(carry: PyTree[Array], xs: Any):
        results = []
        for piece in chunks.pieces(xs[0].shape[0], reverse):
            if isinstance(piece.number, int) and piece.number == 1:
                carry, result = run_one(carry, piece.chunk(xs, 0))
            else:
                body = jax.checkpoint(run_one, prevent_cse=False)
                carry, result = lax.scan(body, carry, piece.cut(xs), reverse=reverse)
                result = jax.tree.map(piece.flatten, result)
            results.append(result)
        return carry, join(results, reverse)

    xs = inputs, steps
    if inputs.shape[0] == 0:
        one_step = jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape[1:]), a.dtype), xs)
        _, results = jax.eval_shape(run_one, carry, one_step)
        return carry, jax.tree.map(lambda s: jnp.zeros((0, *s.shape[1:]), s.dtype), results)
    if options.checkpoint is None:
        return run(carry, xs)
    results = []
    for piece in pieces(inputs.shape[0], options.checkpoint, reverse):
        body = jax.checkpoint(run, prevent_cse=False)
        carry, result = lax.scan(body, carry, piece.cut(xs), reverse=reverse)
        results.append(jax.tree.map(piece.flatten, result))
    return carry, join(results, reverse)
