"""A cell's three parts as functions of its arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..._base.cells import FactoredCell, RNNCellBase
from ..._base.contract import keep_dtypes, widen
from ..._kernels.hoist import hoist
from ..._kernels.jaxprs import Traced, trace
from ..._kernels.sharding import struct_of_step


class Parts(NamedTuple):
    """`project_input`, `project_hidden` and `update` of a cell, as functions of `weights` first.

    `weights` is the list of the cell's arrays: its parameters, which have floating dtypes, and then
    its constants. This class holds no arrays, because JAX must see all arrays that it transforms.
    """

    tree: Any
    static: Any
    is_parameter: tuple[bool, ...]

    def take_apart(self, cell: RNNCellBase) -> tuple[list[Array], list[Array]]:
        """A cell's parameters and its constants."""
        leaves = jax.tree.leaves(eqx.filter(cell, eqx.is_array))
        pairs = list(zip(leaves, self.is_parameter, strict=True))
        parameters = [leaf for leaf, is_parameter in pairs if is_parameter]
        return parameters, [leaf for leaf, is_parameter in pairs if not is_parameter]

    def put_together(self, weights: list[Array]) -> FactoredCell:
        """The cell with these arrays."""
        number = sum(self.is_parameter)
        parameters, constants = iter(weights[:number]), iter(weights[number:])
        sources = (parameters if trained else constants for trained in self.is_parameter)
        leaves = [next(source) for source in sources]
        return eqx.combine(self.tree.unflatten(leaves), self.static)

    def project_input(self, weights: list[Array], inputs: Array) -> PyTree[Array]:
        return self.put_together(weights).project_input(inputs)

    def project_hidden(self, weights: list[Array], carry: PyTree[Array]) -> PyTree[Array]:
        return self.put_together(weights).project_hidden(carry)

    def update(
        self, weights: list[Array], carry: PyTree[Array], gates: PyTree[Array], key: Array | None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        cell = self.put_together(weights)
        return cell.update(carry, gates) if key is None else cell.update(carry, gates, key=key)


def parts_of(cell: FactoredCell) -> Parts:
    """The three parts of a cell."""
    arrays, static = eqx.partition(cell, eqx.is_array)
    leaves, tree = jax.tree.flatten(arrays)
    return Parts(tree, static, tuple(map(eqx.is_inexact_array, leaves)))


class Draws(NamedTuple):
    """`update` without its key, and the arrays that it draws from the key alone.

    - `draw`: maps the keys of many steps to the drawn arrays of these steps.
    - `update`: `(weights, carry, gates, drawn) -> (new carry, outputs)` of one step.
    - `drawn`: shapes and dtypes of the drawn arrays of one step; `None` without keys.
    - `traced`: the update with its key, if there are keys.
    """

    draw: Callable[[Array | None], list[Array] | None]
    update: Callable[..., tuple[PyTree[Array], PyTree[Array]]]
    drawn: list[jax.ShapeDtypeStruct] | None
    traced: list[Traced]


def split_draws(
    parts: Parts, weights: list[Any], carry: PyTree, gates: PyTree, keys: Array | None
) -> Draws:
    """Moves the random draws out of the step, so that one call draws for many steps."""
    if keys is None:
        without_key = lambda weights, carry, gates, drawn: _keep_wide(
            carry, parts.update(weights, carry, gates, None)
        )
        return Draws(lambda keys: None, without_key, None, [])

    by_key = lambda keys, weights, carry, gates: parts.update(weights, carry, gates, keys[0])
    key = struct_of_step(keys)
    traced = trace(by_key, [key], weights, carry, gates)
    prepare, call, *_ = hoist(traced, 1)

    def draw(keys: Array | None) -> list[Array] | None:
        if keys is None:
            return None
        at_once = jax.vmap if _is_threefry(keys) else _map
        return at_once(lambda key: prepare([key]))(keys)

    def update(weights: list[Array], carry: PyTree, gates: PyTree, drawn: Any):
        return _keep_wide(carry, call(drawn, weights, carry, gates))

    return Draws(draw, update, jax.eval_shape(prepare, [key]), [traced])


def _map(function: Callable) -> Callable:
    return lambda xs: jax.lax.map(function, xs)


def _is_threefry(keys: Array) -> bool:
    """Whether keys give the same numbers with and without `jax.vmap`: only threefry keys do."""
    is_typed = jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    return "threefry" in str(jax.random.key_impl(keys if is_typed else jax.random.key(0)))


def _keep_wide(carry: PyTree[Array], results: tuple[PyTree[Array], PyTree[Array]]) -> Any:
    """The results of a step, with the dtypes of `carry` where these are wider."""
    new_carry, outputs = results
    if jax.tree.structure(carry) != jax.tree.structure(new_carry):
        return results  # `check_contract` raises an error
    return keep_dtypes(widen(carry, new_carry), new_carry), outputs
