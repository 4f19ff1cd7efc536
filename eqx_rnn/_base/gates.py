"""The gates of a `FactoredCell`: the sum of two PyTrees, which may have `None` for a leaf."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, PyTree

from .._checks.messages import describe_tree


def add_gates(from_input: PyTree[Array], from_hidden: PyTree[Array]) -> PyTree[Array]:
    """Adds the two parts of the gates of a `FactoredCell`. `None` stands for a missing leaf."""

    def add(a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return a + b

    return map_gates(add, from_input, from_hidden)


def map_gates(function: Callable[[Any, Any], Any], first: PyTree, second: PyTree) -> PyTree:
    """Maps a function over the leaves of two PyTrees.

    Where one PyTree has `None`, the function gets `None` and the leaf or subtree of the other one.
    """
    if first is None or second is None:
        return function(first, second)
    parts, tree = _children(first)
    other_parts, other_tree = _children(second)
    if tree != other_tree:
        raise TypeError(
            "`project_input` and `project_hidden` must return gates of the same structure, with "
            f"`None` for a missing leaf, got {describe_tree(first)} and {describe_tree(second)}."
        )
    if jax.tree_util.treedef_is_leaf(tree):
        return function(first, second)
    return tree.unflatten(
        [map_gates(function, *pair) for pair in zip(parts, other_parts, strict=True)]
    )


def _children(tree: PyTree) -> tuple[list[Any], Any]:
    return jax.tree.flatten(tree, is_leaf=lambda node: node is not tree)
