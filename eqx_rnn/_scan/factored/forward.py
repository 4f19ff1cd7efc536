"""The forward pass of a factored run, and the arrays that it keeps for the backward pass."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..._base.gates import add_gates
from ..._kernels.hoist import Hoisted, hoist
from ..._kernels.jaxprs import Traced
from ..chunks import Piece, join
from ..select import select
from ..steps import Steps
from .plan import Arguments, Fixed, Plan


class Saved(NamedTuple):
    """The arrays of one piece of the time axis that the backward pass needs, by chunk.

    - `edges`: `(number, ...)`, the carry before each chunk.
    - `carries`, `gates`, `drawn`: `(number, size, ...)`, the carries after each step, and the gates
        and drawn arrays in each step. `None` if they are computed again or not needed.
    """

    edges: PyTree[Array]
    carries: PyTree[Array] | None
    gates: PyTree[Array] | None
    drawn: list[Array] | None


def forward(
    plan: Plan, arguments: Arguments, fixed: Fixed, *, save: bool, save_gates: bool = False
) -> tuple[Any, list[Saved | None]]:
    """`((final carry, (carries, outputs)), saved pieces)`.

    With `save`, skipped steps are computed from their substitute, because JAX may differentiate the
    saved arrays again.
    """
    parameters, carry, inputs, initial = arguments
    constants, steps, substitute = fixed
    weights, reverse = parameters + constants, plan.options.reverse
    substitute_carry = substitute.carry if save and substitute is not None else None
    keeps_steps = save and plan.options.checkpoint is None
    # The carries are kept anyway. Outputs that repeat one of their leaves are not kept twice.
    repeats = plan.repeats if keeps_steps else len(plan.repeats) * [None]
    is_flat = plan.projects_inside and plan.options.checkpoint is None and plan.drawn is None
    time = plan.pieces
    if is_flat:  # nothing is done chunk by chunk
        time = [piece.as_one_chunk() for piece in time] if save else [Piece(0, 1, len(inputs))]
    results, saved = [], []
    for k, piece in enumerate(time):
        advance = advance_chunk(plan, plan.project_inputs[k], weights, initial, substitute_carry)

        def run_chunk(carry: PyTree[Array], xs: Any, advance: Callable = advance):
            new_carry, (carries, gates, drawn, outputs) = advance(carry, *xs)
            leaves = zip(jax.tree.leaves(outputs), repeats, strict=True)
            outputs = [y if index is None else None for y, index in leaves]
            kept = None
            if save:
                by_step = carries, gates if save_gates else None, drawn
                kept = Saved(carry, *(by_step if keeps_steps else 3 * (None,)))
            return new_carry, (kept, carries if plan.options.all_carries else None, outputs)

        xs = piece.cut((inputs, steps))
        unroll = piece.number == 1
        carry, (kept, carries, outputs) = lax.scan(
            run_chunk, carry, xs, reverse=reverse, unroll=unroll
        )
        if kept is not None:
            known = jax.tree.leaves(kept.carries)
            leaves = zip(outputs, repeats, strict=True)
            outputs = [y if index is None else known[index] for y, index in leaves]
            if is_flat:
                kept = _cut(kept, plan.pieces[k], reverse)
        outputs = jax.tree.structure(plan.outputs).unflatten(outputs)
        results.append(jax.tree.map(piece.flatten, (carries, outputs)))
        saved.append(kept)
    carries, outputs = join(results, reverse)
    return (carry, (carries, select(steps.valid, outputs, 0))), saved


def _cut(kept: Saved, piece: Piece, reverse: bool) -> Saved:
    """Cuts the arrays of a piece that ran as one chunk into its chunks."""
    new = lambda a: a.reshape(piece.number, piece.size, *a.shape[2:])
    kept = kept._replace(carries=jax.tree.map(new, kept.carries), gates=jax.tree.map(new, kept.gates))

    def edges(first: Array, carries: Array) -> Array:
        """The carry before each chunk: the first one, and the last one of each earlier chunk."""
        if reverse:
            return jnp.concatenate([carries[1:, 0], first])
        return jnp.concatenate([first, carries[:-1, -1]])

    return kept._replace(edges=jax.tree.map(edges, kept.edges, kept.carries))


def advance_chunk(
    plan: Plan,
    project_inputs: Traced,
    weights: list[Array],
    initial: PyTree[Array],
    substitute_carry: PyTree[Array] | None,
) -> Callable:
    """`(carry, inputs, steps) -> (new carry, (carries, gates, drawn, outputs))` of one chunk.

    With `substitute_carry`, skipped steps are computed from it. If it is `None`, they are computed
    from the carry that they hold. That is faster, but the derivative may be infinite there.
    """
    if plan.projects_inside:
        project_input = _prepared(plan.project_input, weights)
    else:
        project_input = _prepared(hoist(project_inputs, len(weights)), weights)
    project_hidden = _prepared(plan.project_hidden, weights)
    update = _prepared(plan.update, weights)

    def step(carry: PyTree[Array], from_input: PyTree[Array], steps: Steps, drawn: Any):
        valid, reset, *_ = steps
        start = carry if reset is None else select(reset, initial, carry)
        start = start if substitute_carry is None else select(valid, start, substitute_carry)
        gates = add_gates(from_input, project_hidden(start))
        new_carry, outputs = update(start, gates, drawn)
        new_carry = select(valid, new_carry, carry)
        return new_carry, (new_carry, gates, outputs)

    def project_and_step(carry: PyTree[Array], xs: Any):
        x, *others = xs
        return step(carry, project_input(x), *others)

    def advance(carry: PyTree[Array], inputs: Array, steps: Steps):
        drawn, steps = plan.draw(steps.keys), steps._replace(keys=None)
        reverse, unroll = plan.options.reverse, plan.options.unroll
        scan = functools.partial(lax.scan, reverse=reverse, unroll=unroll)
        if plan.projects_inside:
            new_carry, results = scan(project_and_step, carry, (inputs, steps, drawn))
        else:
            of_step, of_next = slices(project_input(inputs), reverse)

            def step_from_slice(state: Any, xs: Any):
                (carry, from_input), (index, *others) = state, xs
                carry, results = step(carry, from_input, *others)
                return (carry, of_next(index)), results

            time = jnp.arange(inputs.shape[0])
            state = carry, of_step(time[-1 if reverse else 0])
            (new_carry, _), results = scan(step_from_slice, state, (time, steps, drawn))
        carries, gates, outputs = results
        return new_carry, (carries, gates, drawn, outputs)

    return advance


def slices(by_step: PyTree[Array], reverse: bool) -> tuple[Callable, Callable]:
    """Functions from the index of a step to its arrays, and to the arrays of the next step.

    A loop that carries the arrays of its next step reads them from a copy. If the `update` of a
    cell read them from the array of all steps, XLA's CPU backend would not vectorise it.
    """

    def of_step(index: Array) -> PyTree[Array]:
        at = lambda a: lax.dynamic_index_in_dim(a, index, keepdims=False)
        return jax.tree.map(at, by_step)

    last = jax.tree.leaves(by_step)[0].shape[0] - 1
    if reverse:
        return of_step, lambda index: of_step(jnp.maximum(index - 1, 0))
    return of_step, lambda index: of_step(jnp.minimum(index + 1, last))


def _prepared(part: Hoisted, weights: list[Array]) -> Callable:
    """A part of the cell as a function without its weights."""
    prepared = part.prepare(weights)
    return lambda *args: part.call(prepared, *args)
