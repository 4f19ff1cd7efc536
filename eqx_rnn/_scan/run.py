"""Runs a cell over time. Time is the first axis of everything here."""

from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._base.cells import RNNCellBase, is_factored
from .._base.contract import check_batch, dtypes_of, keep_dtypes
from .._kernels.sizes import is_known
from . import plain
from .align import align
from .chunks import join, pieces
from .factored import engine as factored
from .harmless import harmless
from .select import select
from .steps import Steps


@eqx.filter_jit
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
    truncate: int | None,
    all_carries: bool,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    """The final carry; the carries (if asked for) and outputs of all steps, in the inputs' order.

    **Arguments:**

    - `initial`: the carry that a reset puts in place.
    - `steps`: see `Steps`.
    - `reverse`: from the last step to the first.
    - `unroll`: steps in one iteration of the loop.
    - `checkpoint`: how many steps make a chunk whose carries are computed again in the backward
        pass; `None` keeps all.
    - `truncate`: after how many steps the gradient of the carry is cut.

    Compiled here, so that a call outside `jax.jit` does not compile anew each time.
    """
    cell, carry, inputs, initial, steps = align(cell, carry, inputs, initial, steps)
    batch = inputs.shape[1 : inputs.ndim - cell.num_feature_dims]
    check_batch(type(cell).__name__, "the carry", carry, batch)
    safe = None
    if steps.valid is not None and inputs.shape[0] != 0:
        safe = harmless(steps.valid, steps.resets, reverse, carry, inputs, initial)
        inputs = select(steps.valid, inputs, jnp.broadcast_to(safe.inputs, inputs.shape))
    engine = factored if is_factored(cell) else plain

    def run(carry: PyTree[Array], inputs: Array, steps: Steps):
        return engine.scan(
            cell,  # pyright: ignore[reportArgumentType] (a `FactoredCell` where it must be)
            carry,
            inputs,
            initial,
            steps,
            safe=safe,
            reverse=reverse,
            unroll=unroll if is_known(inputs.shape[0]) else 1,
            checkpoint=checkpoint,
            all_carries=all_carries,
        )

    num_steps = inputs.shape[0]
    if truncate is None or num_steps == 0:
        return run(carry, inputs, steps)
    if not is_known(num_steps):
        time = jnp.arange(num_steps)
        done = num_steps - 1 - time if reverse else time
        return run(carry, inputs, steps._replace(cuts=(done % truncate == 0) & (done > 0)))

    def piece_of_time(state: Any, xs: Any):
        is_first, carry = state
        cut = lambda c: jnp.where(is_first, c, lax.stop_gradient(c))
        carry, results = run(jax.tree.map(cut, carry), *xs)
        return (jnp.asarray(False), carry), results

    parts = pieces(num_steps, truncate, reverse)
    first = jax.tree.map(lambda a: a[0], parts[0].cut((inputs, steps)))
    carry = keep_dtypes(dtypes_of(jax.eval_shape(run, carry, *first)[0]), carry)
    state, results = (jnp.asarray(True), carry), []
    for piece in parts:
        xs = piece.cut((inputs, steps))
        state, result = lax.scan(piece_of_time, state, xs, reverse=reverse)
        results.append(jax.tree.map(piece.flatten, result))
    return state[1], join(results, reverse)
