"""Structure, shapes and dtypes of carries and outputs, without computing them."""

from typing import Any

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree


def carry_struct(cell: Any, sample_input: Any) -> PyTree[jax.ShapeDtypeStruct]:
    """Structure, shapes and dtypes of a cell's carry."""
    return jax.eval_shape(lambda key: cell.initialize_carry(key, sample_input), jax.random.key(0))


def output_struct(cell: Any, sample_input: Any) -> PyTree[jax.ShapeDtypeStruct]:
    """Structure, shapes and dtypes of a cell's outputs of one step."""
    sample = jax.ShapeDtypeStruct(sample_input.shape, sample_input.dtype)

    def step(carry: PyTree[Array], inputs: Array, key: PRNGKeyArray) -> PyTree[Array]:
        begun, carry, _ = cell.begin(carry, key=key)
        return begun(carry, inputs, key=key)[1]

    return jax.eval_shape(step, carry_struct(cell, sample), sample, jax.random.key(0))
