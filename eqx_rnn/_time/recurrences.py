"""The recurrences behind the verbs of `Time`, for arrays with a time axis in front.

In all of them, a skipped step holds the state, and a reset selects the first state. `a = 0` is no
substitute for a reset, because it lets a NaN through. A step with a reset is never skipped.

The values that a cell gets for a skipped step are computed from the safe state: the one before the
valid step whose inputs the skipped step has. So state and inputs fit together, and a function of
both has a finite derivative.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from .._kernels.sizes import is_known
from .._select import select

Steps = Bool[Array, "steps *batch"] | None
Pair = tuple[Array, Array]


class Run(NamedTuple):
    """A recurrence that has run over a chunk.

    - `last`: the states after the last step.
    - `held`: the states after every step. A skipped step holds them.
    - `values`: the same for valid steps; for skipped steps the values after the safe state.
    """

    last: PyTree[Array]
    held: PyTree[Array]
    values: PyTree[Array]


def in_sequence(
    step: Callable[[Any, Any], Any],
    now: PyTree[Array],
    first: PyTree[Array],
    safe: PyTree[Array],
    xs: PyTree[Array],
    valid: Steps,
    resets: Steps,
    num_steps: Any,
) -> Run:
    """`h = step(h, x)`, one step after another."""

    def body(h: Any, xs: Any):
        x, valid, reset = xs
        start = h if reset is None else select(reset, first, h)
        new = step(select(valid, start, safe), x)
        held = select(valid, new, h)
        return held, (None if valid is None else held, new)

    xs = xs, valid, resets
    if is_known(num_steps) and num_steps == 1:  # one step of a cell, without a loop
        last, results = body(now, jax.tree.map(lambda a: a[0], xs))
        held, values = jax.tree.map(lambda a: a[None], results)
        return Run(last, values if held is None else held, values)
    if not jax.tree.leaves(xs):
        empty, of_empty = xs[0], step
        step = lambda h, _: of_empty(h, empty)
        xs = jnp.arange(num_steps), None, None
    last, (held, values) = lax.scan(body, now, xs)
    return Run(last, values if held is None else held, values)


def in_parallel(
    apply: Callable[[Array, Array, Array], Array],
    compose: Callable[[Pair, Pair], Pair],
    identity: tuple[float, float],
    now: Array,
    first: Array,
    safe: Array,
    pair: Pair,
    valid: Steps,
    resets: Steps,
) -> Run:
    """`h = apply(a, b, h)` by an associative scan.

    **Arguments:**

    - `compose`: from the pairs `(a, b)` of an earlier and a later step to one pair for both.
    - `identity`: the pair of a skipped step.
    - `pair`: `(a, b)` of all steps. `b` has the axes of the state; those of `a` may have size 1.
    """
    a, b = pair
    from_safe = None if valid is None else apply(a, b, safe[None])
    if resets is not None:  # the flag says that `b` is the state itself, whatever came before
        b = select(resets, apply(a, b, first[None]), b)
    if valid is not None:
        a, b = (
            select(valid, x, jnp.full_like(x, i)) for x, i in zip((a, b), identity, strict=True)
        )

    def combine(earlier: Any, later: Any):
        (flag, *own), (later_flag, *later_own) = earlier, later
        a, b = compose((own[0], own[1]), (later_own[0], later_own[1]))
        if flag is None:
            return None, a, b
        return flag | later_flag, a, select(later_flag, later_own[1], b)

    flags, a, b = lax.associative_scan(combine, (resets, a, b))
    held = apply(a, b, now[None])
    held = held if flags is None else select(flags, b, held)
    return Run(held[-1], held, select(valid, held, from_safe))


def step_linear(a: Array, b: Array, h: Array) -> Array:
    return a * h + b


def compose_linear(earlier: Pair, later: Pair) -> Pair:
    (a, b), (later_a, later_b) = earlier, later
    return a * later_a, later_a * b + later_b


def step_maximum(a: Array, b: Array, h: Array) -> Array:
    return jnp.maximum(h + a, b)


def compose_maximum(earlier: Pair, later: Pair) -> Pair:
    (a, b), (later_a, later_b) = earlier, later
    return a + later_a, jnp.maximum(b + later_a, later_b)
