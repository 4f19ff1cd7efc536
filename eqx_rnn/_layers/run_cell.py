from typing import Any

import jax
from jaxtyping import Array, PyTree

from .._base.cells import RNNCellBase, SequentialCell, is_factored, part_of_key
from .._scan import Steps, scan, select
from .._wrappers import LearnedCarry, MaskedCell, Residual
from .._wrappers.residual import check_outputs

Results = tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]


def run_cell(
    cell: RNNCellBase, carry: Any, inputs: Array, initial: Any, steps: Steps, **options: Any
) -> Results:
    """As `scan`, but the cells of a stack run one after another, each over all steps.

    Wrappers that change only inputs or outputs do it for all steps at once, and leave the inner
    cell as fast as alone. `cell` has begun.
    """
    if isinstance(cell, LearnedCarry):  # `carry` and `initial` hold what it has learned
        return run_cell(cell.cell, carry, inputs, initial, steps, **options)
    if isinstance(cell, Residual):
        final, (carries, outputs) = run_cell(cell.cell, carry, inputs, initial, steps, **options)
        check_outputs(*jax.tree.map(_one_step, (outputs, inputs)))
        return final, (carries, select(steps.valid, outputs + inputs, 0))
    if isinstance(cell, MaskedCell) and not is_factored(cell):
        inner = cell.after_inputs()
        if inner is not None:
            masked = jax.vmap(cell.drop_inputs)(inputs)
            return run_cell(inner, carry, masked, initial, steps, **options)
    if isinstance(cell, SequentialCell):
        return _run_in_turn(cell, carry, inputs, initial, steps, **options)
    return scan(cell, carry, inputs, initial, steps, **options)


def _run_in_turn(
    cell: SequentialCell, carry: Any, inputs: Array, initial: Any, steps: Steps, **options: Any
) -> Results:
    finals, all_carries, outputs = [], [], inputs
    for k, part in enumerate(cell.cells):
        keys = steps.keys
        if keys is not None:
            keys = jax.vmap(lambda key, k=k: part_of_key(key, cell.cells, k))(keys)
        start = None if initial is None else initial[k]
        own_steps = steps._replace(keys=keys)
        final, (carries, outputs) = run_cell(part, carry[k], outputs, start, own_steps, **options)
        finals.append(final)
        all_carries.append(carries)
    return tuple(finals), (tuple(all_carries), outputs)


def _one_step(steps: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(steps.shape[1:], steps.dtype)
