"""One step after another: the meaning of every faster way to run a cell."""

from typing import Any

import jax
import jax.lax as lax
from jaxtyping import Array, PyTree

from ..base import RNNCellBase
from ._chunks import join, pieces
from ._select import select
from ._steps import Steps


def scan(
    cell: RNNCellBase,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array],
    steps: Steps,
    *,
    reverse: bool,
    unroll: int,
    checkpoint: int | None,
    all_carries: bool,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    """As `eqx_rnn.scan.scan`."""

    def step(carry: PyTree[Array], xs: Any):
        x, (valid, reset, key) = xs
        start = carry if reset is None else select(reset, initial, carry)
        new_carry, outputs = cell(start, x, key=key)
        new_carry = select(valid, new_carry, carry)
        outputs = select(valid, outputs, 0)
        return new_carry, (new_carry if all_carries else None, outputs)

    def run(carry: PyTree[Array], xs: Any):
        return lax.scan(step, carry, xs, reverse=reverse, unroll=unroll)

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
