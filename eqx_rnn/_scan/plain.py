"""One step after another by `jax.lax.scan`. The factored engine returns the same numbers."""

from typing import Any

import jax
import jax.lax as lax
from jaxtyping import Array, PyTree

from .._base.cells import RNNCellBase
from .._base.contract import check_contract, dtypes_of, keep_dtypes, widen
from .._select import select
from .chunks import join, pieces
from .skipped import Substitute
from .steps import Options, Steps


class WiderError(Exception):
    """A step widens the carry. The argument has the dtypes that the carry must start with."""


def scan(
    cell: RNNCellBase,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array],
    steps: Steps,
    options: Options,
    *,
    substitute: Substitute | None,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    """`(final carry, (carries or None, outputs))`. Time is the first axis of all arrays.

    `initial` is the carry after a reset. Skipped steps are computed from `substitute`.
    """
    while True:
        try:
            return _scan(cell, carry, inputs, initial, steps, options, substitute)
        except WiderError as wider:
            carry = keep_dtypes(wider.args[0], carry)


def _scan(
    cell: RNNCellBase,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array],
    steps: Steps,
    options: Options,
    substitute: Substitute | None,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    reverse, unroll, checkpoint, all_carries, *_ = options
    dtypes = dtypes_of(carry)
    initial = None if initial is None else keep_dtypes(dtypes, initial)
    substitute_carry = None if substitute is None else keep_dtypes(dtypes, substitute.carry)

    def step(carry: PyTree[Array], xs: Any):
        x, (valid, reset, key, cut) = xs
        if cut is not None:
            carry = select(cut, lax.stop_gradient(carry), carry)
        start = carry if reset is None else select(reset, initial, carry)
        start = start if substitute is None else select(valid, start, substitute_carry)
        new_carry, outputs = cell(start, x, key=key)
        check_contract(cell, x, start, (), new_carry, outputs)
        wide = widen(start, new_carry)
        if wide != dtypes:
            raise WiderError(wide)
        new_carry = select(valid, keep_dtypes(dtypes, new_carry), carry)
        outputs = select(valid, outputs, 0)
        return new_carry, (new_carry if all_carries else None, outputs)

    def run(carry: PyTree[Array], xs: Any):
        return lax.scan(step, carry, xs, reverse=reverse, unroll=unroll)

    if inputs.shape[0] == 0:
        with jax.disable_jit(False):  # where `jit` is disabled, JAX refuses an empty scan
            return run(carry, (inputs, steps))
    if checkpoint is None:
        return run(carry, (inputs, steps))
    results = []
    for piece in pieces(inputs.shape[0], checkpoint, reverse):
        carry, result = lax.scan(
            jax.checkpoint(run, prevent_cse=False),
            carry,
            piece.cut((inputs, steps)),
            reverse=reverse,
        )
        results.append(jax.tree.map(piece.flatten, result))
    return carry, join(results, reverse)
