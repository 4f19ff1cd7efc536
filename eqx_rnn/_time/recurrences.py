"""The recurrences behind the verbs of `Time`, for arrays with a time axis in front.

In all of them, a skipped step holds the state, and a reset selects the first state. `a = 0` is no
substitute for a reset, because it lets a NaN through. A step with a reset is never skipped.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from .._select import select

Steps = Bool[Array, "steps *batch"] | None
Pair = tuple[Array, Array]


def in_sequence(
    step: Callable[[Any, Any], Any],
    now: PyTree[Array],
    first: PyTree[Array],
    xs: PyTree[Array],
    valid: Steps,
    resets: Steps,
    num_steps: Any,
) -> tuple[PyTree[Array], PyTree[Array]]:
    """`h = step(h, x)`: the state after the last step, and the states after all steps."""

    def body(h: Any, xs: Any):
        x, valid, reset = xs
        start = h if reset is None else select(reset, first, h)
        new = select(valid, step(start, x), h)
        return new, new

    xs = xs, valid, resets
    if isinstance(num_steps, int) and num_steps == 1:  # one step of a cell, without a loop
        last, _ = body(now, jax.tree.map(lambda a: a[0], xs))
        return last, jax.tree.map(lambda a: a[None], last)
    return lax.scan(body, now, xs, length=num_steps)


def in_parallel(
    apply: Callable[[Array, Array, Array], Array],
    compose: Callable[[Pair, Pair], Pair],
    identity: tuple[float, float],
    now: Array,
    first: Array,
    pair: Pair,
    valid: Steps,
    resets: Steps,
) -> Pair:
    """`h = apply(a, b, h)` by an associative scan: the last state, and the states of all steps.

    **Arguments:**

    - `compose`: from the pairs `(a, b)` of an earlier and a later step to one pair for both.
    - `identity`: the pair of a skipped step.
    - `pair`: `(a, b)` of all steps. `b` has the axes of the state; those of `a` may have size 1.
    """
    a, b = pair
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
    h = apply(a, b, now[None])
    h = h if flags is None else select(flags, b, h)
    return h[-1], h


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
