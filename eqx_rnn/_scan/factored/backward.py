"""The backward pass of a factored run: the transpose of its derivative."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..._base.gates import map_gates
from ..._kernels.passes import TwoPasses
from ..._select import select
from ..chunks import Piece, join
from .differentiate import PartsOfChunk, parts_of_chunk
from .forward import Saved, advance_chunk
from .loop import scan
from .plan import Arguments, Fixed, Plan


def backward(
    plan: Plan,
    passes: TwoPasses,
    arguments: Arguments,
    fixed: Fixed,
    saved: list[Saved],
    cotangents: Any,
    wanted: Arguments,
) -> Arguments:
    """The cotangents of the arguments from those of `(final carry, carries, outputs)`.

    A cotangent of `None` is zero. `wanted` says which arguments need a cotangent.
    """
    parameters, _, inputs, initial = arguments
    constants, steps, substitute = fixed
    weights, reverse, whole = parameters + constants, plan.options.reverse, (steps, *cotangents[1:])
    zeros = lambda a, is_wanted: jnp.zeros_like(a) if is_wanted else None
    d_carry = _fill(cotangents[0], plan.carry)
    d_parameters = jax.tree.map(zeros, parameters, wanted.parameters)
    d_initial = jax.tree.map(zeros, initial, wanted.initial)
    substitute_carry = None if substitute is None else substitute.carry
    d_inputs = []
    by_piece = _edges(plan, *saved) if plan.is_flat else saved
    kept_whole = jax.tree.map(lambda a: a[0], saved[0][1:]) if plan.is_flat else None
    for piece, project_inputs, saved_of_piece in reversed(
        list(zip(plan.pieces, plan.project_inputs, by_piece, strict=True))
    ):
        parts = parts_of_chunk(plan, weights, wanted.parameters, piece.size, project_inputs)
        retreat = _retreat_chunk(plan, passes, parts, initial, wanted.inputs)
        arrays = project_inputs, weights, initial, substitute_carry
        advance = None
        if plan.options.checkpoint is not None:
            advance = advance_chunk(plan, passes, *arrays)

        def run_chunk(state: Any, xs: Any, piece=piece, advance=advance, retreat=retreat):
            k, (edge, *by_step) = xs
            x, steps, d_carries, d_outputs = piece.chunk((inputs, *whole), k)
            carries, kept, drawn = by_step if kept_whole is None else piece.chunk(kept_whole, k)
            if advance is not None:
                _, (carries, kept, drawn, _) = advance(edge, x, steps)
            starts = _starts(edge, carries, reverse)
            if steps.resets is not None:
                starts = jax.vmap(lambda r, c: select(r, initial, c))(steps.resets, starts)
            if substitute is not None:
                starts = jax.vmap(lambda v, c: select(v, c, substitute_carry))(steps.valid, starts)
            steps = steps._replace(keys=None)
            by_step = starts, carries, kept, d_carries, d_outputs
            return retreat(state, x, by_step, (steps, drawn, _places(plan, piece, k)))

        state, xs = (d_carry, d_initial, parts.zeros()), (jnp.arange(piece.number), saved_of_piece)
        state, d_x = lax.scan(run_chunk, state, xs, reverse=not reverse, unroll=piece.number == 1)
        d_carry, d_initial, totals = state
        d_inputs.append(jax.tree.map(functools.partial(_without_overlap, plan, piece), d_x))
        d_parameters = _add(d_parameters, parts.pull(totals, wanted.parameters))
    return Arguments(d_parameters, d_carry, join(d_inputs, not reverse), d_initial)


def _edges(plan: Plan, whole: Saved) -> list[Saved]:
    """The carry before each chunk, from the carries of all steps."""
    (piece,) = plan.pieces
    size, others = piece.size, piece.number - 1

    def edges(first: Array, carries: Array) -> Array:
        if plan.options.reverse:
            return jnp.concatenate([carries[0, size::size][:others], first])
        return jnp.concatenate([first, carries[0, piece.start + size - 1 :: size][:others]])

    return [Saved(jax.tree.map(edges, whole.edges, whole.carries))]


class Places(NamedTuple):
    """For each step of a chunk: whether the backward pass has already processed it in the chunk
    before, and whether it is the first step that it has not processed.
    """

    is_done: Array
    is_first: Array


def _places(plan: Plan, piece: Piece, k: Array) -> Places | None:
    overlap = piece.number * piece.size - plan.num_steps if plan.is_flat else 0
    if overlap == 0:
        return None
    j = jnp.arange(piece.size)
    if plan.options.reverse:
        first = jnp.where(k == piece.number - 1, overlap, 0)
        return Places(j < first, j == first)
    first = piece.size - 1 - jnp.where(k == 0, overlap, 0)
    return Places(j > first, j == first)


def _without_overlap(plan: Plan, piece: Piece, by_chunk: Array) -> Array:
    """The steps of all chunks, each once."""
    steps = piece.flatten(by_chunk)
    overlap = steps.shape[0] - plan.num_steps if plan.is_flat else 0
    if overlap == 0:
        return steps
    if plan.options.reverse:
        done = (piece.number - 1) * piece.size
        return jnp.concatenate([steps[:done], steps[done + overlap :]])
    return jnp.concatenate([steps[: piece.size - overlap], steps[piece.size :]])


def _retreat_chunk(
    plan: Plan,
    passes: TwoPasses,
    parts: PartsOfChunk,
    initial: PyTree[Array],
    inputs_wanted: bool,
) -> Callable:
    """`(state, inputs, arrays by step, copied) -> (state, cotangent of the inputs)` of one chunk.

    The state has the cotangents of the carry, of the initial carry, and of the active arrays of the
    three parts.
    """
    reverse, unroll = not plan.options.reverse, plan.options.unroll

    def step(state: Any, xs: Any, d_next: PyTree[Array]):
        d_new, d_initial, total = state
        (start, new, kept, d_carry, d_output), ((valid, reset, *_), drawn, place) = xs
        if place is not None:
            # Nothing flows into the steps that an earlier chunk had, so they contribute zero.
            d_new = select(place.is_first, d_next, d_new)
            d_carry, d_output = select(~place.is_done, (d_carry, d_output), 0)
        d_new = _add(d_new, d_carry)
        d_held = None if valid is None else select(~valid, d_new, 0)
        d_new, d_output = select(valid, (d_new, d_output), 0)
        d_results = d_new, _fill(d_output, plan.outputs)
        pull = passes.second((parts.update.prepared, start, drawn), new, kept)
        d_prepared, d_start, d_gates = pull(d_results)
        d_active = [d_prepared[i] for i in parts.update.active]
        hidden_step = functools.partial(parts.hidden_step, parts.hidden_step.active_arrays)
        _, pull = jax.vjp(hidden_step, start)
        d_start = _add(d_start, *pull(_part_of(d_gates, plan.from_hidden)))

        d_old = d_start
        if reset is not None:
            d_old = select(~reset, d_start, 0)
            d_initial = jax.tree.map(
                lambda d, total: None if total is None else total + d,
                select(reset, d_start, 0),
                d_initial,
            )
        return (_add(d_old, d_held), d_initial, _add(total, d_active)), d_gates

    def retreat(state: Any, inputs: Array, by_step: Any, copied: Any):
        d_carry, d_initial, (total_input, total_hidden, total_update) = state
        overlaps = copied[-1] is not None
        d_last = jax.tree.map(jnp.zeros_like, d_carry) if overlaps else d_carry
        state, of_next = (d_last, d_initial, total_update), lambda s, xs: step(s, xs, d_carry)
        state, d_gates = scan(of_next, state, by_step, copied, reverse=reverse, unroll=unroll)
        d_carry, d_initial, total_update = state

        # All steps of the chunk at once: time is one more batch axis.
        starts = by_step[0]
        _, pull = jax.vjp(lambda a: parts.hidden(a, starts), parts.hidden.active_arrays)
        total_hidden = _add(total_hidden, *pull(_part_of(d_gates, plan.from_hidden)))
        if inputs_wanted:
            _, pull = jax.vjp(parts.input, parts.input.active_arrays, inputs)
            d_active, d_inputs = pull(_part_of(d_gates, plan.from_input))
        else:
            _, pull = jax.vjp(lambda a: parts.input(a, inputs), parts.input.active_arrays)
            (d_active,), d_inputs = pull(_part_of(d_gates, plan.from_input)), None
        totals = _add(total_input, d_active), total_hidden, total_update
        return (d_carry, d_initial, totals), d_inputs

    return retreat


def _starts(edge: PyTree[Array], carries: PyTree[Array], reverse: bool) -> PyTree[Array]:
    """The carry before each step of a chunk, from the first one and the carry after each step."""
    if reverse:
        return jax.tree.map(lambda e, c: jnp.concatenate([c[1:], e[None]]), edge, carries)
    return jax.tree.map(lambda e, c: jnp.concatenate([e[None], c[:-1]]), edge, carries)


def _add(total: PyTree[Array], term: PyTree[Array | None]) -> PyTree[Array]:
    """The sum. `None` as the term, or as one of its leaves, counts as zero."""
    if term is None:
        return total
    is_none = lambda leaf: leaf is None
    return jax.tree.map(lambda t, d: t if d is None else t + d, total, term, is_leaf=is_none)


def _fill(cotangents: PyTree[Array | None], like: PyTree[Any]) -> PyTree[Array]:
    """Zeros where a cotangent is `None`."""
    return jax.tree.map(lambda s, d: jnp.zeros_like(s) if d is None else d, like, cotangents)


def _part_of(d_gates: Any, part: Any) -> Any:
    """The cotangent of one of the two parts whose sum is the gates."""
    return map_gates(lambda d, p: None if p is None else d.astype(p.dtype), d_gates, part)
