"""What the forward and the backward pass of a factored run share."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import Literal
from jaxtyping import Array, PyTree

from ..._base.cells import FactoredCell
from ..._base.contract import check_contract, keep_dtypes, widen
from ..._base.gates import add_gates, map_gates
from ..._kernels.hoist import Hoisted, hoist
from ..._kernels.sharding import is_spread, many, one, struct
from ..chunks import chunk_size, pieces
from ..harmless import Harmless
from ..steps import Steps
from .restore import restorer


class Arguments(NamedTuple):
    """What a run may be differentiated by."""

    parameters: list[Any]
    carry: PyTree
    inputs: Any
    initial: PyTree


class Fixed(NamedTuple):
    """What else it needs: the cell's arrays of other dtypes, and what each step is to do.

    `safe` says where skipped steps are computed from.
    """

    constants: list[Any]
    steps: Steps
    safe: Harmless | None


class Run:
    """One cell and one set of shapes. Holds no arrays: JAX must see all that it transforms.

    - `project_input(weights, inputs)`, `project_hidden(weights, carry)`, `update(weights, carry,
        gates, drawn)`: the cell's three parts as functions of its arrays, parameters first.
    - `draw(keys)`: what `update` draws, of many steps at once.
    - `carry`, `input`, `drawn`, `from_input`, `from_hidden`, `gates`, `outputs`: structure, shapes
        and dtypes at one step.
    - `dtypes`: those that the carry keeps. If they are not those of the carry that the run was made
        for, it has to be made again.
    - `restore`: the transpose of `update` from the carries around a step, if that needs no gates.
        Found when it is first read: a run without derivatives may have an `update` without one.
    - `copies`: for each leaf of the outputs, which leaf of the new carry it is, if one.
    - `applies`: whether the fast engine can run this cell, which it cannot if there are integers
        in the carry, a broadcast in the sum of the gates, an effect other than a debugging one, or
        a traced array in a function that a part calls; and is of no use if there is no input part
        or no hidden part.
    """

    def __init__(
        self,
        cell: FactoredCell,
        carry: PyTree[Array],
        inputs: Array,
        steps: Steps,
        *,
        reverse: bool,
        unroll: int,
        checkpoint: int | None,
        all_carries: bool,
    ):
        self._hoisted: dict[tuple[str, int | None], Hoisted] = {}
        self.reverse, self.unroll = reverse, unroll
        self.checkpoint, self.all_carries = checkpoint, all_carries

        arrays, self._static = eqx.partition(cell, eqx.is_array)
        leaves, self._tree = jax.tree.flatten(arrays)
        self._is_parameter = [eqx.is_inexact_array(leaf) for leaf in leaves]

        self.weights = [struct(a) for part in self.take_apart(cell) for a in part]
        self.carry = jax.tree.map(struct, carry)
        self.input = one(inputs)
        traced = [
            trace(self.project_input, self.weights, self.input),
            trace(self.project_hidden, self.weights, self.carry),
        ]
        self.from_input, self.from_hidden = (shapes for _, shapes in traced)
        self.gates = jax.eval_shape(add_gates, self.from_input, self.from_hidden)
        self._drawing, self.drawn = None, None
        if steps.keys is not None:
            key = one(steps.keys)
            at_one_step = self.weights, self.carry, self.gates
            self._drawing = hoist(self._update_by_key, [key], *at_one_step)
            self.drawn = jax.eval_shape(self._drawing.prepare, [key])
        traced.append(trace(self.update, self.weights, self.carry, self.gates, self.drawn))
        update, (new_carry, self.outputs) = traced[-1]
        gates = self.from_input, self.from_hidden
        check_contract(cell, self.input, self.carry, gates, new_carry, self.outputs)
        self.dtypes = widen(self.carry, new_carry)

        ends = [None if isinstance(v, Literal) else v for v in update.jaxpr.outvars]
        num_carries = len(jax.tree.leaves(new_carry))
        self.copies = [
            ends.index(v) if v is not None and v in ends[:num_carries] else None
            for v in ends[num_carries:]
        ]
        num_steps = inputs.shape[0]
        size = checkpoint or chunk_size(num_steps, _bytes(self.gates), _bytes(self.weights))
        self.pieces = pieces(num_steps, size, reverse)
        everything = jax.tree.leaves((self.carry, self.gates, self.outputs))
        self.applies = (
            not (cell.num_feature_dims > 1 and is_spread(inputs))  # no one axis for both
            and all(jax.tree.leaves(part) for part in (self.from_input, self.from_hidden))
            and not any(isinstance(c, Tracer) for closed, _ in traced for c in closed.consts)
            and not any(_is_effect(e) for closed, _ in traced for e in closed.effects)
            and jax.tree.map(struct, new_carry) == self.carry
            and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in everything)
            and _same_shapes(self.from_input, self.gates)
            and _same_shapes(self.from_hidden, self.gates)
        )
        self._skips = steps.valid is not None

    @functools.cached_property
    def restore(self) -> Callable[..., Callable] | None:
        if self.hoisted("update").sources or (self._skips and self.drawn):
            return None  # the result of a skipped step would depend on what it draws
        update = functools.partial(self.hoisted("update").call, [])
        return restorer(update, self.carry, self.gates, self.drawn)

    def hoisted(self, part: str, size: int | None = None) -> Hoisted:
        """One of the cell's three parts, at one step or `size` of them at once."""
        if (part, size) not in self._hoisted:
            examples = {
                "project_input": (self.input,),
                "project_hidden": (self.carry,),
                "update": (self.carry, self.gates, self.drawn),
            }[part]
            if size is not None:
                examples = jax.tree.map(functools.partial(many, size=size), examples)
            self._hoisted[part, size] = hoist(getattr(self, part), self.weights, *examples)
        return self._hoisted[part, size]

    def take_apart(self, cell: FactoredCell) -> tuple[list[Array], list[Array]]:
        """A cell's parameters, and its arrays of other dtypes."""
        leaves = list(
            zip(jax.tree.leaves(eqx.filter(cell, eqx.is_array)), self._is_parameter, strict=False)
        )
        return [a for a, is_one in leaves if is_one], [a for a, is_one in leaves if not is_one]

    def put_together(self, weights: list[Array]) -> FactoredCell:
        parameters = iter(weights[: sum(self._is_parameter)])
        constants = iter(weights[sum(self._is_parameter) :])
        leaves = [next(parameters if is_one else constants) for is_one in self._is_parameter]
        return eqx.combine(self._tree.unflatten(leaves), self._static)

    def project_input(self, weights: list[Array], inputs: Array) -> PyTree[Array]:
        return self.put_together(weights).project_input(inputs)

    def project_hidden(self, weights: list[Array], carry: PyTree[Array]) -> PyTree[Array]:
        return self.put_together(weights).project_hidden(carry)

    def update(
        self, weights: list[Array], carry: PyTree[Array], gates: PyTree[Array], drawn: Any
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        if self._drawing is None:
            new_carry, outputs = self.put_together(weights).update(carry, gates)
        else:
            new_carry, outputs = self._drawing.call(drawn, weights, carry, gates)
        return _as_wide(carry, new_carry), outputs

    def draw(self, keys: Array | None) -> list[Array] | None:
        drawing = self._drawing
        if drawing is None or keys is None:
            return None
        at_once = jax.vmap if _is_threefry(keys) else lambda f: functools.partial(jax.lax.map, f)
        return at_once(lambda key: drawing.prepare([key]))(keys)

    def _update_by_key(
        self, keys: list[Array], weights: list[Array], carry: PyTree[Array], gates: PyTree[Array]
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        return self.put_together(weights).update(carry, gates, key=keys[0])


def trace(function: Callable, *args: Any) -> tuple[Any, Any]:
    """A function's jaxpr, and the structure, shapes and dtypes that it returns."""
    return jax.make_jaxpr(function, return_shape=True)(*args)


def _is_threefry(keys: Array) -> bool:
    """Whether many keys draw what each would draw alone: of JAX's generators only this one."""
    is_typed = jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    return "threefry" in str(jax.random.key_impl(keys if is_typed else jax.random.key(0)))


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _as_wide(carry: PyTree[Array], new_carry: PyTree[Array]) -> PyTree[Array]:
    """`new_carry` with the dtypes of `carry`, where these are wider."""
    if jax.tree.structure(carry) != jax.tree.structure(new_carry):
        return new_carry  # an error, which `check_step` raises
    return keep_dtypes(widen(carry, new_carry), new_carry)


def _same_shapes(part: Any, gates: Any) -> bool:
    same = map_gates(lambda p, g: p is None or p.shape == g.shape, part, gates)
    return all(jax.tree.leaves(same))


def _is_effect(effect: Any) -> bool:
    """Whether an effect has to happen as the plain scan has it.

    Not those of `jax.debug`, nor the mention of a mapped axis, as by `jax.lax.pmean`.
    """
    return not any(kind in type(effect).__name__ for kind in ("Debug", "NamedAxis"))
