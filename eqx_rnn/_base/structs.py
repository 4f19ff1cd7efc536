"""Structure, shapes and dtypes of carries and outputs, without computing them."""

from collections.abc import Hashable
from typing import Any

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._kernels.sharding import type_of
from .._kernels.tracers import Tracer

_KNOWN: dict[Hashable, PyTree[jax.ShapeDtypeStruct]] = {}
_MOST = 256


def carry_struct(cell: Any, sample_input: Any) -> PyTree[jax.ShapeDtypeStruct]:
    """Structure, shapes and dtypes of a cell's carry.

    Tracing takes as long as all else in a step that is not compiled, so results are remembered by
    the types of the arguments. Errors are not remembered.
    """
    key = _types_of(cell, sample_input)
    known = None if key is None else _KNOWN.get(key)
    if known is None:
        first = lambda key: cell.initialize_carry(key, sample_input)
        known = jax.eval_shape(first, jax.random.key(0))
        if key is not None:
            if len(_KNOWN) == _MOST:
                _KNOWN.clear()
            _KNOWN[key] = known
    return known


def _types_of(cell: Any, sample_input: Any) -> Hashable | None:
    """What the carry of a cell may depend on; `None` if it is not to be remembered."""
    leaves, tree = jax.tree.flatten((cell, sample_input))
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return None  # compiled once, and its functions may hold traced arrays
    kinds = [type_of(leaf) if isinstance(leaf, jax.Array) else leaf for leaf in leaves]
    key = (
        tree,
        tuple(kinds),
        getattr(jax.config, "jax_enable_x64", None),
        jax.sharding.get_abstract_mesh(),
    )
    try:
        hash(key)
    except TypeError:  # a field or a NumPy array has no hash
        return None
    return key


def output_struct(cell: Any, sample_input: Any) -> PyTree[jax.ShapeDtypeStruct]:
    """Structure, shapes and dtypes of a cell's outputs of one step."""
    sample = jax.ShapeDtypeStruct(sample_input.shape, sample_input.dtype)

    def step(carry: PyTree[Array], inputs: Array, key: PRNGKeyArray) -> PyTree[Array]:
        begun, carry, _ = cell.begin(carry, key=key)
        return begun(carry, inputs, key=key)[1]

    return jax.eval_shape(step, carry_struct(cell, sample), sample, jax.random.key(0))
