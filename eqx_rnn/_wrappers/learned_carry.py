from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.cells import RNNCellBase
from .._checks.errors import part_of
from .._checks.messages import describe, is_floating
from .._dtypes import widest
from .base import Wrapper, innermost


class LearnedCarry(Wrapper):
    """Starts from a carry that is learned with the weights, the same for all sequences.

        h[0] = initial
        h', y = cell(h, x)

    `initial` are parameters of the shapes of one sequence's carry. They start as what the inner
    cell starts from. Integers in the carry are the inner cell's own.

    **Shapes:** as the inner cell. Around a convolutional cell, the spatial axes of the inputs
    are those of the `sample_input` that this cell was built with.

    **Source:** M. L. Forcada, R. C. Carrasco, "Learning the initial state of a second-order
    recurrent neural network during regular-language inference", Neural Computation 7 (1995).
    Departure: any cell, trained by its gradient with all else.
    """

    cell: RNNCellBase
    initial: PyTree[Array]

    def __init__(
        self, cell: RNNCellBase, sample_input: Any = None, *, key: PRNGKeyArray | None = None
    ):
        """**Arguments:**

        - `cell`: the cell to start.
        - `sample_input`: one time step of the inputs; only its shape and dtype are read, and batch
            axes do not matter. Not needed around a cell for vectors that has an `input_size`.
        - `key`: for cells that draw their first carry.
        """
        if sample_input is None:
            sample_input = _sample(cell)
        if not (hasattr(sample_input, "shape") and hasattr(sample_input, "dtype")):
            raise TypeError(
                "LearnedCarry: `sample_input` must be one time step of the inputs, got "
                f"{describe(sample_input)}. Pass an array or a `jax.ShapeDtypeStruct`."
            )
        shape = sample_input.shape[len(sample_input.shape) - cell.num_feature_dims :]
        sample = jax.ShapeDtypeStruct(shape, sample_input.dtype)
        self.cell = cell
        with part_of("LearnedCarry", "cell", ""):
            carry = cell.initialize_carry(key, sample)
        self.initial = eqx.filter(carry, eqx.is_inexact_array)

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> PyTree[Array]:
        carry = self.cell.initialize_carry(key, sample_input)
        leaves, tree = jax.tree.flatten(carry)
        learned = iter(jax.tree.leaves(self.initial))
        start = [_start(next(learned), a) if eqx.is_inexact_array(a) else a for a in leaves]
        return tree.unflatten(start)


def _sample(cell: RNNCellBase) -> jax.ShapeDtypeStruct:
    input_size = getattr(innermost(cell), "input_size", None)
    if input_size is None or cell.num_feature_dims != 1:
        raise ValueError(
            "LearnedCarry: `sample_input` must be one time step of the inputs, because the shape "
            f"of the carry of {type(cell).__name__} depends on it, got None. Pass an array or a "
            "`jax.ShapeDtypeStruct`."
        )
    weights = filter(is_floating, jax.tree.leaves(cell))
    return jax.ShapeDtypeStruct((input_size,), widest(*weights))


def _start(learned: Array, own: Array) -> Array:
    if own.shape[own.ndim - learned.ndim :] != learned.shape:
        raise ValueError(
            "LearnedCarry: `inputs` must have the spatial axes of the `sample_input` that the "
            f"cell was built with, got such that the carry is {describe(own)} where "
            f"{describe(learned)} is learned. Build the cell with a sample of that size."
        )
    dtype = widest(learned.dtype, own.dtype)
    return jnp.broadcast_to(learned, own.shape).astype(dtype)
