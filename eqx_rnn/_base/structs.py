"""Structure, shapes and dtypes of carries and outputs, without computing them."""

import weakref
from typing import Any

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._kernels.sharding import type_of
from .._kernels.tracers import Tracer

_KNOWN: dict[int, dict[Any, PyTree[jax.ShapeDtypeStruct]]] = {}


def carry_struct(cell: Any, sample_input: Any) -> PyTree[jax.ShapeDtypeStruct]:
    """Structure, shapes and dtypes of a cell's carry.

    Tracing takes as long as all else in a step that is not compiled, so results are remembered for
    as long as the cell exists. Errors are not remembered.
    """
    first = lambda key: cell.initialize_carry(key, sample_input)
    trace = lambda: jax.eval_shape(first, jax.random.key(0))
    if not isinstance(sample_input, jax.Array) or isinstance(sample_input, Tracer):
        return trace()
    names = "jax_enable_x64", "jax_default_prng_impl", "jax_numpy_dtype_promotion"
    settings = tuple(getattr(jax.config, name, None) for name in names)
    known = _known_of(cell)
    key = type_of(sample_input), settings, jax.sharding.get_abstract_mesh()
    if key not in known:
        known[key] = trace()
    return known[key]


def _known_of(cell: Any) -> dict[Any, PyTree]:
    """The carries that are known of a cell. They are forgotten with the cell."""
    place = id(cell)
    if place not in _KNOWN:
        _KNOWN[place] = {}
        weakref.finalize(cell, _KNOWN.pop, place, None).atexit = False
    return _KNOWN[place]


def output_struct(cell: Any, sample_input: Any) -> PyTree[jax.ShapeDtypeStruct]:
    """Structure, shapes and dtypes of a cell's outputs of one step."""
    sample = jax.ShapeDtypeStruct(sample_input.shape, sample_input.dtype)

    def step(carry: PyTree[Array], inputs: Array, key: PRNGKeyArray) -> PyTree[Array]:
        begun, carry, _ = cell.begin(carry, key=key)
        return begun(carry, inputs, key=key)[1]

    return jax.eval_shape(step, carry_struct(cell, sample), sample, jax.random.key(0))
