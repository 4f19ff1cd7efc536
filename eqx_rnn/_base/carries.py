"""Checks of carries, of the order of carry and inputs, and of ensembles of cells."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._checks.errors import fault
from .._checks.messages import describe, describe_tree, has_field
from .._dtypes import widest


def check_carry(owner: str, name: str, carry: PyTree, wanted: PyTree) -> PyTree[Array]:
    """`carry`, checked to have the structure and shapes of `wanted`, and promoted to its dtypes.

    A promotion never narrows: a float32 carry for a bfloat16 cell stays float32.
    """
    start = (
        f"`{name}` must be {describe_tree(wanted)}, as `initialize_carry` makes it for these "
        f"inputs, got {describe_tree(carry)}."
    )
    if jax.tree.structure(carry) != jax.tree.structure(wanted):
        raise fault(ValueError, owner, f"{start} The structures differ: {_advise(carry, wanted)}")

    def check_leaf(leaf: Any, want: Any) -> Array:
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
            raise fault(TypeError, owner, f"{start} Its leaves must be JAX or NumPy arrays.")
        if leaf.shape != want.shape:
            advice = (
                "broadcast it to them, or take it from `initialize_carry`. Inputs are (*batch, "
                "time, *features), or (time, *batch, *features) with `time_major`"
            )
            if name == "carry" and leaf.ndim < len(want.shape):
                advice = "pass one step of the inputs, or run all steps by `RNN(cell)(inputs)`"
            elif name == "carry" and leaf.ndim > len(want.shape):
                advice = "call `initialize_carry` with one step of the inputs, without a time axis"
            raise fault(
                ValueError,
                owner,
                f"{start} The shapes differ: a carry has the batch axes of the inputs; {advice}.",
            )
        if not jnp.issubdtype(want.dtype, jnp.number):  # bools, random keys
            same_kind = leaf.dtype == want.dtype
        else:
            same_kind = jnp.issubdtype(leaf.dtype, jnp.number) and (
                jnp.issubdtype(leaf.dtype, jnp.inexact) == jnp.issubdtype(want.dtype, jnp.inexact)
            )
        if not same_kind:
            raise fault(
                TypeError, owner, f"{start} The dtypes differ in kind: cast the carry first."
            )
        if leaf.dtype == want.dtype:
            return jnp.asarray(leaf)
        return jnp.asarray(leaf).astype(widest(leaf.dtype, want.dtype))

    return jax.tree.map(check_leaf, carry, wanted)


def _advise(carry: Any, wanted: Any) -> str:
    is_plain = isinstance(carry, tuple | list) and not hasattr(carry, "_fields")
    if is_plain and len(carry) == 1 and jax.tree.structure(carry[0]) == jax.tree.structure(wanted):
        return "pass its only item: a `Stacked` has one carry per layer, a layer has one carry."
    named = _plain_for(carry, wanted)
    if named is not None:
        fields = ", ".join(named._fields)
        return f"for a plain tuple ({fields}), pass `{type(named).__name__}(*pair)`."
    return "pass the carry that the last call returned, or build the same structure by hand."


def _plain_for(carry: Any, wanted: Any) -> Any:
    """The first `NamedTuple` in `wanted` that is a plain tuple or list in the carry."""
    if not isinstance(carry, tuple | list) or not isinstance(wanted, tuple):
        return None
    if len(carry) != len(wanted):
        return None
    if hasattr(wanted, "_fields") and not hasattr(carry, "_fields"):
        return wanted
    found = (_plain_for(*pair) for pair in zip(carry, wanted, strict=True))
    return next((named for named in found if named is not None), None)


def check_parts(
    owner: str, name: str, carry: Any, number: int, part: str, directions: int = 0
) -> tuple[Any, ...]:
    """`carry`, checked to be a tuple with one carry per part.

    `directions` is the total number of directions of all parts, if any part has two.
    """
    is_plain = isinstance(carry, tuple) and not hasattr(carry, "_fields")
    if is_plain and len(carry) == number:
        return carry
    found = f"a tuple of {len(carry)}" if is_plain else type(carry).__name__
    advice = "Pass the carry that the last call returned, or build the tuple by hand."
    if is_plain and len(carry) == directions:
        advice = (
            "This tuple has one per direction: pass a pair (forward, backward) for a "
            "`Bidirectional`. `from_torch_state(..., bidirectional=True)` makes such pairs."
        )
    elif isinstance(carry, list):
        advice = "Make a tuple of the list."
    elif is_plain and part == "direction" and len(carry) == 1 and isinstance(carry[0], tuple):
        advice = "Pass its only item: a `Stacked` has one carry per layer."
    elif not isinstance(carry, tuple) or not is_plain:
        advice = f"Put one carry per {part} into a tuple."
    wanted = f"tuple of {number}" if part != "direction" else "pair (forward, backward)"
    raise fault(
        ValueError,
        owner,
        f"`{name}` must be a {wanted}, one carry per {part}, got {found}. {advice}",
    )


def check_step(
    owner: str, cell: Any, carry: Any, inputs: Any, carry_like: Callable[[Any, Any], Any]
) -> PyTree[Array]:
    """The carry of a step, checked against its inputs.

    `carry_like` returns the struct of a cell's carry, from the cell and its inputs.
    """
    check_single(owner, cell)
    try:
        wanted = carry_like(cell, inputs)
    except Exception:
        check_order(owner, cell, carry, inputs, carry_like)
        raise
    return check_carry(owner, "carry", carry, wanted)


def check_order(
    owner: str, cell: Any, carry: Any, inputs: Any, carry_like: Callable[[Any, Any], Any]
) -> None:
    """Raises an error if the carry and the inputs of a failed step are swapped."""
    try:
        like = jax.tree.leaves(carry_like(cell, carry))
        swapped = [leaf.shape for leaf in like] == list(map(np.shape, jax.tree.leaves(inputs)))
    except Exception:  # a user's cell may raise any error
        swapped = False
    if swapped:
        raise fault(
            TypeError,
            owner,
            f"`carry` and `inputs` must be in this order, got {describe_tree(carry)} and "
            f"{describe_tree(inputs)}. Call `cell(carry, inputs)`: the carry comes first.",
        )


def check_single(owner: str, cell: Any) -> None:
    """Checks that a cell is not an ensemble of cells, which needs `vmap`."""
    for part in cell.cells if has_field(cell, "cells") else ():
        check_single(owner, part)
    if has_field(cell, "cell"):
        check_single(owner, cell.cell)
    weight = cell.weight_ih if has_field(cell, "weight_ih") else None
    ndim = cell.num_feature_dims + 1
    if weight is not None and weight.ndim > ndim:
        raise fault(
            ValueError,
            owner,
            f"`weight_ih` of {type(cell).__name__} must have {ndim} axes, got {describe(weight)}: "
            "an ensemble of cells. Call it by `eqx.filter_vmap`, for example `eqx.filter_vmap("
            "lambda model, x: model(x), in_axes=(eqx.if_array(0), None))(model, x)`.",
        )
