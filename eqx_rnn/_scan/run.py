"""Runs a cell over time by the engine that suits it. Time is the first axis of all arrays here."""

from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._base.cells import RNNCellBase, is_chunked
from .._base.contract import check_batch, dtypes_of, keep_dtypes
from .._kernels.sizes import is_known
from .._time import Method
from . import chunked, plain
from .align import align
from .choose import choose, why_plain
from .chunks import join, pieces
from .explain import current_report, describe_run
from .platform import current_platform
from .skipped import Substitute, find_substitute
from .steps import Options, Steps
from .unused import replace_unused, restore_unused


def scan(
    cell: RNNCellBase,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array],
    steps: Steps,
    *,
    reverse: bool,
    unroll: int | None,
    checkpoint: int | None,
    truncate: int | None,
    all_carries: bool,
    method: Method = "auto",
    chunk_size: int | None = None,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    """`(final carry, (carries or None, outputs))`, with steps in the order of the inputs.

    **Arguments:**

    - `initial`: the carry after a reset.
    - `steps`: see `Steps`.
    - `truncate`: the number of steps after which the gradient of the carry is cut.
    - `unroll`: the number of steps per iteration of the loop. `None` chooses for the platform.
    - `reverse`, `checkpoint`, `all_carries`, `method`, `chunk_size`: see `Options`.
    """
    platform = current_platform()
    if not is_known(inputs.shape[0]):
        unroll = 1
    elif unroll is None:
        unroll = platform.unroll
    options = Options(reverse, unroll, checkpoint, all_carries, method, chunk_size, platform)
    arrays = cell, carry, inputs, initial, steps
    # The reason depends on the environment. As a static argument, it is part of the key of the
    # compilation cache.
    reason = why_plain(cell)
    with current_report() as report:
        results = _compiled_scan(*arrays, options, truncate, reason)
        if report is not None:
            cell, carry, inputs, _, steps = align(*arrays)
            chosen = choose(reason, cell, carry, inputs, steps, options)
            report.append(describe_run(cell, chosen, options))
    return results


@eqx.filter_jit
def _compiled_scan(
    cell: RNNCellBase,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array],
    steps: Steps,
    options: Options,
    truncate: int | None,
    reason: str | None,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    """Compiled here, so that repeated calls outside `jax.jit` compile once."""
    cell, carry, inputs, initial, steps = align(cell, carry, inputs, initial, steps)
    batch = inputs.shape[1 : inputs.ndim - cell.num_feature_dims]
    check_batch(type(cell).__name__, "the carry", carry, batch)
    substitute = None
    if steps.valid is not None and inputs.shape[0] != 0:
        arguments = steps.valid, steps.resets, options.reverse, carry, inputs, initial
        substitute = find_substitute(*arguments)
        inputs = substitute.fill(steps.valid, inputs)
    if is_chunked(cell) and inputs.shape[0] != 0:
        given = carry
        carry = replace_unused(carry, initial, steps, substitute, options.reverse)
        arguments = cell, carry, inputs, initial, steps, options, truncate, reason, substitute
        final, (carries, outputs) = _run_pieces(*arguments)
        valid, reverse = steps.valid, options.reverse
        final, carries = restore_unused(given, final, carries, valid, reverse)
        return final, (carries, outputs)
    return _run_pieces(cell, carry, inputs, initial, steps, options, truncate, reason, substitute)


def _run_pieces(
    cell: RNNCellBase,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array],
    steps: Steps,
    options: Options,
    truncate: int | None,
    reason: str | None,
    substitute: Substitute | None,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    """One run, or one run per piece of `truncate` steps."""

    def run(carry: PyTree[Array], inputs: Array, steps: Steps):
        chosen = choose(reason, cell, carry, inputs, steps, options)
        arguments = cell, carry, inputs, initial, steps
        if isinstance(chosen, str):
            return plain.scan(*arguments, options, substitute=substitute)
        if isinstance(chosen, chunked.Chunks):
            return chunked.scan(chosen, *arguments, options, substitute=substitute)
        from .factored import engine as factored

        return factored.run(chosen, *arguments, substitute=substitute)

    num_steps = inputs.shape[0]
    if truncate is None or num_steps == 0:
        return run(carry, inputs, steps)
    if not is_known(num_steps):
        time = jnp.arange(num_steps)
        done = num_steps - 1 - time if options.reverse else time
        return run(carry, inputs, steps._replace(cuts=(done % truncate == 0) & (done > 0)))

    def piece_of_time(state: Any, xs: Any):
        is_first, carry = state
        cut = lambda c: jnp.where(is_first, c, lax.stop_gradient(c))
        carry, results = run(jax.tree.map(cut, carry), *xs)
        return (jnp.asarray(False), carry), results

    parts = pieces(num_steps, truncate, options.reverse)
    first = jax.tree.map(lambda a: a[0], parts[0].cut((inputs, steps)))
    carry = keep_dtypes(dtypes_of(jax.eval_shape(run, carry, *first)[0]), carry)
    state, results = (jnp.asarray(True), carry), []
    for piece in parts:
        xs = piece.cut((inputs, steps))
        state, result = lax.scan(piece_of_time, state, xs, reverse=options.reverse)
        results.append(jax.tree.map(piece.flatten, result))
    return state[1], join(results, options.reverse)
