"""The recurrence `h = step(h, x)` for any function and any PyTree of states."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._checks.messages import describe_tree
from .._dtypes import widest
from .recurrences import Steps, in_sequence
from .states import State, hold


def advance(
    state: PyTree[State],
    step: Callable[[Any, Any], Any],
    xs: PyTree[Array],
    valid: Steps,
    resets: Steps,
    num_steps: Any,
) -> tuple[PyTree[Array], PyTree[Array]]:
    """The states after the last step, and the states after all steps.

    A state is widened to the dtype that a step returns, as everywhere in this library.
    """
    states, tree = jax.tree.flatten(state)
    kept = [None if s.kept is None else _by_step(s.kept, s, num_steps) for s in states]

    def step_and_keep(h: Any, xs: Any) -> list[Array]:
        kept, x = xs
        old = jax.tree.leaves(h)
        new = _leaves_like(tree, h, step(h, x))
        return [hold(*three).astype(three[1].dtype) for three in zip(kept, old, new, strict=True)]

    first_xs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), xs)
    while True:
        now = tree.unflatten([s.now for s in states])
        new = jax.tree.leaves(jax.eval_shape(step, now, first_xs))
        wide = [s.astype(widest(s.dtype, a.dtype)) for s, a in zip(states, new, strict=False)]
        if all(a is b for a, b in zip(states, wide, strict=True)):
            break
        states = wide
    first = tree.unflatten([s.first for s in states])
    body = lambda h, xs: tree.unflatten(step_and_keep(h, xs))
    return in_sequence(body, now, first, (kept, xs), valid, resets, num_steps)


def _by_step(kept: Any, state: State, num_steps: Any) -> Array:
    return jnp.broadcast_to(kept, (num_steps, *state.shape))


def _leaves_like(tree: Any, old: PyTree[Array], new: PyTree[Array]) -> list[Array]:
    """The leaves of the new states, checked to have the structure and shapes of the old ones."""
    shapes = lambda leaves: [a.shape for a in leaves]
    leaves = jax.tree.leaves(new)
    if jax.tree.structure(new) != tree or shapes(leaves) != shapes(jax.tree.leaves(old)):
        raise ValueError(
            f"time.scan: `step` must return new states like the old ones, {describe_tree(old)}, "
            f"got {describe_tree(new)}."
        )
    return leaves
