"""A loop over time whose step reads some of its arrays from copies."""

from collections.abc import Callable
from typing import Any

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def scan(
    step: Callable[[PyTree, tuple[Any, Any]], tuple[PyTree, PyTree]],
    carry: PyTree[Array],
    inputs: PyTree[Array],
    copied: PyTree[Array],
    *,
    reverse: bool,
    unroll: int,
) -> tuple[PyTree[Array], PyTree[Array]]:
    """`jax.lax.scan(step, carry, (inputs, copied))`.

    The arrays in `copied` are read one step ahead and carried to the next step. If a step computes
    with an array that it reads from an array of all steps, XLA's CPU backend fuses the reading with
    the computation and does not vectorise it. Products read their operands separately.
    """
    if not jax.tree.leaves(copied):
        return lax.scan(step, carry, (inputs, copied), reverse=reverse, unroll=unroll)
    last = jax.tree.leaves(copied)[0].shape[0] - 1
    time = jnp.arange(last + 1)
    following = jnp.maximum(time - 1, 0) if reverse else jnp.minimum(time + 1, last)

    def at(index: Array) -> PyTree[Array]:
        return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, index, keepdims=False), copied)

    def step_from_copies(state: Any, xs: Any):
        (carry, copies), (inputs, index) = state, xs
        carry, results = step(carry, (inputs, copies))
        return (carry, at(index)), results

    state = carry, at(time[-1 if reverse else 0])
    state, results = lax.scan(
        step_from_copies, state, (inputs, following), reverse=reverse, unroll=unroll
    )
    return state[0], results
