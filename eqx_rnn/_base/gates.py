"""The gates of a `FactoredCell`: two PyTrees of one structure, `None` where one has no part."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, PyTree

from .._checks.messages import describe_tree


def add_gates(from_input: PyTree[Array], from_hidden: PyTree[Array]) -> PyTree[Array]:
    """Adds the two parts of a `FactoredCell`'s gates, `None` meaning absent."""

    def add(a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return a + b

    return map_gates(add, from_input, from_hidden)


def map_gates(function: Callable[[Any, Any], Any], first: PyTree, second: PyTree) -> PyTree:
    """`function` of each two leaves of gates; of `None` and a leaf or subtree where one has it."""
    if first is None or second is None:
        return function(first, second)
    parts, tree = _children(first)
    other_parts, other_tree = _children(second)
    if tree != other_tree:
        raise TypeError(
            "`project_input` and `project_hidden` must return gates of one structure, `None` where "
            f"one of them has no part, got {describe_tree(first)} and {describe_tree(second)}."
        )
    if jax.tree_util.treedef_is_leaf(tree):
        return function(first, second)
    return tree.unflatten(
        [map_gates(function, *pair) for pair in zip(parts, other_parts, strict=True)]
    )


def _children(tree: PyTree) -> tuple[list[Any], Any]:
    return jax.tree.flatten(tree, is_leaf=lambda node: node is not tree)
