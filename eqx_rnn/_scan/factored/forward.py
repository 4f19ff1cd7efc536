"""The forward pass of a factored run, and the arrays that it keeps for the backward pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.lax as lax
from jaxtyping import Array, PyTree

from ..._base.gates import add_gates
from ..._kernels.hoist import Hoisted
from ..chunks import join
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
    results, saved = [], []
    for piece, project_input in zip(plan.pieces, plan.project_input, strict=True):
        advance = advance_chunk(plan, project_input, weights, initial, substitute_carry)

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
        carry, (kept, carries, outputs) = lax.scan(run_chunk, carry, xs, reverse=reverse)
        if kept is not None:
            known = jax.tree.leaves(kept.carries)
            leaves = zip(outputs, repeats, strict=True)
            outputs = [y if index is None else known[index] for y, index in leaves]
        outputs = jax.tree.structure(plan.outputs).unflatten(outputs)
        results.append(jax.tree.map(piece.flatten, (carries, outputs)))
        saved.append(kept)
    carries, outputs = join(results, reverse)
    return (carry, (carries, select(steps.valid, outputs, 0))), saved


def advance_chunk(
    plan: Plan,
    project_input: Hoisted,
    weights: list[Array],
    initial: PyTree[Array],
    substitute_carry: PyTree[Array] | None,
) -> Callable:
    """`(carry, inputs, steps) -> (new carry, (carries, gates, drawn, outputs))` of one chunk.

    With `substitute_carry`, skipped steps are computed from it. If it is `None`, they are computed
    from the carry that they hold. That is faster, but the derivative may be infinite there.
    """
    project_inputs = _prepared(project_input, weights)
    project_hidden = _prepared(plan.project_hidden, weights)
    update = _prepared(plan.update, weights)

    def step(carry: PyTree[Array], xs: Any):
        from_input, (valid, reset, *_), drawn = xs
        start = carry if reset is None else select(reset, initial, carry)
        start = start if substitute_carry is None else select(valid, start, substitute_carry)
        gates = add_gates(from_input, project_hidden(start))
        new_carry, outputs = update(start, gates, drawn)
        new_carry = select(valid, new_carry, carry)
        return new_carry, (new_carry, gates, outputs)

    def advance(carry: PyTree[Array], inputs: Array, steps: Steps):
        drawn = plan.draw(steps.keys)
        xs = project_inputs(inputs), steps._replace(keys=None), drawn
        reverse, unroll = plan.options.reverse, plan.options.unroll
        new_carry, results = lax.scan(step, carry, xs, reverse=reverse, unroll=unroll)
        carries, gates, outputs = results
        return new_carry, (carries, gates, drawn, outputs)

    return advance


def _prepared(part: Hoisted, weights: list[Array]) -> Callable:
    """A part of the cell as a function without its weights."""
    prepared = part.prepare(weights)
    return lambda *args: part.call(prepared, *args)
