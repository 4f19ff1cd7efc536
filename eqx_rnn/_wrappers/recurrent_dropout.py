from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from .._base.cells import (
    AbstractWrapper,
    Begun,
    RNNCellBase,
    innermost,
    is_factored,
    step_begun,
)
from .._checks.messages import describe, describe_tree
from .._kernels.run_time import error_if
from .._kernels.tracers import Tracer
from .._select import select
from .masked_cell import DropoutMasks, MaskedCell
from .rates import as_rates, check_rates, fixed, is_zero, require_key, split, spread

_MASKS = 0x6D61736B  # for `fold_in`: far from the small numbers with which `split` makes keys


class DropoutCarry(NamedTuple):
    """The carry of `RecurrentDropout`: that of the inner cell, and the masks of the sequence.

    `pending` is true in a carry that was made at inference: its masks are still to be drawn. Its
    shape is `(*batch, 1)`, with one 1 per feature axis of the inputs. It is `None` if there
    are no masks.
    """

    carry: PyTree[Array]
    masks: DropoutMasks
    pending: Bool[Array, "..."] | None


class RecurrentDropout(AbstractWrapper):
    """Variational dropout: one mask per sequence for the inputs, one for the hidden state.

        m_x ~ Bernoulli(1 - input_rate) / (1 - input_rate)        once per sequence
        m_h ~ Bernoulli(1 - hidden_rate) / (1 - hidden_rate)      once per sequence
        gates = project_input(m_x x) + project_hidden(m_h h)
        h', y = update(h, gates)

    Only the recurrent product sees the masked state. `update` reads the unmasked carry, such as
    the cell of an LSTM or the h in the `z h` of a GRU. At inference nothing is dropped or scaled.

    In training, `initialize_carry` draws the masks. They stay in the carry, so a sequence that is
    run in pieces keeps its masks. A reset changes the state only: the episodes of one call share
    the masks. The masks have the shapes of the inputs and the state, so around a convolutional cell
    they drop individual pixels.

    A carry has the same structure in training and at inference, so either can continue from the
    other. Inference leaves the masks as they are. A carry that was made at inference has no masks
    yet: training draws them from the key of `RNN` or of `begin`, and a missing key is an error.

    **Shapes:** those of the inner cell. The carry is `DropoutCarry(carry, masks, pending)`.

    **Options:**

    - `input_rate`, `hidden_rate`: the fraction of the entries that is dropped. `hidden_rate` may be
        numbers in the structure of the inner cell's carry. Integers are never dropped.
    - `inference`: whether nothing is dropped. See `eqx.nn.inference_mode`.

    **Source:** Y. Gal, Z. Ghahramani, "A theoretically grounded application of dropout in
    recurrent neural networks", NeurIPS (2016), with one mask for all gates. Departures: a product
    inside `update`, such as that of `GRUCell(reset_after=False)`, sees the unmasked state. Around
    a cell that is not a `FactoredCell`, such as a `StackedCell`, the whole step sees the masked
    state.
    """

    cell: RNNCellBase
    input_rate: Any = eqx.field(default=0.0, converter=as_rates)
    hidden_rate: Any = eqx.field(default=0.0, converter=as_rates)
    inference: bool = eqx.field(default=False, kw_only=True)

    def __check_init__(self):
        check_rates("RecurrentDropout", "input_rate", self.input_rate)
        check_rates("RecurrentDropout", "hidden_rate", self.hidden_rate)
        is_dropout = lambda node: isinstance(node, RecurrentDropout)
        if any(map(is_dropout, jax.tree.leaves(self.cell, is_leaf=is_dropout))):
            raise ValueError(
                "RecurrentDropout: `cell` must be without another `RecurrentDropout`, whose masks "
                "would be dropped too, got one. Pass both rates to one of them."
            )

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> DropoutCarry:
        is_needed = not (self.inference or is_zero(self.input_rate))
        if is_needed and not jnp.issubdtype(sample_input.dtype, jnp.floating):
            raise TypeError(
                "RecurrentDropout: `inputs` must be floating-point to be dropped, got "
                f"{describe(sample_input)}. Pass `input_rate=0`, or embed them first."
            )
        cell_key, *mask_keys = split(key, 3)
        carry = self.cell.initialize_carry(cell_key, sample_input)
        masks = self._masks(sample_input, carry, *mask_keys)
        features = self.num_feature_dims
        shape = sample_input.shape[: len(sample_input.shape) - features] + features * (1,)
        pending = jnp.full(shape, self.inference) if jax.tree.leaves(masks) else None
        return DropoutCarry(carry, masks, pending)

    def begin(self, carry: DropoutCarry, *, key: PRNGKeyArray | None = None) -> Begun:
        none = DropoutMasks(None, None)
        used, rates = none, none
        if not (self.inference or carry.pending is None):
            carry = self._draw_missing(carry, key)
            used = carry.masks
            rates = DropoutMasks(self.input_rate, self._hidden_rates(carry.carry))
        cell, inner, finish = self.cell.begin(carry.carry, key=key)
        masked = MaskedCell(cell, used, rates, whole_step=not is_factored(cell))
        return Begun(masked, inner, lambda inner: carry._replace(carry=finish(inner)))

    def __call__(
        self, carry: DropoutCarry, inputs: Any, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        return step_begun(self, carry, inputs, key)

    def read_out(self, carry: DropoutCarry) -> PyTree[Array]:
        return self.cell.read_out(carry.carry)

    def _hidden_rates(self, carry: PyTree[Array]) -> PyTree[Any]:
        rates = spread("RecurrentDropout", "hidden_rate", self.hidden_rate, carry)
        is_inseparable = lambda part: getattr(part, "inseparable", False)
        if is_inseparable(innermost(self.cell)):
            check_undropped(type(innermost(self.cell)).__name__, rates)
        for part in jax.tree.leaves(rates, is_leaf=is_inseparable):
            if is_inseparable(part):
                check_undropped(type(part).__name__, part)
        return rates

    def _masks(
        self,
        inputs: Any,
        carry: PyTree[Array],
        input_key: PRNGKeyArray | None,
        hidden_key: PRNGKeyArray | None,
    ) -> DropoutMasks:
        """Masks with the shapes of the inputs and of a carry of the inner cell.

        At inference nothing is drawn, and all entries are kept.
        """

        def mask(like: Any, rate: Any, key: PRNGKeyArray | None) -> Bool[Array, "..."] | None:
            if is_zero(rate):
                return None
            if self.inference:
                return jnp.ones(like.shape, bool)
            key = require_key("RecurrentDropout", key, "to `RNN` or to `initialize_carry`")
            return jr.bernoulli(key, 1 - fixed(rate, like), like.shape)

        leaves, tree = jax.tree.flatten(carry)
        rates = jax.tree.leaves(self._hidden_rates(carry))
        hidden = map(mask, leaves, rates, split(hidden_key, len(leaves)))
        inputs = mask(inputs, self.input_rate, input_key)
        return DropoutMasks(inputs, tree.unflatten(hidden))

    def _draw_missing(self, carry: DropoutCarry, key: PRNGKeyArray | None) -> DropoutCarry:
        """`carry` with new masks for the sequences that have none."""
        pending: Any = carry.pending
        is_known = not isinstance(pending, Tracer)
        if is_known and not np.any(pending):
            return carry
        if key is None and not is_known:
            return carry._replace(masks=_check_drawn(carry.masks, pending))
        where = "to `RNN` or to `begin`, because `carry` was made at inference and has no masks"
        key = require_key("RecurrentDropout", key, where)
        new = self._masks(carry.masks.inputs, carry.carry, *jr.split(jr.fold_in(key, _MASKS)))
        rows = pending.reshape(pending.shape[: pending.ndim - self.num_feature_dims])
        return DropoutCarry(carry.carry, select(rows, new, carry.masks), jnp.zeros_like(pending))


def _check_drawn(masks: DropoutMasks, pending: Any) -> DropoutMasks:
    """`masks`, with an error at run time if they are used and have not been drawn."""
    (first, *others), tree = jax.tree.flatten(masks)
    error = (
        "RecurrentDropout: `key` must be a random key in training, because `carry` was made at "
        "inference and has no masks, got None. Pass `key=jax.random.key(seed)` to `RNN` or to "
        "`begin`."
    )
    not_exported = (
        "RecurrentDropout: without a `key`, training has to check at run time that the masks in "
        "the carry have been drawn, and an exported function cannot check it. Pass `key` to `RNN` "
        "or to `begin`, or switch to inference with `eqx.nn.inference_mode(model)`."
    )
    return tree.unflatten([error_if(first, jnp.any(pending), error, not_exported), *others])


def check_undropped(owner: str, rates: PyTree[Any]) -> None:
    """Checks that no array of an inseparable part is dropped."""
    if not all(map(is_zero, jax.tree.leaves(rates))):
        raise ValueError(
            f"RecurrentDropout: `hidden_rate` must be 0 for {owner}, because the arrays of this "
            f"carry only have a meaning together, got {describe_tree(rates)}. Drop inputs by "
            "`input_rate` instead."
        )
