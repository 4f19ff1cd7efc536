"""The cell's three parts, prepared for derivatives with respect to carries, inputs and weights."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..._kernels.forms import axis_for_rows, axis_for_weight
from ..._kernels.hoist import Hoisted, hoist
from ..._kernels.jaxprs import Traced, trace
from ..._kernels.passes import TwoPasses, in_two_passes
from ..._kernels.sharding import struct_of_steps
from .plan import Plan


class Part(NamedTuple):
    """One of the three parts, as a function of the arrays that are prepared from its weights.

    The gradients of prepared arrays, such as a transposed copy, are summed over the chunks. Only
    these sums are pulled back to the weights.

    - `wanted`: the indices of the weights that need gradients.
    - `active`: the indices of the prepared arrays that gradients flow through.
    """

    hoisted: Hoisted
    weights: list[Array]
    prepared: list[Array]
    wanted: list[int]
    active: list[int]

    @property
    def active_arrays(self) -> list[Array]:
        return [self.prepared[i] for i in self.active]

    def __call__(self, active_arrays: list[Array], *args: Any) -> Any:
        values = dict(zip(self.active, active_arrays, strict=True))
        return self.hoisted.call([values.get(i, p) for i, p in enumerate(self.prepared)], *args)

    def pull(self, cotangents: list[Array]) -> dict[int, Array]:
        """Maps cotangents of `active_arrays` to cotangents of the wanted weights, by index."""

        def prepare(wanted: list[Array]) -> list[Array]:
            values = dict(zip(self.wanted, wanted, strict=True))
            weights = [values.get(i, w) for i, w in enumerate(self.weights)]
            prepared = self.hoisted.prepare(weights)
            return [prepared[i] for i in self.active]

        _, pull = jax.vjp(prepare, [self.weights[i] for i in self.wanted])
        return dict(zip(self.wanted, pull(cotangents)[0], strict=True))


class PartsOfChunk(NamedTuple):
    """The three parts for one piece of the time axis.

    - `input`, `hidden`: the projections of all steps of a chunk, for the gradients of weights and
        inputs.
    - `hidden_step`: the projection of the carry of one step, for the gradient of the carry.
    """

    input: Part
    hidden: Part
    update: Part
    hidden_step: Part

    def zeros(self) -> tuple[list[Array], ...]:
        """Zeros for the gradients of the active arrays of `input`, `hidden` and `update`."""
        return tuple([jnp.zeros_like(a) for a in part.active_arrays] for part in self[:3])

    def pull(self, totals: tuple[list[Array], ...], wanted: list[bool]) -> list[Any]:
        """Maps sums of gradients, in the form of `zeros`, to gradients of the wanted weights."""
        pulled = [part.pull(total) for part, total in zip(self[:3], totals, strict=True)]
        return [sum(d[i] for d in pulled) if w else None for i, w in enumerate(wanted)]


def parts_of_chunk(
    plan: Plan, weights: list[Array], wanted: list[bool], size: int, project_inputs: Traced
) -> PartsOfChunk:
    """The parts for chunks of `size` steps; `wanted` says which weights need gradients."""
    carries = jax.tree.map(lambda s: struct_of_steps(s, size), plan.carry)
    all_steps = trace(plan.parts.project_hidden, plan.weights, carries)
    one_step = trace(plan.parts.project_hidden, plan.weights, plan.carry)

    def prepare(hoisted: Hoisted) -> Part:
        prepared = hoisted.prepare(weights)
        indices = [i for i, is_wanted in enumerate(wanted) if is_wanted]
        active = [
            i
            for i, source in enumerate(hoisted.sources)
            if source.intersection(indices) and eqx.is_inexact_array(prepared[i])
        ]
        return Part(hoisted, weights, prepared, indices, active)

    return PartsOfChunk(
        prepare(hoist(project_inputs, len(weights), axis_for_weight)),
        prepare(hoist(all_steps, len(weights), axis_for_weight)),
        prepare(plan.update),
        prepare(hoist(one_step, len(weights), axis_for_rows)),
    )


def update_in_two_passes(plan: Plan, skips: bool) -> TwoPasses:
    """`update` for the forward pass, and its transpose for the backward pass.

    - `first`: `((prepared arrays, carry, drawn), gates) -> (new carry, outputs, kept)`.
    - `second`: `((prepared arrays, carry, drawn), new carry, kept) -> pull`, where `pull` maps
        cotangents of new carry and outputs to those of the inexact prepared arrays, carry and
        gates.

    For an LSTM, the four activated gates are kept and not the sums that they are computed from: as
    many arrays, and no activation is computed twice. For an Elman cell, `h' = tanh(g)`, the
    derivative follows from `h'`, which is kept anyway. If a run `skips` steps, it does not keep the
    results of skipped steps, so they cannot be used.
    """
    prepared = jax.eval_shape(plan.update.prepare, plan.weights)

    def update_and_pull(known: Any, gates: PyTree):
        prepared, carry, drawn = known
        inexact, others = eqx.partition(prepared, eqx.is_inexact_array)

        def update(inexact: list[Any], carry: PyTree, gates: PyTree):
            return plan.update.call(eqx.combine(inexact, others), carry, gates, drawn)

        (new_carry, outputs), pull = jax.vjp(update, inexact, carry, gates)
        return new_carry, outputs, pull

    known = prepared, plan.carry, plan.drawn
    return in_two_passes(update_and_pull, known, plan.gates, with_results=not skips)
