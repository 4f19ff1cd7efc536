"""The transpose of a factored run."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..._base.gates import add_gates, map_gates
from ..._kernels.hoist import Hoisted
from ..chunks import join
from ..harmless import Harmless
from ..select import select
from .forward import Saved, through_a_chunk
from .plan import Arguments, Fixed, Run


def backward(
    run: Run,
    arguments: Arguments,
    fixed: Fixed,
    saved: list[Saved],
    cotangents: Any,
    wanted: Arguments,
) -> Arguments:
    """The cotangents of the arguments from those of `(final carry, carries, outputs)`.

    A cotangent that is `None` is zero; of the arguments, `wanted` tells whose are asked for.
    """
    parameters, _, inputs, initial = arguments
    constants, steps, safe = fixed
    d_carry, d_carries, d_outputs = cotangents
    weights = parameters + constants
    zeros = lambda a, w: jnp.zeros_like(a) if w else None
    d_carry = fill(d_carry, run.carry)
    d_parameters = jax.tree.map(zeros, parameters, wanted.parameters)
    d_initial = jax.tree.map(zeros, initial, wanted.initial)
    safe_carry = None if safe is None else safe.carry
    safe_new = None if safe is None or not run.restore else new_of_harmless(run, weights, safe)
    d_inputs = []
    for piece, kept in reversed(list(zip(run.pieces, saved, strict=True))):
        parts = Parts(run, weights, wanted.parameters, piece.size)
        advance = None
        if run.checkpoint is not None:
            advance = through_a_chunk(run, weights, initial, safe_carry, piece.size)
        go_back = back_through_a_chunk(run, parts, initial, safe_new, wanted.inputs)

        def chunk(state: Any, xs: Any, advance: Any = advance, go_back: Callable = go_back):
            x, steps, (edge, carries, gates, drawn), d_carries, d_outputs = xs
            if advance is not None:
                _, (carries, gates, drawn, _) = advance(edge, x, steps)
            starts = shift(edge, carries, run.reverse)
            if steps.resets is not None:
                starts = jax.vmap(lambda r, c: select(r, initial, c))(steps.resets, starts)
            gates_or_new = carries if run.restore else gates
            if safe is not None:
                starts = jax.vmap(lambda v, c: select(v, c, safe_carry))(steps.valid, starts)
            steps = steps._replace(keys=None)
            needs = starts, gates_or_new, steps, drawn, d_carries, d_outputs
            return go_back(state, x, needs)

        xs = *piece.cut((inputs, steps)), kept, *piece.cut((d_carries, d_outputs))
        state = d_carry, d_initial, parts.zeros
        state, d_x = lax.scan(chunk, state, xs, reverse=not run.reverse)
        d_carry, d_initial, totals = state
        d_inputs.append(jax.tree.map(piece.flatten, d_x))
        d_parameters = add(d_parameters, parts.pull(totals))
    return Arguments(d_parameters, d_carry, join(d_inputs, not run.reverse), d_initial)


def new_of_harmless(run: Run, weights: list[Array], safe: Harmless) -> PyTree[Array]:
    """The new carry of a step that is computed from a harmless place."""
    from_input = run.project_input(weights, safe.inputs)
    gates = add_gates(from_input, run.project_hidden(weights, safe.carry))
    drawn = None if run.drawn is None else []  # `restore` is `None` if a skipped step draws
    return run.update(weights, safe.carry, gates, drawn)[0]


class Part:
    """One of the cell's three parts, as a function of what it has prepared of the weights.

    Gradients are summed over the chunks for what is prepared (a transposed copy, say), and only
    then for the weights that it was prepared from.
    """

    def __init__(self, hoisted: Hoisted, weights: list[Array], wanted: list[bool]):
        self.prepare, self.call, sources, _ = hoisted
        self.prepared = self.prepare(weights)
        self.weights, self.wanted = weights, [i for i, w in enumerate(wanted) if w]
        self.moving = [
            i
            for i, source in enumerate(sources)
            if source.intersection(self.wanted) and eqx.is_inexact_array(self.prepared[i])
        ]
        self.some = [self.prepared[i] for i in self.moving]

    def __call__(self, some: list[Array], *args: Any) -> Any:
        values = dict(zip(self.moving, some, strict=True))
        return self.call([values.get(i, p) for i, p in enumerate(self.prepared)], *args)

    def pull(self, d_some: list[Array]) -> dict[int, Array]:
        """From the cotangents of `some` to those of the weights, by their indices."""

        def prepare(moved: list[Array]) -> list[Array]:
            values = dict(zip(self.wanted, moved, strict=True))
            prepared = self.prepare([values.get(i, w) for i, w in enumerate(self.weights)])
            return [prepared[i] for i in self.moving]

        _, pull = jax.vjp(prepare, [self.weights[i] for i in self.wanted])
        return dict(zip(self.wanted, pull(d_some)[0], strict=True))


class Parts:
    """The three of them, for chunks of `size` steps."""

    def __init__(self, run: Run, weights: list[Array], wanted: list[bool], size: int):
        self.input = Part(run.hoisted("project_input", size), weights, wanted)
        self.hidden = Part(run.hoisted("project_hidden", size), weights, wanted)
        self.update = Part(run.hoisted("update"), weights, wanted)
        self.hidden_at_one_step = lambda carry: run.project_hidden(weights, carry)
        is_row = all(math.prod(leaf.shape[:-1]) == 1 for leaf in jax.tree.leaves(run.carry))
        at_one_step = run.hoisted("project_hidden")
        if is_row or at_one_step.has_fast_transpose:
            # A single row times the weights as they are stored takes XLA's slowest path; as many
            # rows as there are in a batch, times the copy, would be the slower way round. And only
            # what is prepared has transposes of ours.
            hidden = Part(at_one_step, weights, wanted)
            self.hidden_at_one_step = lambda carry: hidden(hidden.some, carry)
        self.wanted = wanted

    @property
    def zeros(self) -> tuple[list[Array], ...]:
        parts = self.input, self.hidden, self.update
        return tuple([jnp.zeros_like(p) for p in part.some] for part in parts)

    def pull(self, totals: tuple[list[Array], ...]) -> list[Any]:
        parts = self.input, self.hidden, self.update
        pulled = [part.pull(total) for part, total in zip(parts, totals, strict=True)]
        return [sum(d[i] for d in pulled) if w else None for i, w in enumerate(self.wanted)]


def back_through_a_chunk(
    run: Run, parts: Parts, initial: Any, safe_new: Any, inputs_wanted: bool
) -> Callable:
    """`(state, inputs, what its steps need) -> (state, cotangent of the inputs)`.

    The state: the cotangent of the carry, that of the initial carry and those of the parameters.
    """

    def step(state: Any, xs: Any):
        d_new, d_initial, total = state
        start, gates_or_new, (valid, reset, *_), drawn, d_carry, d_output = xs
        d_new = add(d_new, d_carry)
        d_held = None if valid is None else select(~valid, d_new, 0)
        d_new, d_output = select(valid, (d_new, d_output), 0)
        if safe_new is not None:
            gates_or_new = select(valid, gates_or_new, safe_new)

        d_results = d_new, fill(d_output, run.outputs)
        if run.restore:
            d_some, (d_start, d_gates) = [], run.restore(start, gates_or_new, drawn)(d_results)
        else:
            update = lambda some, start, gates: parts.update(some, start, gates, drawn)
            _, pull = jax.vjp(update, parts.update.some, start, gates_or_new)
            d_some, d_start, d_gates = pull(d_results)
        _, pull = jax.vjp(parts.hidden_at_one_step, start)
        d_start = add(d_start, *pull(part_of(d_gates, run.from_hidden)))

        d_old = d_start
        if reset is not None:
            d_old = select(~reset, d_start, 0)
            d_initial = jax.tree.map(
                lambda d, total: None if total is None else total + d,
                select(reset, d_start, 0),
                d_initial,
            )
        return (add(d_old, d_held), d_initial, add(total, d_some)), d_gates

    def go_back(state: Any, inputs: Array, needs: Any):
        d_carry, d_initial, (total_input, total_hidden, total_update) = state
        state = d_carry, d_initial, total_update
        (d_carry, d_initial, total_update), d_gates = lax.scan(
            step, state, needs, reverse=not run.reverse, unroll=run.unroll
        )

        # All steps of the chunk at once: time is one more batch axis.
        starts = needs[0]
        _, pull = jax.vjp(lambda some: parts.hidden(some, starts), parts.hidden.some)
        total_hidden = add(total_hidden, *pull(part_of(d_gates, run.from_hidden)))
        if inputs_wanted:
            _, pull = jax.vjp(parts.input, parts.input.some, inputs)
            d_some, d_inputs = pull(part_of(d_gates, run.from_input))
        else:
            _, pull = jax.vjp(lambda some: parts.input(some, inputs), parts.input.some)
            (d_some,), d_inputs = pull(part_of(d_gates, run.from_input)), None
        totals = add(total_input, d_some), total_hidden, total_update
        return (d_carry, d_initial, totals), d_inputs

    return go_back


def shift(edge: PyTree[Array], carries: PyTree[Array], reverse: bool) -> PyTree[Array]:
    """The carries before each step of a chunk, from the one before it and those after each."""
    if reverse:
        return jax.tree.map(lambda e, c: jnp.concatenate([c[1:], e[None]]), edge, carries)
    return jax.tree.map(lambda e, c: jnp.concatenate([e[None], c[:-1]]), edge, carries)


def add(total: PyTree[Array], term: PyTree[Array | None]) -> PyTree[Array]:
    """The sum, a term or a leaf of it that is `None` being zero."""
    if term is None:
        return total
    is_none = lambda leaf: leaf is None
    return jax.tree.map(lambda t, d: t if d is None else t + d, total, term, is_leaf=is_none)


def fill(cotangents: PyTree[Array | None], like: PyTree[Any]) -> PyTree[Array]:
    """Zeros where a cotangent is `None`."""
    return jax.tree.map(lambda s, d: jnp.zeros_like(s) if d is None else d, like, cotangents)


def part_of(d_gates: Any, part: Any) -> Any:
    """The cotangent of one of the two parts whose sum the gates are."""
    return map_gates(lambda d, p: None if p is None else d.astype(p.dtype), d_gates, part)
