"""One step after another: the meaning of every faster way to run a cell."""

from typing import Any

import jax
import jax.lax as lax
from jaxtyping import Array, PyTree

from .._contract import check_contract, dtypes_of, keep_dtypes, widen
from ..base import RNNCellBase
from ._chunks import join, pieces
from ._harmless import Harmless
from ._select import select
from ._steps import Steps
from ._types import one


def scan(
    cell: RNNCellBase,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array],
    steps: Steps,
    *,
    safe: Harmless | None,
    reverse: bool,
    unroll: int,
    checkpoint: int | None,
    all_carries: bool,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    """As `eqx_rnn.scan.scan`; `safe` says where skipped steps are computed from."""
    carry = _settle(cell, carry, inputs, steps)
    dtypes = dtypes_of(carry)
    initial = None if initial is None else keep_dtypes(dtypes, initial)
    safe_carry = None if safe is None else keep_dtypes(dtypes, safe.carry)

    def step(carry: PyTree[Array], xs: Any):
        x, (valid, reset, key, cut) = xs
        if cut is not None:
            carry = select(cut, lax.stop_gradient(carry), carry)
        start = carry if reset is None else select(reset, initial, carry)
        start = start if safe is None else select(valid, start, safe_carry)
        new_carry, outputs = cell(start, x, key=key)
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


def _settle(cell: RNNCellBase, carry: PyTree[Array], inputs: Array, steps: Steps) -> PyTree[Array]:
    """The carry in the dtypes that it keeps. Checks a step of the cell on the way."""
    x, key = jax.tree.map(one, (inputs, steps.keys))
    while True:
        new_carry, outputs = jax.eval_shape(lambda c, x, k: cell(c, x, key=k), carry, x, key)
        check_contract(cell, x, carry, (), new_carry, outputs)
        dtypes = widen(carry, new_carry)
        if dtypes == dtypes_of(carry):
            return carry
        carry = keep_dtypes(dtypes, carry)
