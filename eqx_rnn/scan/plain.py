"""One step after another: the meaning of every faster way to run a cell."""

from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from ..base import RNNCellBase


@eqx.filter_jit
def scan(
    cell: RNNCellBase,
    carry: PyTree[Array],
    inputs: Array,
    *,
    mask: Bool[Array, "time *batch"] | None,
    resets: Bool[Array, "time *batch"] | None,
    initial: PyTree[Array],
    keys: Array | None,
    reverse: bool,
    unroll: int,
) -> tuple[PyTree[Array], PyTree[Array]]:
    """The final carry and all outputs, the latter in the order of the inputs.

    **Arguments:**

    - `mask`: where false, the carry is held, and the output is zero.
    - `resets`: where true (and `mask` is not false), `initial` replaces the carry before the step.
    - `keys`: one a step.
    - `reverse`: from the last step to the first.

    Compiled here, so that a call outside `jax.jit` does not compile anew each time.
    """

    def step(carry: PyTree[Array], xs: Any):
        x, valid, reset, key = xs
        start = carry if reset is None else select(reset, initial, carry)
        new_carry, outputs = cell(start, x, key=key)
        if valid is not None:
            new_carry = select(valid, new_carry, carry)
            outputs = select(valid, outputs, jax.tree.map(jnp.zeros_like, outputs))
        return new_carry, outputs

    xs = (inputs, mask, resets, keys)
    return lax.scan(step, carry, xs, reverse=reverse, unroll=unroll)


def select(condition: Bool[Array, "*batch"], on_true: PyTree, on_false: PyTree) -> PyTree:
    """`jnp.where` over PyTrees whose leaves have the condition's axes in front."""

    def select_leaf(a: Array, b: Array) -> Array:
        features = (1,) * (a.ndim - condition.ndim)
        return jnp.where(condition.reshape(condition.shape + features), a, b)

    return jax.tree.map(select_leaf, on_true, on_false)
