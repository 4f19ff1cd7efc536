from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..base import RNNCellBase
from ._rates import as_rates, check_rates, fixed, is_zero, require_key, split, spread
from ._wrapper import Wrapper, update


class Zoneout(Wrapper):
    """Keeps some units of the state as they were, others at each step.

        h~, y~ = cell(h, x)
        d ~ Bernoulli(rate)                                       anew at each step
        h' = d h + (1 - d) h~                                     in training
        h' = rate h + (1 - rate) h~                               at inference

    for every leaf of the carry. A part of it that has a method `mix`, whose leaves have a meaning
    only together, as the `SLSTMMemory` has, gets one mask, and the mean that `old.mix(new, rate)`
    makes of it. Outputs that are the very arrays of the inner cell's new carry, as of all cells
    here but `CTRNNCell(state="current")`, are the zoned-out ones; what a cell computes from them
    itself is not computed again. So `Residual(Zoneout(cell))`, and not the other way round.

    **Shapes:** as the inner cell.

    **Options:**

    - `rate`: the probability that a unit keeps its old value: a number, or numbers in the
        structure of the carry, such as `LSTMCarry(hidden=0.05, cell=0.5)` or `SLSTMCarry(0.05,
        memory=0.5)`. Integers in the carry are never kept back.
    - `inference`: whether to take the mean. See `eqx.nn.inference_mode`.

    **Source:** D. Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden
    activations", ICLR (2017).
    """

    cell: RNNCellBase
    rate: Any = eqx.field(default=0.5, converter=as_rates)
    inference: bool = eqx.field(default=False, kw_only=True)

    def __check_init__(self):
        check_rates("Zoneout", "rate", self.rate)

    def update(
        self, carry: PyTree[Array], gates: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        old, tree = jax.tree.flatten(carry, is_leaf=_is_whole)
        rates = jax.tree.leaves(spread("Zoneout", "rate", self.rate, carry, _is_whole))
        cell_key, *keys = split(key, 1 + len(old))
        new_carry, outputs = update(self.cell, carry, gates, cell_key)
        new = tree.flatten_up_to(new_carry)
        zoned = [self._zone(*args) for args in zip(old, new, rates, keys, strict=True)]
        same = dict(zip(map(id, jax.tree.leaves(new)), jax.tree.leaves(zoned), strict=True))
        outputs = jax.tree.map(lambda leaf: same.get(id(leaf), leaf), outputs)
        return tree.unflatten(zoned), outputs

    def _zone(self, old: Any, new: Any, rate: Any, key: PRNGKeyArray | None) -> Any:
        if is_zero(rate):
            return new
        like = jax.tree.leaves(new)[0]
        rate = fixed(rate, like)
        if self.inference:
            return old.mix(new, rate) if _is_whole(old) else _mean(old, new, rate)
        key = require_key("Zoneout", key, "to `RNN` or to each step")
        kept = jr.bernoulli(key, rate, like.shape)
        return jax.tree.map(lambda a, b: jnp.where(kept, a, b), old, new)


def _mean(old: Array, new: Array, rate: Any) -> Array:
    return (rate * old + (1 - rate) * new).astype(new.dtype)


def _is_whole(part: Any) -> bool:
    return hasattr(part, "mix")
