from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from .._base.cells import FactoredCell, RNNCellBase
from .._checks.messages import describe
from .base import Wrapper, begin, innermost, project_hidden, project_input, update
from .rates import as_rates, check_rates, drop, fixed, is_zero, require_key, split, spread


class DropoutMasks(NamedTuple):
    """Where `RecurrentDropout` keeps an entry; `None` for what it leaves alone."""

    inputs: PyTree[Bool[Array, "..."]]
    hidden: PyTree[Bool[Array, "..."]]


class DropoutCarry(NamedTuple):
    """The carry of `RecurrentDropout`: the inner cell's, and the masks of the sequence."""

    carry: PyTree[Array]
    masks: DropoutMasks


class RecurrentDropout(Wrapper):
    """Variational dropout: one mask a sequence for the inputs, one for the hidden state.

        m_x ~ Bernoulli(1 - input_rate) / (1 - input_rate)        once a sequence
        m_h ~ Bernoulli(1 - hidden_rate) / (1 - hidden_rate)      once a sequence
        gates = project_input(m_x x) + project_hidden(m_h h)
        h', y = update(h, gates)

    Only the recurrent product sees the masked state; where `update` reads the carry (an LSTM's
    cell, the `z h` of a GRU), it is whole. At inference nothing is dropped, nor scaled.

    `initialize_carry` draws the masks, and they stay in the carry: a sequence that is run in
    pieces keeps its masks. A reset changes the state only: episodes in one call share the masks.
    The masks have the shapes of the inputs and the state, so those of a convolutional cell drop
    single pixels.

    **Shapes:** as the inner cell; the carry is `DropoutCarry(carry, masks)`.

    **Options:**

    - `input_rate`, `hidden_rate`: which share of the entries is dropped. `hidden_rate` may be
        numbers in the structure of the inner cell's carry. Integers are never dropped.
    - `inference`: whether nothing is dropped. See `eqx.nn.inference_mode`.
    - `masks`: set by `begin`.

    **Source:** Y. Gal, Z. Ghahramani, "A theoretically grounded application of dropout in
    recurrent neural networks", NeurIPS (2016), with one mask for all gates. Departures: a product
    inside `update`, as of `GRUCell(reset_after=False)`, sees the whole state; around a cell that
    is no `FactoredCell`, all of the step sees the masked one.
    """

    cell: RNNCellBase
    input_rate: Any = eqx.field(default=0.0, converter=as_rates)
    hidden_rate: Any = eqx.field(default=0.0, converter=as_rates)
    inference: bool = eqx.field(default=False, kw_only=True)
    masks: DropoutMasks | None = eqx.field(default=None, kw_only=True)

    def __check_init__(self):
        check_rates("RecurrentDropout", "input_rate", self.input_rate)
        check_rates("RecurrentDropout", "hidden_rate", self.hidden_rate)
        inner = self.cell
        while isinstance(inner, Wrapper):
            if isinstance(inner, RecurrentDropout):
                raise ValueError(
                    "RecurrentDropout: `cell` must be without another `RecurrentDropout`, whose "
                    "masks would have masks of their own, got one. Pass both rates to one of them."
                )
            inner = inner.cell

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> PyTree[Array]:
        cell_key, input_key, hidden_key = split(key, 3)
        if self.masks is not None:
            return self.cell.initialize_carry(cell_key, sample_input)
        calm = self.inference or is_zero(self.input_rate)
        if not (calm or jnp.issubdtype(sample_input.dtype, jnp.floating)):
            raise TypeError(
                "RecurrentDropout: `inputs` must be floating-point to be dropped, got "
                f"{describe(sample_input)}. Pass `input_rate=0`, or embed them first."
            )
        carry = self.cell.initialize_carry(cell_key, sample_input)
        if self.inference:
            return DropoutCarry(carry, DropoutMasks(None, None))
        leaves, tree = jax.tree.flatten(carry)
        rates = jax.tree.leaves(self._hidden_rates(carry))
        hidden_keys = split(hidden_key, len(leaves))
        hidden = map(_draw, leaves, rates, hidden_keys)
        inputs = _draw(sample_input, self.input_rate, input_key)
        return DropoutCarry(carry, DropoutMasks(inputs, tree.unflatten(hidden)))

    def begin(
        self, carry: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[Any, PyTree[Array], Callable]:
        if self.masks is not None:
            return begin(self, carry, key)
        masks = carry.masks
        cell, carry, restore = self.cell.begin(carry.carry, key=key)
        where = lambda w: (w.cell, w.masks)
        begun = eqx.tree_at(where, self, (cell, masks), is_leaf=lambda leaf: leaf is None)
        return begun, carry, lambda carry: DropoutCarry(restore(carry), masks)

    def project_input(self, inputs: Any) -> PyTree[Array]:
        if self.masks is not None:
            inputs = drop(inputs, self.masks.inputs, self.input_rate)
        return project_input(self.cell, inputs)

    def project_hidden(self, carry: PyTree[Array]) -> PyTree[Array]:
        return project_hidden(self.cell, self._masked(carry))

    def update(
        self, carry: PyTree[Array], gates: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        if not isinstance(innermost(self.cell), FactoredCell):
            carry = self._masked(carry)
        return update(self.cell, carry, gates, key)

    def read_out(self, carry: PyTree[Array]) -> PyTree[Array]:
        # Between `begin` and `restore` the carry is the inner cell's.
        return self.cell.read_out(carry.carry if isinstance(carry, DropoutCarry) else carry)

    def _hidden_rates(self, carry: PyTree[Array]) -> PyTree[Any]:
        return spread("RecurrentDropout", "hidden_rate", self.hidden_rate, carry)

    def _masked(self, carry: PyTree[Array]) -> PyTree[Array]:
        if self.masks is None or self.masks.hidden is None:
            return carry
        return jax.tree.map(drop, carry, self.masks.hidden, self._hidden_rates(carry))


def _draw(like: Any, rate: Any, key: PRNGKeyArray | None) -> Bool[Array, "..."] | None:
    if is_zero(rate):
        return None
    key = require_key("RecurrentDropout", key, "to `RNN` or to `initialize_carry`")
    return jr.bernoulli(key, 1 - fixed(rate, like), like.shape)
