"""Checks of the results of a step while it is traced, and the dtypes that its carry keeps."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._checks.messages import describe, describe_tree, has_field
from .._dtypes import widest


def check_contract(
    cell: Any,
    inputs: Any,
    carry: PyTree[Any],
    gates: tuple[PyTree[Any], ...],
    new_carry: PyTree[Any],
    outputs: PyTree[Any],
) -> None:
    """Checks the carry before a step, its gates, its new carry and its outputs."""
    batch = inputs.shape[: len(inputs.shape) - cell.num_feature_dims]
    while has_field(cell, "cell"):  # wrappers keep the contract if the inner cell does
        cell = cell.cell
    owner = type(cell).__name__
    check_batch(owner, "the carry", carry, batch)
    for part, name in zip(gates, ("`project_input`", "`project_hidden`"), strict=False):
        check_batch(owner, f"the gates of {name}", part, batch)
    check_new_carry(owner, carry, new_carry)
    check_batch(owner, "the outputs", outputs, batch)


def check_batch(owner: str, name: str, tree: PyTree[Any], batch: tuple[Any, ...]) -> None:
    """Checks that every array starts with the batch axes. Broadcasting would mix the rows."""
    for leaf in jax.tree.leaves(tree):
        if leaf.shape[: len(batch)] != batch:
            raise ValueError(
                f"{owner}: every array in {name} must have the batch axes of the inputs, "
                f"{batch}, in front, got {describe(leaf)} in {describe_tree(tree)}. Compute one "
                "value per row: sum and average over trailing axes only, such as `axis=-1`."
            )


def check_new_carry(owner: str, carry: PyTree[Any], new_carry: PyTree[Any]) -> None:
    """Checks that a new carry has the structure, shapes and kinds of dtypes of the old one."""
    start = (
        f"{owner}: a step must return a carry like the old one, {describe_tree(carry)}, "
        f"got {describe_tree(new_carry)}."
    )
    if jax.tree.structure(carry) != jax.tree.structure(new_carry):
        raise ValueError(
            f"{start} The structures differ: return `(new carry, outputs)`, with a carry of the "
            "structure that `initialize_carry` returns."
        )
    for old, new in zip(jax.tree.leaves(carry), jax.tree.leaves(new_carry), strict=True):
        if old.shape != new.shape:
            raise ValueError(
                f"{start} The shapes differ: let `initialize_carry` return the shapes of a step."
            )
        if not _fits(old, new):
            raise TypeError(
                f"{start} The dtypes differ in kind: let `initialize_carry` return the dtypes of "
                "a step, or cast with `.astype`."
            )


def widen(carry: PyTree[Any], new_carry: PyTree[Any]) -> PyTree[Any]:
    """The dtypes that a carry keeps: for each floating leaf, the wider of its two dtypes.

    A leaf whose kind has changed gets the new dtype, so that `check_new_carry` raises an error.
    Random keys have a JAX dtype, which NumPy does not know.
    """

    def of_leaf(old: Any, new: Any) -> Any:
        if not _fits(old, new):
            return new.dtype
        is_real = _kind(old) == jnp.floating
        return widest(old.dtype, new.dtype) if is_real else old.dtype

    return jax.tree.map(of_leaf, carry, new_carry)


def keep_dtypes(dtypes: PyTree[Any], carry: PyTree[Array]) -> PyTree[Array]:
    """`carry` cast to the given dtypes."""
    return jax.tree.map(
        lambda dtype, leaf: leaf if leaf.dtype == dtype else leaf.astype(dtype), dtypes, carry
    )


def dtypes_of(carry: PyTree[Any]) -> PyTree[Any]:
    return jax.tree.map(lambda leaf: leaf.dtype, carry)


def _fits(old: Any, new: Any) -> bool:
    kinds = _kind(old), _kind(new)
    return kinds[0] == kinds[1] or kinds == (jnp.complexfloating, jnp.floating)


def _kind(leaf: Any) -> Any:
    kinds = (jnp.floating, jnp.complexfloating, jnp.integer, jnp.bool_)
    return next((kind for kind in kinds if jnp.issubdtype(leaf.dtype, kind)), leaf.dtype)
