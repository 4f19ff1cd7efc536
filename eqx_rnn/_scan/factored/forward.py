"""The forward pass of a factored run, and what it keeps for the backward pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.lax as lax
from jaxtyping import Array, PyTree

from ..._base.gates import add_gates
from ..chunks import join
from ..select import select
from ..steps import Steps
from .plan import Arguments, Fixed, Run


class Saved(NamedTuple):
    """What the backward pass needs of one piece of the time axis, by chunk.

    - `edges`: `(number, ...)`, the carry before each chunk.
    - `carries`, `gates`, `drawn`: `(number, size, ...)`, after and in each step; `None` if they are
        to be computed again, or not needed.
    """

    edges: PyTree[Array]
    carries: PyTree[Array] | None
    gates: PyTree[Array] | None
    drawn: list[Array] | None


def forward(
    run: Run, arguments: Arguments, fixed: Fixed, *, save: bool
) -> tuple[Any, list[Saved | None]]:
    """`((final carry, (carries, outputs)), what is saved)`.

    With `save`, skipped steps are computed from a harmless carry, because what is saved may be
    differentiated again.
    """
    parameters, carry, inputs, initial = arguments
    constants, steps, safe = fixed
    safe_carry = safe.carry if save and safe is not None else None
    keep = save and run.checkpoint is None
    # Outputs that are part of carries that are kept anyway.
    copies = run.copies if keep else len(run.copies) * [None]
    results, saved = [], []
    for piece in run.pieces:
        advance = through_a_chunk(run, parameters + constants, initial, safe_carry, piece.size)

        def chunk(carry: PyTree[Array], xs: Any, advance: Callable = advance):
            x, steps = xs
            new_carry, (carries, gates, drawn, outputs) = advance(carry, x, steps)
            outputs = jax.tree.leaves(outputs)
            outputs = [y if copy is None else None for y, copy in zip(outputs, copies, strict=True)]
            kept = None
            if save:
                gates = None if run.restore else gates
                kept = Saved(carry, *((carries, gates, drawn) if keep else 3 * (None,)))
            return new_carry, (kept, carries if run.all_carries else None, outputs)

        xs = piece.cut((inputs, steps))
        carry, (kept, carries, outputs) = lax.scan(chunk, carry, xs, reverse=run.reverse)
        if kept is not None:
            known = jax.tree.leaves(kept.carries)
            outputs = [
                y if copy is None else known[copy] for y, copy in zip(outputs, copies, strict=True)
            ]
        outputs = jax.tree.structure(run.outputs).unflatten(outputs)
        results.append(jax.tree.map(piece.flatten, (carries, outputs)))
        saved.append(kept)
    carries, outputs = join(results, run.reverse)
    return (carry, (carries, select(steps.valid, outputs, 0))), saved


def through_a_chunk(
    run: Run, weights: list[Array], initial: Any, safe_carry: Any, size: int
) -> Callable:
    """`(carry, inputs, steps) -> (new carry, (carries, gates, drawn, outputs))` of `size` steps.

    With `safe_carry`, skipped steps are computed from it. Without, they are computed from the carry
    that they hold, which is faster, but such gates have no safe derivative.
    """

    def ready(part: str, size: int | None = None) -> Callable:
        prepare, call, *_ = run.hoisted(part, size)
        prepared = prepare(weights)
        return lambda *args: call(prepared, *args)

    project_input = ready("project_input", size)
    project_hidden = ready("project_hidden")
    update = ready("update")

    def step(carry: PyTree[Array], xs: Any):
        from_input, (valid, reset, *_), drawn = xs
        start = carry if reset is None else select(reset, initial, carry)
        start = start if safe_carry is None else select(valid, start, safe_carry)
        gates = add_gates(from_input, project_hidden(start))
        new_carry, outputs = update(start, gates, drawn)
        new_carry = select(valid, new_carry, carry)
        return new_carry, (new_carry, gates, outputs)

    def advance(carry: PyTree[Array], inputs: Array, steps: Steps):
        drawn = run.draw(steps.keys)
        xs = project_input(inputs), steps._replace(keys=None), drawn
        new_carry, (carries, gates, outputs) = lax.scan(
            step, carry, xs, reverse=run.reverse, unroll=run.unroll
        )
        return new_carry, (carries, gates, drawn, outputs)

    return advance
