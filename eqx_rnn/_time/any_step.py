"""The recurrence `h = step(h, x)` for any function and any PyTree of states."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._checks.messages import describe_tree
from .._dtypes import widest
from .coefficients import spread
from .recurrences import Run, Steps, in_sequence
from .states import hold


def run_any(
    state: PyTree,
    step: Callable[[Any, Any], Any],
    xs: PyTree[Array],
    valid: Steps,
    resets: Steps,
    num_steps: Any,
) -> Run:
    """Runs `step` over all steps, with a PyTree of `State`s.

    A floating state is widened to the dtype that a step returns, as everywhere in this library.
    """
    states, tree = jax.tree.flatten(state)
    xs = jax.tree.map(lambda x: _as_steps(x, num_steps), xs)
    kept = [None if s.kept is None else spread(s.kept, num_steps, s) for s in states]

    def checked(h: PyTree[Array], x: Any) -> PyTree[Array]:
        new = jax.tree.map(jnp.asarray, step(h, x))
        shapes = lambda tree: [a.shape for a in jax.tree.leaves(tree)]
        if jax.tree.structure(new) != tree or shapes(new) != shapes(h):
            raise ValueError(
                "time.scan: `step` must return new states of the structure and shapes of the old "
                f"ones, {describe_tree(h)}, got {describe_tree(new)}."
            )
        return new

    first_xs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), xs)
    while True:
        now = tree.unflatten([s.now for s in states])
        new = jax.tree.leaves(jax.eval_shape(checked, now, first_xs))
        wide = [_widen(s, a.dtype) for s, a in zip(states, new, strict=True)]
        if all(a is b for a, b in zip(states, wide, strict=True)):
            break
        states = wide

    def body(h: PyTree[Array], xs: Any) -> PyTree[Array]:
        x, kept = xs
        old, new = jax.tree.leaves(h), jax.tree.leaves(checked(h, x))
        return tree.unflatten(
            [hold(k, a, b.astype(a.dtype)) for k, a, b in zip(kept, old, new, strict=True)]
        )

    now, first, safe = (
        tree.unflatten([getattr(s, name) for s in states]) for name in ("now", "first", "safe")
    )
    return in_sequence(body, now, first, safe, (xs, kept), valid, resets, num_steps)


def _widen(state: Any, dtype: Any) -> Any:
    if not jnp.issubdtype(state.dtype, jnp.floating) or not jnp.issubdtype(dtype, jnp.floating):
        return state
    return state.astype(widest(state.dtype, dtype))


def _as_steps(x: Any, num_steps: Any) -> Array:
    x = jnp.asarray(x)
    if x.ndim == 0 or x.shape[0] != num_steps:
        raise ValueError(
            f"time.scan: every array in `xs` must have {num_steps} steps in front, got "
            f"{describe_tree(x)}."
        )
    return x
