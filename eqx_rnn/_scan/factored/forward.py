"""The forward pass of a factored run, and the arrays that it keeps for the backward pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..._base.gates import add_gates
from ..._kernels.hoist import Hoisted, hoist
from ..._kernels.jaxprs import Traced
from ..._kernels.passes import TwoPasses
from ..._select import select
from ..chunks import join
from ..steps import Steps
from .loop import scan
from .plan import Arguments, Fixed, Plan


class Saved(NamedTuple):
    """The arrays of one of `plan.forward_pieces` that the backward pass needs, by chunk.

    - `edges`: `(number, ...)`, the carry before each chunk.
    - `carries`, `kept`, `drawn`: `(number, size, ...)`, the carries after each step, the arrays
        that the first pass of the update keeps, and the drawn arrays. `None` if they are computed
        again.
    """

    edges: PyTree[Array]
    carries: PyTree[Array] | None = None
    kept: list[Array] | None = None
    drawn: list[Array] | None = None


def forward(
    plan: Plan, arguments: Arguments, fixed: Fixed, passes: TwoPasses | None = None
) -> tuple[Any, list[Saved | None]]:
    """`((final carry, (carries, outputs)), saved pieces)`.

    With `passes`, arrays are saved for the backward pass. Then skipped steps are computed from
    their substitute, because JAX may differentiate the saved arrays again.
    """
    parameters, carry, inputs, initial = arguments
    constants, steps, substitute = fixed
    weights, reverse = parameters + constants, plan.options.reverse
    saves = passes is not None
    substitute_carry = substitute.carry if saves and substitute is not None else None
    keeps_steps = saves and plan.options.checkpoint is None
    # The carries are kept anyway. Outputs that repeat one of their leaves are not kept twice.
    repeats = plan.repeats if keeps_steps else len(plan.repeats) * [None]
    results, saved = [], []
    for k, piece in enumerate(plan.forward_pieces):
        arrays = weights, initial, substitute_carry
        advance = advance_chunk(plan, passes, plan.project_inputs[k], *arrays)

        def run_chunk(carry: PyTree[Array], xs: Any, advance: Callable = advance):
            new_carry, (carries, kept, drawn, outputs) = advance(carry, *xs)
            leaves = zip(jax.tree.leaves(outputs), repeats, strict=True)
            outputs = [y if index is None else None for y, index in leaves]
            saved = None
            if saves:
                saved = Saved(carry, carries, kept, drawn) if keeps_steps else Saved(carry)
            return new_carry, (saved, carries if plan.options.all_carries else None, outputs)

        xs, unroll = piece.cut((inputs, steps)), piece.number == 1
        carry, (saved_of_piece, carries, outputs) = lax.scan(
            run_chunk, carry, xs, reverse=reverse, unroll=unroll
        )
        if saved_of_piece is not None:
            known = jax.tree.leaves(saved_of_piece.carries)
            leaves = zip(outputs, repeats, strict=True)
            outputs = [y if index is None else known[index] for y, index in leaves]
        outputs = jax.tree.structure(plan.outputs).unflatten(outputs)
        results.append(jax.tree.map(piece.flatten, (carries, outputs)))
        saved.append(saved_of_piece)
    carries, outputs = join(results, reverse)
    return (carry, (carries, select(steps.valid, outputs, 0))), saved


def advance_chunk(
    plan: Plan,
    passes: TwoPasses | None,
    project_inputs: Traced,
    weights: list[Array],
    initial: PyTree[Array],
    substitute_carry: PyTree[Array] | None,
) -> Callable:
    """`(carry, inputs, steps) -> (new carry, (carries, kept, drawn, outputs))` of one chunk.

    `kept` is `None` without `passes`. With `substitute_carry`, skipped steps are computed from it.
    If it is `None`, they are computed from the carry that they hold. That is faster, but the
    derivative may be infinite there.
    """
    if plan.projects_inside:
        project_input = _prepared(plan.project_input, weights)
    else:
        project_input = _prepared(hoist(project_inputs, len(weights)), weights)
    project_hidden = _prepared(plan.project_hidden, weights)
    prepared = plan.update.prepare(weights)

    def update(carry: PyTree[Array], gates: PyTree[Array], drawn: Any):
        if passes is None:
            return *plan.update.call(prepared, carry, gates, drawn), None
        return passes.first((prepared, carry, drawn), gates)

    def step(carry: PyTree[Array], xs: Any):
        x, (from_input, (valid, reset, *_), drawn) = xs
        if plan.projects_inside:
            from_input = project_input(x)
        start = carry if reset is None else select(reset, initial, carry)
        start = start if substitute_carry is None else select(valid, start, substitute_carry)
        gates = add_gates(from_input, project_hidden(start))
        new_carry, outputs, kept = update(start, gates, drawn)
        new_carry = select(valid, new_carry, carry)
        return new_carry, (new_carry, kept, outputs)

    def step_and_hold_later(state: Any, xs: Any):
        """Holds the carries of skipped steps at the start of the next step.

        If `update` were followed by the selection, XLA's CPU backend would compute it twice: for
        the outputs, and for the selected carry.
        """
        x, (from_input, steps, drawn) = xs
        carry = select(*state)  # (whether the last step was valid, its new carry, its old carry)
        new_carry, results = step(carry, (x, (from_input, steps._replace(valid=None), drawn)))
        return (steps.valid, new_carry, carry), results

    def advance(carry: PyTree[Array], inputs: Array, steps: Steps):
        drawn, steps = plan.draw(steps.keys), steps._replace(keys=None)
        x, gates = (inputs, None) if plan.projects_inside else (None, project_input(inputs))
        copied = gates, steps, drawn
        options = {"reverse": plan.options.reverse, "unroll": plan.options.unroll}
        if steps.valid is not None and passes is None and not plan.options.all_carries:
            state = jnp.ones_like(steps.valid[0]), carry, carry
            state, results = scan(step_and_hold_later, state, x, copied, **options)
            new_carry = select(*state)
        else:
            new_carry, results = scan(step, carry, x, copied, **options)
        carries, kept, outputs = results
        return new_carry, (carries, kept, drawn, outputs)

    return advance


def _prepared(part: Hoisted, weights: list[Array]) -> Callable:
    """A part of the cell as a function without its weights."""
    prepared = part.prepare(weights)
    return lambda *args: part.call(prepared, *args)
