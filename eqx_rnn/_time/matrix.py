"""The recurrence of a matrix state, `S' = decay S + key value^T - write (read^T S)`.

It has two forms. In steps, each step computes a new state. In blocks, the outputs of a block of
steps are products of matrices: those with the state before the block, and a sum over all pairs of
steps in the block. The derivative of the first form keeps the state of every step, that of the
second form keeps one state per block.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array

from .._kernels.separate import separate
from .._kernels.sizes import is_known
from .._select import select
from .by_derivative import by_derivative
from .coefficients import is_one, spread
from .matrix_block import Inputs, block
from .recurrences import Steps, in_sequence
from .states import State, hold

BLOCK = 64  # steps with one decay per head
CHANNEL_BLOCK = 16  # steps with one decay per key channel, whose pairs are larger


def step(state: Array, x: Inputs, before: bool, kept: Any = None) -> tuple[Array, Array]:
    """The state after one step, and its output. The axes of the state are `(..., key, value)`."""
    new = jnp.exp(x.log_decay)[..., None] * state + x.key[..., None] * x.value[..., None, :]
    if x.erase:
        read, write = x.erase
        new = new - write[..., None] * _apply(read, state)[..., None, :]
    new = hold(kept, state, new)
    return new, _apply(x.query, state if before else new)


def in_steps(
    x: Inputs,
    now: Array,
    first: Array,
    safe: Array,
    valid: Steps,
    resets: Steps,
    before: bool,
    kept: Any = None,
) -> tuple[Array, Array]:
    """The last state, and the outputs of all steps."""

    def body(state: Array, xs: Any) -> tuple[Array, Array]:
        x, valid, reset, kept = xs
        start = state if reset is None else select(reset, first, state)
        new, output = step(select(valid, start, safe), x, before, kept)
        return select(valid, new, state), output

    xs = x, valid, resets, kept
    if is_one(x.query.shape[0]):  # without a loop
        x = jax.tree.map(separate, x)
        last, output = body(now, jax.tree.map(lambda a: a[0], (x, valid, resets, kept)))
        return last, output[None]
    return lax.scan(body, now, xs)


def in_blocks(
    x: Inputs,
    now: Array,
    first: Array,
    safe: Array,
    valid: Steps,
    resets: Steps,
    before: bool,
) -> tuple[Array, Array]:
    """The same, one block of steps after another."""
    num_steps = x.query.shape[0]
    size = block_size(num_steps, BLOCK if x.log_decay.shape[-1] == 1 else CHANNEL_BLOCK)
    number, rest = divmod(num_steps, size)

    def inside(mask: Steps) -> Array | None:
        if mask is None:
            return None
        heads = range(mask.ndim - 1, now.ndim - 2)
        return lax.expand_dims(jnp.moveaxis(mask, 0, -1), heads)

    def body(state: Array, xs: Any) -> tuple[Array, Array]:
        x, valid, resets = xs
        x = jax.tree.map(lambda a: jnp.moveaxis(a, 0, -2), x)
        new, output = block(state, first, x, inside(valid), inside(resets), before)
        return new, jnp.moveaxis(output, -2, 0)

    xs, outputs, state = (x, valid, resets), [], now
    if number == 1:
        state, output = body(state, jax.tree.map(lambda a: a[:size], xs))
        outputs.append(output)
    else:
        cut = lambda a: a[: number * size].reshape(number, size, *a.shape[1:])
        again = jax.checkpoint(body, prevent_cse=False)  # the backward pass computes it again
        state, output = lax.scan(again, state, jax.tree.map(cut, xs))
        outputs.append(output.reshape(number * size, *output.shape[2:]))
    if rest:
        state, output = body(state, jax.tree.map(lambda a: a[number * size :], xs))
        outputs.append(output)
    output = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs)
    if valid is not None:
        output = select(valid, output, step(safe[None], x, before)[1])
    return state, output


def block_size(num_steps: int, most: int) -> int:
    """The number of steps in a block: about `most`, and a divisor if there is one nearby."""
    if num_steps <= most:
        return num_steps
    sizes = range(most // 2, most + most // 4)
    return min(sizes, key=lambda size: (num_steps % size > 0, abs(size - most)))


def run_matrix(
    x: Inputs, state: State, valid: Steps, resets: Steps, num_steps: Any, method: str, before: bool
) -> tuple[Array, Array, Callable[[], Array]]:
    """The last state, the outputs of all steps, and a function that returns all states."""
    kept = None if state.kept is None else spread(state.kept, num_steps, state)
    now, first, safe = values = state.now, state.first, state.safe
    if kept is not None or is_one(num_steps) or not is_known(num_steps):
        last, outputs = in_steps(x, now, first, safe, valid, resets, before, kept)
    else:
        own = {"before": before}
        steps = lambda arrays, masks: in_steps(*arrays, *masks, **own)
        blocks = lambda arrays, masks: in_blocks(*arrays, *masks, **own)
        run = by_derivative(steps, blocks, method)
        last, outputs = run((x, now, first, safe), (valid, resets))

    def history() -> Array:
        move = lambda state, xs: step(state, xs[0], False, xs[1])[0]
        return in_sequence(move, *values, (x, kept), valid, resets, num_steps).held

    return last, outputs, history


def _apply(vector: Array, state: Array) -> Array:
    """`vector^T state`."""
    return jnp.einsum("...k,...kv->...v", vector, state)
