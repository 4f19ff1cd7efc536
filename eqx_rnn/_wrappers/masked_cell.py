from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from .._base.cells import (
    AbstractStepWrapper,
    Begun,
    ComposedCell,
    Results,
    RNNCellBase,
    Run,
    SequentialCell,
    begin_inner,
    is_factored,
    parts,
)
from .learned_carry import LearnedCarry
from .rates import drop, split
from .residual import Residual


class DropoutMasks(NamedTuple):
    """The entries that `RecurrentDropout` keeps; `None` for an array without dropout."""

    inputs: PyTree[Bool[Array, "..."]]
    hidden: PyTree[Bool[Array, "..."]]


class MaskedCell(AbstractStepWrapper, ComposedCell):
    """A cell with the masks of one sequence, as `RecurrentDropout.begin` returns it.

        gates = project_input(m_x x) + project_hidden(m_h h)
        h', y = update(h, gates)                                  whole_step=False
        h', y = update(m_h h, gates)                              whole_step=True

    Its carry is that of the inner cell. `rates` has one rate per mask.
    """

    cell: RNNCellBase
    masks: DropoutMasks
    rates: DropoutMasks
    whole_step: bool = eqx.field(static=True)

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> PyTree[Array]:
        cell_key, *_ = split(key, 3)  # the others draw the masks in `RecurrentDropout`
        return self.cell.initialize_carry(cell_key, sample_input)

    def begin(self, carry: PyTree[Array], *, key: PRNGKeyArray | None = None) -> Begun:
        return begin_inner(self, carry, key)

    def project_input(self, inputs: Any) -> PyTree[Array]:
        return parts(self.cell).project_input(self.drop_inputs(inputs))

    def project_hidden(self, carry: PyTree[Array]) -> PyTree[Array]:
        return parts(self.cell).project_hidden(self.drop_hidden(carry))

    def update(
        self, carry: PyTree[Array], gates: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        if self.whole_step:
            carry = self.drop_hidden(carry)
        return parts(self.cell).update(carry, gates, key=key)

    def read_out(self, carry: PyTree[Array]) -> PyTree[Array]:
        return self.cell.read_out(carry)

    def run_inside(
        self, run: Run, carry: Any, inputs: Any, initial: Any, keys: Array | None
    ) -> Results | None:
        inner = None if is_factored(self) else self._after_inputs()
        if inner is None:
            return None
        return run(inner, carry, jax.vmap(self.drop_inputs)(inputs), initial, keys)

    def drop_inputs(self, inputs: Any) -> Any:
        return drop(inputs, self.masks.inputs, self.rates.inputs)

    def drop_hidden(self, carry: PyTree[Array]) -> PyTree[Array]:
        if self.masks.hidden is None:
            return carry
        return jax.tree.map(drop, carry, self.masks.hidden, self.rates.hidden)

    def _after_inputs(self) -> RNNCellBase | None:
        """The cell that is left to run over all steps once their inputs are masked.

        The hidden masks move into stacks, where each cell gets its own. `None` if this cell has to
        run step by step.
        """
        cell, masks, rates = self.cell, self.masks.hidden, self.rates.hidden
        if not jax.tree.leaves(masks):
            return cell
        if isinstance(cell, LearnedCarry | Residual):
            return eqx.tree_at(lambda c: c.cell, cell, _mask_carry(cell.cell, masks, rates))
        if isinstance(cell, SequentialCell):
            cells = map(_mask_carry, cell.cells, masks, rates)
            return eqx.tree_at(lambda c: c.cells, cell, tuple(cells))
        return None


def _mask_carry(cell: RNNCellBase, masks: PyTree[Array], rates: PyTree[Any]) -> MaskedCell:
    masks, rates = DropoutMasks(None, masks), DropoutMasks(0.0, rates)
    return MaskedCell(cell, masks, rates, whole_step=True)
