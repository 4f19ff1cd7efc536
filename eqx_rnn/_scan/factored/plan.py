"""The plan of a factored run. It is made once from shapes; both passes read it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, PyTree

from ..._base.cells import FactoredCell
from ..._base.contract import check_contract, dtypes_of, widen
from ..._base.gates import add_gates
from ..._kernels.hoist import Hoisted, hoist
from ..._kernels.jaxprs import Traced, repeated_outputs, trace
from ..._kernels.sharding import struct, struct_of_step, struct_of_steps
from ..._kernels.sizes import is_known
from ..chunks import Piece, best_chunk_size, overlapping, pieces
from ..platform import CPU, Platform
from ..skipped import Substitute
from ..steps import Options, Steps
from .parts import Parts, parts_of, split_draws
from .refusals import refuse_inputs, refuse_parts


class Arguments(NamedTuple):
    """The arrays of a run that may have gradients."""

    parameters: list[Any]
    carry: PyTree
    inputs: Any
    initial: PyTree


class Fixed(NamedTuple):
    """The other arrays of a run. `constants` are the cell's arrays of other dtypes."""

    constants: list[Any]
    steps: Steps
    substitute: Substitute | None


class Plan(NamedTuple):
    """How to run one cell on arrays of one set of shapes. Holds shapes and functions, no arrays.

    - `parts`: the cell's three parts as functions of its arrays.
    - `num_steps`, `pieces`: the time axis and its pieces, in the order of processing.
    - `weights`, `carry`, `gates`, `from_input`, `from_hidden`, `outputs`: structure, shapes and
        dtypes at one step. The carry has the dtypes that it keeps from step to step.
    - `projects_inside`: whether the forward pass projects the inputs step by step.
    - `is_flat`: whether the forward pass has no work per chunk (a projection of inputs, random
        draws, `checkpoint`). Then it runs over all steps in one loop, and the chunks of the
        backward pass may overlap.
    - `project_inputs`: for each piece, the projection of the inputs of one chunk.
    - `project_input`, `project_hidden`, `update`: the three parts at one step.
    - `draw`: maps the keys of many steps to the arrays that `update` draws in these steps.
    - `drawn`: the drawn arrays of one step; `None` without keys.
    - `repeats`: for each leaf of the outputs, the index of the leaf of the new carry that it
        repeats, or `None`.
    """

    parts: Parts
    options: Options
    pieces: list[Piece]
    weights: list[jax.ShapeDtypeStruct]
    carry: PyTree[jax.ShapeDtypeStruct]
    gates: PyTree[jax.ShapeDtypeStruct]
    from_input: PyTree[jax.ShapeDtypeStruct]
    from_hidden: PyTree[jax.ShapeDtypeStruct]
    outputs: PyTree[jax.ShapeDtypeStruct]
    num_steps: int
    projects_inside: bool
    is_flat: bool
    project_inputs: list[Traced]
    project_input: Hoisted
    project_hidden: Hoisted
    update: Hoisted
    draw: Callable[[Array | None], list[Array] | None]
    drawn: list[jax.ShapeDtypeStruct] | None
    repeats: list[int | None]

    @property
    def forward_pieces(self) -> list[Piece]:
        """The pieces of the time axis for the forward pass, in the order of processing."""
        if not self.is_flat:
            return self.pieces
        return [Piece(0, 1, self.num_steps)]


def plan(
    cell: FactoredCell,
    carry: PyTree[Any],
    inputs: Array,
    steps: Steps,
    options: Options,
    *,
    chunk_size: int | None = None,
) -> Plan | str:
    """The plan of a run, or the reason why the plain scan must run the cell.

    `chunk_size` is the number of steps in a chunk. `None` chooses it from the sizes of the arrays.
    This function reads only the structure, shapes and dtypes of the arrays.
    """
    reason = refuse_inputs(cell.num_feature_dims, inputs, steps)
    if reason is not None:
        return reason
    parts = parts_of(cell)
    weights = [struct(a) for arrays in parts.take_apart(cell) for a in arrays]
    carry, step_inputs = jax.tree.map(struct, carry), struct_of_step(inputs)
    input_part = trace(parts.project_input, weights, step_inputs)
    hidden_part = trace(parts.project_hidden, weights, carry)
    from_input, from_hidden = input_part.results, hidden_part.results
    gates = jax.eval_shape(add_gates, from_input, from_hidden)
    draws = split_draws(parts, weights, carry, gates, steps.keys)
    update = trace(draws.update, weights, carry, gates, draws.drawn)
    new_carry, outputs = update.results
    check_contract(cell, step_inputs, carry, (from_input, from_hidden), new_carry, outputs)
    dtypes = widen(carry, new_carry)
    if dtypes != dtypes_of(carry):
        wide = jax.tree.map(lambda s, dtype: s.update(dtype=dtype), carry, dtypes)
        return plan(cell, wide, inputs, steps, options, chunk_size=chunk_size)
    traced = {
        "project_input": [input_part],
        "project_hidden": [hidden_part],
        "update": [*draws.traced, update],
    }
    reason = refuse_parts(traced, carry, gates, from_input, from_hidden)
    if reason is not None:
        return reason

    size = options.checkpoint or chunk_size
    if size is None:
        rows = math.prod(step_inputs.shape[:-1])
        sizes = rows, _num_bytes(gates), _num_bytes(weights)
        size = best_chunk_size(inputs.shape[0], *sizes, options.platform)
    project_input = hoist(input_part, len(weights))
    project_hidden = hoist(hidden_part, len(weights))
    inside = _projects_inside(project_input, project_hidden, weights, step_inputs, options.platform)
    is_flat = inside and options.checkpoint is None and not draws.drawn
    time = pieces(inputs.shape[0], size, options.reverse)
    if is_flat and len(time) > 1:
        time = [overlapping(inputs.shape[0], size, options.reverse)]
    of_chunk = lambda piece: struct_of_steps(step_inputs, piece.size)
    return Plan(
        parts=parts,
        options=options,
        pieces=time,
        weights=weights,
        carry=carry,
        gates=gates,
        from_input=from_input,
        from_hidden=from_hidden,
        outputs=outputs,
        num_steps=inputs.shape[0],
        projects_inside=inside,
        is_flat=is_flat,
        project_inputs=[trace(parts.project_input, weights, of_chunk(p)) for p in time],
        project_input=project_input,
        project_hidden=project_hidden,
        update=hoist(update, len(weights)),
        draw=draws.draw,
        drawn=draws.drawn,
        repeats=repeated_outputs(update, len(jax.tree.leaves(new_carry))),
    )


def _projects_inside(
    project_input: Hoisted,
    project_hidden: Hoisted,
    weights: list[Any],
    step_inputs: Any,
    platform: Platform,
) -> bool:
    """Whether projecting inputs step by step is faster than one product for many steps.

    If a step reads its gates from an array of many steps, XLA's CPU backend does not vectorise the
    `update`. A large product saves more time than that if there is a single row, or if the inputs
    have many more features than the hidden state. Other platforms always want large products.
    """
    if platform != CPU:
        return False
    sources = [set().union(*part.sources) for part in (project_input, project_hidden)]
    of_input, of_hidden = (sum(weights[i].size for i in indices) for indices in sources)
    rows = math.prod(step_inputs.shape[:-1])
    if not is_known(rows, of_input, of_hidden):
        return True
    if rows == 1:
        return of_input < 2**14
    return of_input < max(2**15, 2.5 * of_hidden)


def _num_bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
