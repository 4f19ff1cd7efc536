from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.cells import (
    Begun,
    ChunkWrapper,
    ComposedCell,
    Results,
    RNNCellBase,
    Run,
    begin_inner,
    parts,
    run_chunk,
)
from .._base.widths import input_struct
from .._checks.errors import part_of
from .._checks.messages import describe, is_floating
from .._dtypes import widest
from .._time import Advanced, State, Time


class LearnedCarry(ChunkWrapper, ComposedCell):
    """Learns the first carry together with the weights. It is the same for all sequences.

        h[0] = initial
        h', y = cell(h, x)

    `initial` holds parameters of the shapes of one sequence's carry. Their initial values are those
    of the first carry of the inner cell. Integers in the carry are not learned. A complex array is
    held as the pair of its real and imaginary part, so that every optimiser can train it.

    **Shapes:** those of the inner cell. Around a convolutional cell, the inputs have the spatial
    axes of the `sample_input` that this cell was built with.

    **Source:** M. L. Forcada, R. C. Carrasco, "Learning the initial state of a second-order
    recurrent neural network during regular-language inference", Neural Computation 7 (1995).
    Departure: the cell may be any cell, and the gradient trains the carry and the weights together.
    """

    cell: RNNCellBase
    initial: PyTree[Array]

    def __init__(
        self, cell: RNNCellBase, sample_input: Any = None, *, key: PRNGKeyArray | None = None
    ):
        """**Arguments:**

        - `cell`: the inner cell.
        - `sample_input`: one time step of the inputs. Only its shape and dtype are read; its batch
            axes do not matter. A cell for vectors with an `input_size` does not need it.
        - `key`: a random key, for cells that draw their first carry.
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
        self.initial = jax.tree.map(_as_real, eqx.filter(carry, eqx.is_inexact_array))

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> PyTree[Array]:
        carry = self.cell.initialize_carry(key, sample_input)
        leaves, tree = jax.tree.flatten(carry)
        learned = iter(jax.tree.leaves(self.initial))

        def start(own: Array) -> Array:
            if not eqx.is_inexact_array(own):
                return own
            if jnp.iscomplexobj(own):
                return lax.complex(_start(next(learned), own.real), _start(next(learned), own.imag))
            return _start(next(learned), own)

        return tree.unflatten(list(map(start, leaves)))

    def begin(self, carry: PyTree[Array], *, key: PRNGKeyArray | None = None) -> Begun:
        return begin_inner(self, carry, key)

    def project_input(self, inputs: Any) -> PyTree[Array]:
        return parts(self.cell).project_input(inputs)

    def project_hidden(self, carry: PyTree[Array]) -> PyTree[Array]:
        return parts(self.cell).project_hidden(carry)

    def update(
        self, carry: PyTree[Array], gates: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        return parts(self.cell).update(carry, gates, key=key)

    def chunk(
        self, carry: PyTree[State], inputs: Any, time: Time
    ) -> tuple[PyTree[Advanced], PyTree[Array]]:
        return run_chunk(self.cell, carry, inputs, time)

    def run_inside(
        self, run: Run, carry: Any, inputs: Any, initial: Any, keys: Array | None
    ) -> Results:
        return run(self.cell, carry, inputs, initial, keys)  # `carry` holds the learned arrays

    def read_out(self, carry: PyTree[Array]) -> PyTree[Array]:
        return self.cell.read_out(carry)


def _sample(cell: RNNCellBase) -> jax.ShapeDtypeStruct:
    """One step of the inputs of a cell for vectors, whose carry depends on their size only."""
    sample = input_struct(cell)
    if sample is None or cell.num_feature_dims != 1:
        raise ValueError(
            "LearnedCarry: `sample_input` must be one time step of the inputs, because the shape "
            f"of the carry of {type(cell).__name__} depends on it, got None. Pass an array or a "
            "`jax.ShapeDtypeStruct`."
        )
    weights = list(filter(is_floating, jax.tree.leaves(cell)))
    dtype = widest(*weights) if weights else jnp.result_type(float)
    return jax.ShapeDtypeStruct(sample.shape, dtype)


def _as_real(leaf: Array) -> Any:
    return (leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else leaf


def _start(learned: Array, own: Array) -> Array:
    """The learned array, with the batch axes and at least the dtype of the inner cell's array."""
    if own.shape[own.ndim - learned.ndim :] != learned.shape:
        raise ValueError(
            "LearnedCarry: `inputs` must have the spatial axes of the `sample_input` that the "
            f"cell was built with, got inputs whose carry is {describe(own)} where "
            f"{describe(learned)} is learned. Build the cell with a sample of that size."
        )
    dtype = widest(learned.dtype, own.dtype)
    return jnp.broadcast_to(learned, own.shape).astype(dtype)
