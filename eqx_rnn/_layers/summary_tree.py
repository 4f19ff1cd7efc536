"""The parts of a module, and the facts about them."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._base.cells import AbstractWrapper, RNNCellBase, SequentialCell
from .._base.layers import AbstractLayer
from .._checks.messages import is_ours
from .._wrappers import Pointwise

_CONTAINERS = eqx.nn.Sequential, eqx.nn.Shared, eqx.nn.Lambda


@dataclasses.dataclass(eq=False)
class Part:
    """A part of a model. `inside` maps paths to the parts inside it, which it does not count.

    - `outputs`, `carry`, `multiply_adds`: `None` if nothing calls the part.
    - `is_per_call`: whether the multiply-adds are those of a call, and not of a step of one row.
    """

    module: Any
    inside: dict[str, "Part"] = dataclasses.field(default_factory=dict)
    outputs: PyTree[Any] = None
    carry: PyTree[Any] = None
    multiply_adds: int | None = None
    is_per_call: bool = False

    @property
    def all_multiply_adds(self) -> int:
        """The multiply-adds of the part with all parts inside it."""
        inside = sum(part.all_multiply_adds for part in self.inside.values())
        return inside + (self.multiply_adds or 0)

    @property
    def counts_calls(self) -> bool:
        """Whether this part or a part inside it counts the multiply-adds of a call."""
        is_counted = self.is_per_call and bool(self.multiply_adds)
        return is_counted or any(part.counts_calls for part in self.inside.values())

    def set_module(self, module: Any) -> None:
        """Replaces the module, and the modules inside it by those at the same paths."""
        self.module, parts = module, parts_of(module)
        for path, part in self.inside.items():
            part.set_module(parts[path])

    def as_step(self, times: int) -> None:
        """Makes the multiply-adds those of a step that calls the part several times."""
        self.is_per_call = False
        if self.multiply_adds is not None:
            self.multiply_adds *= times
        for part in self.inside.values():
            part.as_step(times)


def uncalled(module: Any) -> Part:
    """A part that nothing calls."""
    return Part(module, {path: uncalled(part) for path, part in parts_of(module).items()})


def parts_of(module: Any) -> dict[str, Any]:
    """The parts of a module that have rows of their own, by their paths."""
    if isinstance(module, RNNCellBase) and is_ours(type(module)):
        if not isinstance(module, AbstractWrapper | SequentialCell | Pointwise):
            return {}
    elif _is_equinox(module) and not isinstance(module, _CONTAINERS):
        return {}
    is_leaf = lambda node: is_part(module, node)
    nodes, _ = jax.tree_util.tree_flatten_with_path(module, is_leaf=is_leaf)
    return {
        jax.tree_util.keystr(path).removeprefix("."): node for path, node in nodes if is_leaf(node)
    }


def is_part(owner: Any, node: Any) -> bool:
    """Whether a node of the PyTree of a module has a row of its own."""
    if node is owner or not (isinstance(node, eqx.Module) and callable(node)):
        return False
    if isinstance(node, eqx.nn.Shared):  # its call returns the parts that it holds
        return False
    if is_ours(type(node)):  # a function that a cell holds is no part
        return isinstance(node, RNNCellBase | AbstractLayer)
    return _is_equinox(node) or not type(node).__module__.startswith("equinox.")


def _is_equinox(node: Any) -> bool:
    return type(node).__module__.startswith("equinox.nn.")


def structs_of(tree: PyTree[Any]) -> PyTree[Any]:
    """Structs in place of the arrays in a PyTree."""

    def struct(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct):
            return leaf
        is_extended = jnp.issubdtype(leaf.dtype, jax.dtypes.extended)  # random keys
        dtype = leaf.dtype if is_extended else jax.dtypes.canonicalize_dtype(leaf.dtype)
        return jax.ShapeDtypeStruct(leaf.shape, dtype)

    return jax.tree.map(struct, tree)
