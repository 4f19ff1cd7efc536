"""Checks of what users pass, with errors that say what to do.

Each text names the argument, what was wanted, what came, and what to do about it. Annotations
check the same shapes deeper inside; these run first because their texts are kinder.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree


def describe(value: Any) -> str:
    """`float32[2,5]` for an array or a struct, the type's name for anything else."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return f"{type(value).__name__} {value!r:.60}" if value is not None else "None"


def describe_tree(tree: PyTree) -> str:
    """A PyTree's structure with each leaf as `describe` writes it."""
    if hasattr(tree, "_fields"):
        inner = (f"{k}={describe_tree(v)}" for k, v in zip(tree._fields, tree, strict=True))
        return f"{type(tree).__name__}({', '.join(inner)})"
    if isinstance(tree, tuple | list):
        inside = ", ".join(map(describe_tree, tree))
        if isinstance(tree, list):
            return f"[{inside}]"
        return f"({inside},)" if len(tree) == 1 else f"({inside})"
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{k!r}: {describe_tree(v)}" for k, v in tree.items()) + "}"
    return describe(tree)


def as_array(owner: str, name: str, value: Any) -> Array:
    """A JAX array from a JAX or NumPy one; anything else is an error."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        raise TypeError(
            f"{owner}: `{name}` must be a JAX or NumPy array, got {describe(value)}. "
            "Convert it first, for example with `jnp.asarray`."
        )
    return jnp.asarray(value)


def check_inputs(cell: Any, inputs: Any, features: Sequence[int | str]) -> None:
    """Checks one step's inputs: floating-point, shape `(*batch, *features)`.

    In `features` a string names an axis of any size; the last one is the cell's `input_size`.
    """
    wanted = ", ".join(["*batch", *map(str, features[:-1]), f"input_size={features[-1]}"])
    start = (
        f"{type(cell).__name__}: `inputs` (the `sample_input` of `initialize_carry`) must be, at "
        f"one time step, a floating-point array of shape ({wanted}), got {describe(inputs)}."
    )
    if not (hasattr(inputs, "shape") and hasattr(inputs, "dtype")):
        raise TypeError(f"{start} Pass a JAX or NumPy array.")
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise TypeError(
            f"{start} Cast it first, for example with `.astype(jnp.float32)`; "
            "tokens want an `eqx.nn.Embedding`."
        )
    if len(inputs.shape) < len(features):
        raise ValueError(f"{start} An axis is missing: add it, for example with `x[..., None]`.")
    if inputs.shape[-1] != features[-1]:
        raise ValueError(
            f"{start} The last axis is wrong: pass {features[-1]} features, or build the cell "
            f"with `input_size={inputs.shape[-1]}`."
        )


def check_carry(owner: str, name: str, carry: PyTree, wanted: PyTree) -> PyTree[Array]:
    """`carry` with the structure and shapes of `wanted`, promoted to its dtypes where wider.

    Promotion never narrows: a float32 carry for a bfloat16 cell stays float32.
    """
    start = (
        f"{owner}: `{name}` must be {describe_tree(wanted)}, as `initialize_carry` makes it for "
        f"these inputs, got {describe_tree(carry)}."
    )
    if jax.tree.structure(carry) != jax.tree.structure(wanted):
        raise ValueError(
            f"{start} The structures differ: pass the carry that this cell returned, or build the "
            "same structure by hand."
        )

    def check_leaf(leaf: Any, want: Any) -> Array:
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
            raise TypeError(f"{start} Its leaves must be JAX or NumPy arrays.")
        if leaf.shape != want.shape:
            raise ValueError(
                f"{start} The shapes differ: a carry has the batch axes of the inputs; broadcast "
                "it to them, or take it from `initialize_carry`."
            )
        if not jnp.issubdtype(want.dtype, jnp.number):  # bools, random keys
            same_kind = leaf.dtype == want.dtype
        else:
            same_kind = jnp.issubdtype(leaf.dtype, jnp.number) and (
                jnp.issubdtype(leaf.dtype, jnp.inexact) == jnp.issubdtype(want.dtype, jnp.inexact)
            )
        if not same_kind:
            raise TypeError(f"{start} The dtypes differ in kind: cast the carry first.")
        if leaf.dtype == want.dtype:
            return jnp.asarray(leaf)
        return jnp.asarray(leaf).astype(jnp.promote_types(leaf.dtype, want.dtype))

    return jax.tree.map(check_leaf, carry, wanted)


def check_parts(owner: str, name: str, carry: Any, number: int, part: str) -> tuple[Any, ...]:
    """`carry`, checked to be a tuple of so many."""
    if isinstance(carry, tuple) and len(carry) == number:
        return carry
    came = f"a tuple of {len(carry)}" if isinstance(carry, tuple) else type(carry).__name__
    raise ValueError(
        f"{owner}: `{name}` must be a tuple of {number}, one carry a {part}, got {came}. Pass "
        "what the last call returned, or a tuple made by hand."
    )


def check_distinct(owner: str, names: str, cells: Sequence[Any]) -> None:
    """No cell's weights twice: an update of a PyTree makes two of them."""

    def identity(cell: Any) -> tuple[int, ...]:
        arrays = filter(lambda leaf: isinstance(leaf, jax.Array), jax.tree.leaves(cell))
        return tuple(map(id, arrays)) or (id(cell),)

    if len(set(map(identity, cells))) < len(cells):
        raise ValueError(
            f"{owner}: {names} must have a cell each, got one cell twice (or in two wrappers), "
            "which would be copied, not shared, by the first update of its weights. Build one "
            "more cell; to tie them, use `eqx.nn.Shared`."
        )


def check_link(owner: str, inputs: Any, outputs: Any, num_feature_dims: int, above: Any) -> Any:
    """What one part of a stack puts out, checked to be what the one above can take in.

    `inputs` are those of the stack, with `num_feature_dims` feature axes.
    """
    if not (hasattr(outputs, "shape") and hasattr(outputs, "dtype")):
        raise TypeError(
            f"{owner}: all parts but the last must put out one array, got "
            f"{describe_tree(outputs)}. Put that part last, or make one array of its outputs."
        )
    batch = len(inputs.shape) - num_feature_dims
    if len(outputs.shape) - above.num_feature_dims != batch:
        raise ValueError(
            f"{owner}: each part must take in as many feature axes as the one before puts out, "
            f"got {describe(outputs)} with {len(outputs.shape) - batch} of them for a part with "
            f"num_feature_dims={above.num_feature_dims}. Stack cells of one kind, vectors on "
            "vectors or images on images."
        )
    return outputs
