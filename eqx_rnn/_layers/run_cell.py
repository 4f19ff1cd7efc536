"""Runs any cell over time, either step by step or by running its inner cells."""

from typing import Any

from jaxtyping import Array

from .._base.cells import ComposedCell, Results, RNNCellBase
from .._scan import Steps, scan
from .._select import select


def run_cell(
    cell: RNNCellBase, carry: Any, inputs: Array, initial: Any, steps: Steps, **options: Any
) -> Results:
    """Like `scan`, but for any cell. `cell` has begun."""

    def run(
        cell: RNNCellBase, carry: Any, inputs: Any, initial: Any, keys: Array | None
    ) -> Results:
        if isinstance(cell, ComposedCell):
            results = cell.run_inside(run, carry, inputs, initial, keys)
            if results is not None:
                return results
        return scan(cell, carry, inputs, initial, steps._replace(keys=keys), **options)

    final, (carries, outputs) = run(cell, carry, inputs, initial, steps.keys)
    if isinstance(cell, ComposedCell):  # a cell may add something to the zeros of skipped steps
        outputs = select(steps.valid, outputs, 0)
    return final, (carries, outputs)
