"""A linear recurrence whose states are much larger than its inputs and outputs.

Without derivatives, the fastest loop on a CPU makes the coefficients of a step, the state after it
and its outputs in one pass, so no array has the states of several steps. With derivatives, the
coefficients of all steps of a chunk are made at once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.lax as lax
from jaxtyping import Array, PyTree

from .._kernels.sizes import is_known
from .._select import select
from .by_derivative import by_derivative
from .coefficients import is_one, per_step, wider
from .recurrences import Steps
from .states import Advanced, State


class Expansion(NamedTuple):
    """The functions of such a recurrence. All arrays have steps in front.

    - `coefficients`: from the weights and the inputs to the pair `(a, b)`.
    - `readout`: from the weights, the states after the steps and the inputs to the outputs.
    """

    coefficients: Callable[[Any, Any], tuple[Any, Any]]
    readout: Callable[[Any, Array, Any], PyTree[Array]]


def expand(
    time: Any, kind: Expansion, state: State, weights: PyTree, xs: PyTree[Array]
) -> tuple[Advanced, PyTree[Array]]:
    """The part of the new carry and the outputs, for `Time.expand`."""
    num_steps, batch, masks = time._num_steps, time._batch, time._masks
    if state.kept is not None or is_one(num_steps) or not is_known(num_steps):
        return at_once(time, kind, state, weights, xs)
    wide = state.astype(wider(state, *_structs(kind, weights, xs)))
    arrays, static = eqx.partition(weights, eqx.is_array)

    def unpack(arrays: Any) -> tuple[State, PyTree, PyTree]:
        values, weights, xs = arrays
        return State(*values), eqx.combine(weights, static), xs

    def steps(arrays: Any, masks: Any) -> tuple[Array, PyTree[Array]]:
        valid, resets = masks
        return in_steps(kind, *unpack(arrays), valid, resets, len(batch))

    def whole(arrays: Any, masks: Any) -> tuple[Array, PyTree[Array]]:
        own = type(time)(num_steps, batch, *masks, None, time._method)
        new, outputs = at_once(own, kind, *unpack(arrays))
        return new.now, outputs

    run = by_derivative(steps, whole, time._method)
    last, outputs = run(((wide.now, wide.first, wide.safe), arrays, xs), masks)
    history = lambda: at_once(time, kind, state, weights, xs)[0].history()
    return Advanced(state, last, history), outputs


def at_once(
    time: Any, kind: Expansion, state: State, weights: PyTree, xs: PyTree[Array]
) -> tuple[Advanced, PyTree[Array]]:
    """By `Time.linear`, with the states of all steps."""
    new, h = time.linear(state, *kind.coefficients(weights, xs))
    return new, kind.readout(weights, h, xs)


def in_steps(
    kind: Expansion,
    state: State,
    weights: PyTree,
    xs: PyTree[Array],
    valid: Steps,
    resets: Steps,
    num_batch_axes: int,
) -> tuple[Array, PyTree[Array]]:
    """The last state and the outputs of all steps, one step after another."""

    def body(h: Array, xs: Any) -> tuple[Array, PyTree[Array]]:
        x, valid, reset = xs
        x = jax.tree.map(lambda a: a[None], x)
        start = h if reset is None else select(reset, state.first, h)
        a, b = kind.coefficients(weights, x)
        _, (a, b) = per_step("expand", state, 1, num_batch_axes, a=a, b=b)
        a, b = (c if c.ndim == h.ndim else c[0] for c in (a, b))
        new = a * select(valid, start, state.safe) + b
        outputs = kind.readout(weights, new[None], x)
        return select(valid, new, h), jax.tree.map(lambda y: y[0], outputs)

    return lax.scan(body, state.now, (xs, valid, resets))


def _structs(kind: Expansion, weights: PyTree, xs: PyTree[Array]) -> tuple[Any, Any]:
    """The coefficients of one step, without values."""
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape[1:]), a.dtype), xs)
    return eqx.filter_eval_shape(lambda xs: kind.coefficients(weights, xs), one)
