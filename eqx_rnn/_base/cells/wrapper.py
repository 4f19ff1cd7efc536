"""The contracts of cells around cells."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..._time import Advanced, State, Time
from ..carries import check_step
from ..structs import carry_struct
from .chunk import ChunkCell, step_as_chunk
from .factored import FactoredCell, step_in_parts
from .rnn_cell import Begun, RNNCellBase
from .sequential import SequentialCell


class AbstractWrapper(RNNCellBase):
    """A cell around one cell, with the same feature axes."""

    cell: eqx.AbstractVar[RNNCellBase]

    @property
    def num_feature_dims(self) -> int:
        return self.cell.num_feature_dims

    @abc.abstractmethod
    def begin(self, carry: PyTree[Array], *, key: PRNGKeyArray | None = None) -> Begun:
        """See `RNNCellBase.begin`. A wrapper begins the inner cell."""

    @abc.abstractmethod
    def read_out(self, carry: PyTree[Array]) -> PyTree[Array]:
        """See `RNNCellBase.read_out`."""


class AbstractStepWrapper(AbstractWrapper):
    """A wrapper that changes the step of the inner cell, written in terms of `parts(self.cell)`.

        gates          = project_input(inputs) + project_hidden(carry)
        carry, outputs = update(carry, gates)

    Around a `FactoredCell` these three methods are those of a `FactoredCell`, and the factored
    engine runs the wrapper. Around any other cell, the inputs are the gates of the inner cell,
    and the engine does not run the wrapper: see `is_factored`.
    """

    @abc.abstractmethod
    def project_input(self, inputs: Any) -> PyTree[Array]:
        """See `FactoredCell.project_input`."""

    @abc.abstractmethod
    def project_hidden(self, carry: PyTree[Array]) -> PyTree[Array]:
        """See `FactoredCell.project_hidden`."""

    @abc.abstractmethod
    def update(
        self, carry: PyTree[Array], gates: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """See `FactoredCell.update`."""

    def __call__(
        self, carry: PyTree, inputs: Any, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """One step: see `RNNCellBase.__call__`."""
        step = step_as_chunk if is_chunked(self) else step_in_parts
        return step(self, carry, inputs, key)


class ChunkWrapper(AbstractStepWrapper):
    """A step wrapper that can also change the chunks of a `ChunkCell`."""

    @abc.abstractmethod
    def chunk(
        self, carry: PyTree[State], inputs: Any, time: Time
    ) -> tuple[PyTree[Advanced], PyTree[Array]]:
        """See `ChunkCell.chunk`. It is called if the inner cell has chunks, too."""


class Whole(eqx.Module):
    """A cell without parts, for wrappers: its gates are the inputs and its update is the step."""

    cell: RNNCellBase

    def project_input(self, inputs: Any) -> Any:
        return inputs

    def project_hidden(self, carry: PyTree[Array]) -> None:
        return None

    def update(
        self, carry: PyTree[Array], gates: Any, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        return self.cell(carry, gates, key=key)


def parts(cell: RNNCellBase) -> FactoredCell | AbstractStepWrapper | Whole:
    """The three parts of a step of any cell."""
    return cell if isinstance(cell, FactoredCell | AbstractStepWrapper) else Whole(cell)


def is_factored(cell: RNNCellBase) -> bool:
    """Whether the factored engine can run a cell: a `FactoredCell`, or wrappers around one."""
    while isinstance(cell, AbstractStepWrapper):
        cell = cell.cell
    return isinstance(cell, FactoredCell)


def is_chunked(cell: RNNCellBase) -> bool:
    """Whether a cell is a `ChunkCell`, several in a row, or wrappers around them."""
    while isinstance(cell, ChunkWrapper):
        cell = cell.cell
    if isinstance(cell, SequentialCell):
        return all(map(is_chunked, cell.cells))
    return isinstance(cell, ChunkCell)


def innermost(cell: RNNCellBase) -> RNNCellBase:
    """The cell inside all wrappers."""
    while isinstance(cell, AbstractWrapper):
        cell = cell.cell
    return cell


def begin_inner(wrapper: AbstractWrapper, carry: PyTree[Array], key: PRNGKeyArray | None) -> Begun:
    """Begins the inner cell, for wrappers that have nothing to fix themselves."""
    cell, carry, finish = wrapper.cell.begin(carry, key=key)
    if cell is not wrapper.cell:
        wrapper = eqx.tree_at(lambda w: w.cell, wrapper, cell)
    return Begun(wrapper, carry, finish)


def step_begun(
    wrapper: AbstractWrapper, carry: PyTree, inputs: Any, key: PRNGKeyArray | None
) -> tuple[PyTree[Array], PyTree[Array]]:
    """One step of a wrapper whose `begin` returns another cell."""
    carry = check_step(type(wrapper).__name__, wrapper, carry, inputs, carry_struct)
    cell, carry, finish = wrapper.begin(carry)
    new_carry, outputs = cell(carry, inputs, key=key)
    return finish(new_carry), outputs
