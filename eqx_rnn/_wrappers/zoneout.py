from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.cells import (
    Begun,
    ChunkWrapper,
    RNNCellBase,
    begin_inner,
    innermost,
    parts,
    run_chunk,
)
from .._base.mixable import Mixable
from .._checks.messages import describe_tree
from .._time import Advanced, State, Time
from .rates import as_rates, check_rates, fixed, is_zero, require_key, split, spread


class Zoneout(ChunkWrapper):
    """Keeps the old values of random units of the state, drawn anew at each step.

        h~, y~ = cell(h, x)
        d ~ Bernoulli(rate)                                       anew at each step
        h' = d h + (1 - d) h~                                     in training
        h' = rate h + (1 - rate) h~                               at inference

    for every leaf of the carry. A part of the carry that is a [`Mixable`][eqx_rnn.Mixable], such as
    an `SLSTMMemory`, gets one mask for all of its arrays. Its mean at inference is
    `old.mix(new, rate)`.

    The outputs are `cell.read_out(h')`, those of the new carry. If `cell` does not define
    `read_out`, each output must be the same array object as one leaf of h~ or as an argument of the
    step, such as the old carry. Any other output is an error, because it could depend on h~.
    `jax.jit` or `jax.checkpoint` inside the step turns every output into a new array.

    Around a `StackedCell`, all cells advance together, step by step. To keep the fast path of
    `RNN`, wrap the cells of the stack instead.

    **Shapes:** those of the inner cell.

    **Options:**

    - `rate`: the probability that a unit keeps its old value: a number, or numbers in the
        structure of the carry, such as `LSTMCarry(hidden=0.05, cell=0.5)` or `SLSTMCarry(0.05,
        memory=0.5)`. Integers in the carry are never kept.
    - `inference`: whether to take the mean. See `eqx.nn.inference_mode`.

    **Source:** D. Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden
    activations", ICLR (2017).
    """

    cell: RNNCellBase
    rate: Any = eqx.field(default=0.5, converter=as_rates)
    inference: bool = eqx.field(default=False, kw_only=True)

    def __check_init__(self):
        check_rates("Zoneout", "rate", self.rate)

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> PyTree[Array]:
        return self.cell.initialize_carry(key, sample_input)

    def begin(self, carry: PyTree[Array], *, key: PRNGKeyArray | None = None) -> Begun:
        return begin_inner(self, carry, key)

    def project_input(self, inputs: Any) -> PyTree[Array]:
        return parts(self.cell).project_input(inputs)

    def project_hidden(self, carry: PyTree[Array]) -> PyTree[Array]:
        return parts(self.cell).project_hidden(carry)

    def update(
        self, carry: PyTree[Array], gates: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        old, tree = jax.tree.flatten(carry, is_leaf=_is_mixable)
        rates = jax.tree.leaves(spread("Zoneout", "rate", self.rate, carry, _is_mixable))
        cell_key, *keys = split(key, 1 + len(old))
        new_carry, outputs = parts(self.cell).update(carry, gates, key=cell_key)
        new = tree.flatten_up_to(new_carry)
        zoned = [self._zone(*args) for args in zip(old, new, rates, keys, strict=True)]
        zoned = tree.unflatten(zoned)
        if not all(map(is_zero, rates)):
            outputs = _outputs(self.cell, outputs, (carry, gates), new_carry, zoned)
        return zoned, outputs

    def chunk(
        self, carry: PyTree[State], inputs: Any, time: Time
    ) -> tuple[PyTree[Advanced], PyTree[Array]]:
        """The inner cell computes its outputs from the zoned-out state itself."""
        named, tree = jax.tree.flatten_with_path(carry, is_leaf=_is_mixable)
        names = [jax.tree_util.keystr(path).removeprefix(".") for path, _ in named]
        parts = [part for _, part in named]
        rates = jax.tree.leaves(spread("Zoneout", "rate", self.rate, carry, _is_mixable))
        keys = len(parts) * [None]
        if time.has_keys:
            inner_keys, *keys = jnp.moveaxis(time.draw(lambda k: jr.split(k, 1 + len(keys))), 1, 0)
            time = time.with_keys(inner_keys)
        zoned = [self._keep(*args) for args in zip(parts, rates, keys, names, strict=True)]
        return run_chunk(self.cell, tree.unflatten(zoned), inputs, time)

    def _keep(self, part: Any, rate: Any, keys: PRNGKeyArray | None, name: str) -> Any:
        """A part of the carry with units that keep their old value at some steps."""
        if is_zero(rate):
            return part
        like = jax.tree.leaves(part)[0]
        kept = fixed(rate, like)
        if not self.inference:
            keys = require_key("Zoneout", keys, "to `RNN` or to each step")
            kept = jax.vmap(lambda key: jr.bernoulli(key, kept, like.shape))(keys)
        elif _is_mixable(part):
            raise ValueError(
                f"Zoneout: `rate` must be 0 at inference for {describe_tree(part)}, whose mean is "
                "not linear in its arrays, because a `ChunkCell` runs many steps at once."
            )
        return jax.tree.map(lambda state: state.keep(kept, name), part)

    def read_out(self, carry: PyTree[Array]) -> PyTree[Array]:
        return self.cell.read_out(carry)

    def _zone(self, old: Any, new: Any, rate: Any, key: PRNGKeyArray | None) -> Any:
        if is_zero(rate):
            return new
        like = jax.tree.leaves(new)[0]
        rate = fixed(rate, like)
        if self.inference:
            return old.mix(new, rate) if _is_mixable(old) else _mean(old, new, rate)
        key = require_key("Zoneout", key, "to `RNN` or to each step")
        kept = jr.bernoulli(key, rate, like.shape)
        return jax.tree.map(lambda a, b: jnp.where(kept, a, b), old, new)


def _outputs(
    cell: RNNCellBase, outputs: PyTree[Array], arguments: Any, new: PyTree, zoned: PyTree
) -> PyTree[Array]:
    """The outputs for the zoned-out carry, from the outputs of the step."""
    try:
        return _complete(cell, cell.read_out(zoned), outputs)
    except NotImplementedError as error:
        new_ids = list(map(id, jax.tree.leaves(new)))
        known = {id(leaf): leaf for leaf in jax.tree.leaves(arguments)}
        known |= dict(zip(new_ids, jax.tree.leaves(zoned), strict=True))
        ids = list(map(id, jax.tree.leaves(outputs)))
        if not all(i in known and new_ids.count(i) <= 1 for i in ids):
            raise TypeError(
                "Zoneout: the outputs of `cell` must follow from its new carry, got "
                f"{describe_tree(outputs)}. Not all of them are arrays of that carry, "
                f"{describe_tree(new)}, each in one place of it. {error}"
            ) from error
        return jax.tree.map(lambda leaf: known[id(leaf)], outputs)


def _complete(cell: RNNCellBase, read: PyTree[Any], outputs: PyTree[Array]) -> PyTree[Array]:
    """The outputs that the cell reads out, with parts of `outputs` in place of `None`."""
    is_none = lambda part: part is None
    try:
        whole = jax.tree.map(lambda a, b: b if a is None else a, read, outputs, is_leaf=is_none)
    except ValueError:
        whole = read
    shapes = [[jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (whole, outputs)]
    if shapes[0] != shapes[1] or jax.tree.structure(whole) != jax.tree.structure(outputs):
        raise ValueError(
            f"Zoneout: `read_out` of {type(innermost(cell)).__name__} must return arrays of the "
            f"structure and shapes that a step returns, {describe_tree(outputs)}, or `None` in "
            f"their place, got {describe_tree(read)}."
        )
    return whole


def _mean(old: Array, new: Array, rate: Any) -> Array:
    return (rate * old + (1 - rate) * new).astype(new.dtype)


def _is_mixable(part: Any) -> bool:
    return isinstance(part, Mixable)
