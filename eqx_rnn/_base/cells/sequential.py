"""The contract of several cells that run one after another within a step."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..._checks.errors import part_of
from ..._checks.messages import check_link
from ..._time import Advanced, Time
from ..carries import check_order, check_parts
from ..structs import carry_struct, output_struct
from .chunk import run_chunk
from .composed import ComposedCell, Results, Run
from .rnn_cell import Begun, RNNCellBase


class SequentialCell(ComposedCell):
    """Several cells as one: within a step, the outputs of each are the inputs of the next.

        carry[k], x = cells[k](carry[k], x)        for k = 0, 1, ...

    The carry is a tuple with one carry per cell. The outputs are those of the last cell. `RNN` runs
    each cell over all steps before the next one, so each is as fast as alone. A step and `RNN` both
    split a key into one key per cell. Implement `cells`; everything else is final.
    """

    cells: eqx.AbstractVar[tuple[RNNCellBase, ...]]

    @property
    def num_feature_dims(self) -> int:
        return self.cells[0].num_feature_dims

    def __call__(
        self, carry: Any, inputs: Any, *, key: PRNGKeyArray | None = None
    ) -> tuple[tuple[PyTree[Array], ...], PyTree[Array]]:
        """One step: see `RNNCellBase.__call__`."""
        owner = type(self).__name__
        if isinstance(inputs, tuple | list):
            check_order(owner, self, carry, inputs, carry_struct)
        carry = check_parts(owner, "carry", carry, len(self.cells), "cell")
        new_carry, outputs = [], inputs
        for k, cell in enumerate(self.cells):
            if k > 0:
                outputs = check_link(owner, inputs, outputs, self.num_feature_dims, cell)
            own_key = part_of_key(key, self.cells, k)
            with part_of(owner, f"cells[{k}]", f"carry[{k}]", is_first=k == 0):
                cell_carry, outputs = cell(carry[k], outputs, key=own_key)
            new_carry.append(cell_carry)
        return tuple(new_carry), outputs

    def initialize_carry(
        self, key: PRNGKeyArray | None, sample_input: Any
    ) -> tuple[PyTree[Array], ...]:
        """See `RNNCellBase.initialize_carry`."""
        owner, dims, carry, sample = type(self).__name__, self.num_feature_dims, [], sample_input
        for k, cell in enumerate(self.cells):
            if k > 0:
                sample = output_struct(self.cells[k - 1], sample)
                sample = check_link(owner, sample_input, sample, dims, cell)
            with part_of(owner, f"cells[{k}]", "", is_first=k == 0):
                carry.append(cell.initialize_carry(part_of_key(key, self.cells, k), sample))
        return tuple(carry)

    def begin(self, carry: Any, *, key: PRNGKeyArray | None = None) -> Begun:
        """See `RNNCellBase.begin`."""
        carry = check_parts(type(self).__name__, "carry", carry, len(self.cells), "cell")
        begun = [
            cell.begin(carry[k], key=part_of_key(key, self.cells, k))
            for k, cell in enumerate(self.cells)
        ]
        cells, carries, finishes = zip(*begun, strict=True)
        finish = lambda carry: tuple(f(c) for f, c in zip(finishes, carry, strict=True))
        return Begun(eqx.tree_at(lambda cell: cell.cells, self, cells), carries, finish)

    def run_inside(
        self, run: Run, carry: Any, inputs: Any, initial: Any, keys: Array | None
    ) -> Results:
        """See `ComposedCell.run_inside`."""
        finals, all_carries, outputs = [], [], inputs
        for k, cell in enumerate(self.cells):
            own_keys = keys
            if keys is not None:
                own_keys = jax.vmap(lambda key, k=k: part_of_key(key, self.cells, k))(keys)
            start = None if initial is None else initial[k]
            final, (carries, outputs) = run(cell, carry[k], outputs, start, own_keys)
            finals.append(final)
            all_carries.append(carries)
        return tuple(finals), (tuple(all_carries), outputs)

    def chunk(
        self, carry: Any, inputs: Any, time: Time
    ) -> tuple[tuple[PyTree[Advanced], ...], PyTree[Array]]:
        """See `ChunkCell.chunk`. It is called inside a wrapper, if all cells have chunks."""
        owner, new_carry, outputs = type(self).__name__, [], inputs
        for k, cell in enumerate(self.cells):
            own = time
            if time.has_keys:
                own = time.with_keys(time.draw(lambda key, k=k: part_of_key(key, self.cells, k)))
            if k > 0:
                dims = self.num_feature_dims
                outputs = check_link(owner, inputs, outputs, dims, cell)
            new, outputs = run_chunk(cell, carry[k], outputs, own)
            new_carry.append(new)
        return tuple(new_carry), outputs

    def read_out(self, carry: Any) -> PyTree[Array]:
        """See `RNNCellBase.read_out`."""
        carry = check_parts(type(self).__name__, "carry", carry, len(self.cells), "cell")
        return self.cells[-1].read_out(carry[-1])


def part_of_key(key: PRNGKeyArray | None, parts: Sequence[Any], k: int) -> PRNGKeyArray | None:
    """The key of the `k`-th of several parts; `None` if there is no key."""
    return None if key is None else jr.split(key, len(parts))[k]


def inner_cells(tree: PyTree) -> list[RNNCellBase]:
    """The cells in a PyTree that hold no further cells: those inside all wrappers and stacks."""
    is_cell = lambda node: isinstance(node, RNNCellBase) and node is not tree
    nodes = filter(is_cell, jax.tree.leaves(tree, is_leaf=is_cell))
    found = [cell for node in nodes for cell in inner_cells(node)]
    return found or [tree] if isinstance(tree, RNNCellBase) else found
