"""What cells around cells share: the inner cell's three parts, whatever cell it is."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.cells import FactoredCell, RNNCellBase


class Wrapper(FactoredCell):
    """A cell around a cell. The methods here are the inner cell's; a wrapper changes some.

    A wrapper is a `FactoredCell` as much as the inner cell is one: around a cell that has no
    such parts, the gates are the inputs, the hidden part is `None` and `update` is the step.
    """

    cell: eqx.AbstractVar[RNNCellBase]

    @property
    def num_feature_dims(self) -> int:
        return self.cell.num_feature_dims

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> PyTree[Array]:
        return self.cell.initialize_carry(key, sample_input)

    def begin(
        self, carry: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[Any, PyTree[Array], Callable]:
        return begin(self, carry, key)

    def project_input(self, inputs: Any) -> PyTree[Array]:
        return project_input(self.cell, inputs)

    def project_hidden(self, carry: PyTree[Array]) -> PyTree[Array]:
        return project_hidden(self.cell, carry)

    def update(
        self, carry: PyTree[Array], gates: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        return update(self.cell, carry, gates, key)

    def read_out(self, carry: PyTree[Array]) -> PyTree[Array]:
        return self.cell.read_out(carry)


def begin(
    wrapper: Wrapper, carry: PyTree[Array], key: PRNGKeyArray | None
) -> tuple[Any, PyTree[Array], Callable]:
    """For wrappers that hold nothing to be settled."""
    cell, carry, restore = wrapper.cell.begin(carry, key=key)
    if cell is not wrapper.cell:
        wrapper = eqx.tree_at(lambda w: w.cell, wrapper, cell)
    return wrapper, carry, restore


def project_input(cell: RNNCellBase, inputs: Any) -> PyTree[Array]:
    return cell.project_input(inputs) if isinstance(cell, FactoredCell) else inputs


def project_hidden(cell: RNNCellBase, carry: PyTree[Array]) -> PyTree[Array]:
    return cell.project_hidden(carry) if isinstance(cell, FactoredCell) else None


def update(
    cell: RNNCellBase, carry: PyTree[Array], gates: PyTree[Array], key: PRNGKeyArray | None
) -> tuple[PyTree[Array], PyTree[Array]]:
    if isinstance(cell, FactoredCell):
        return cell.update(carry, gates, key=key)
    return cell(carry, gates, key=key)


def innermost(cell: RNNCellBase) -> RNNCellBase:
    """The cell that all wrappers are around."""
    while isinstance(cell, Wrapper):
        cell = cell.cell
    return cell
