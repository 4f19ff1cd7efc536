"""The contracts between cells and what runs them over time."""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._checks.errors import part_of
from .._checks.messages import check_link
from .carries import check_order, check_parts, check_step
from .contract import check_contract
from .gates import add_gates
from .structs import carry_struct, output_struct


class RNNCellBase(eqx.Module):
    """All that a recurrent cell needs to be.

    A cell advances a *carry* by one time step. Every array in it, in the inputs and in the
    outputs has the same leading batch axes: any number of them, none too.

    A cell that can be written as a sum of an input part and a hidden part should be a
    [`FactoredCell`][eqx_rnn.FactoredCell], which runs faster.
    """

    @property
    @abc.abstractmethod
    def num_feature_dims(self) -> int:
        """How many trailing axes of the inputs are features: 1 for vectors, more for images.

        What stands before them is batch, and for `RNN` time.
        """

    @abc.abstractmethod
    def __call__(
        self, carry: PyTree[Array], inputs: Any, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """Advances one step.

        **Arguments:**

        - `carry`: what `initialize_carry` or the last step returned. It comes first, unlike in
            `eqx.nn`. With equal widths, swapped arguments go unnoticed and give wrong numbers.
        - `inputs`: one time step, of shape `(*batch, *features)`.
        - `key`: for cells with randomness in the step; the others ignore it.

        **Returns:**

        The pair `(new carry, outputs)`. The new carry has the structure, shapes and dtypes of
        the old one.
        """

    @abc.abstractmethod
    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> PyTree[Array]:
        """The carry before the first step.

        **Arguments:**

        - `key`: may be `None` for cells that draw nothing.
        - `sample_input`: one time step of the inputs with its batch axes. Only its shape and
            dtype are read, so it may be a `jax.ShapeDtypeStruct`. A whole sequence cannot be
            detected: its time axis counts as one more batch axis, and the carry has it too.
        """

    def begin(
        self, carry: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[Any, PyTree[Array], Callable]:
        """Settles what is constant over a sequence, such as the masks of dropout.

            cell, carry, restore = cell.begin(carry, key=key)
            carry, y[t] = cell(carry, x[t])                      for t = 0, 1, ...
            carry = restore(carry)

        `RNN` calls it before the first step. Without need for it, as in most cells, this is the
        cell and the carry as they are, which is the default. A cell that holds cells passes it
        on to them. Begun twice is begun once.

        **Arguments:**

        - `carry`: the one before the first step.
        - `key`: for cells that draw weights, or a mask for them; the others ignore it.

        **Returns:**

        The cell to step with, its carry, and a function from its last carry to one that can
        start the next piece of the sequence.
        """
        return self, carry, lambda carry: carry

    def read_out(self, carry: PyTree[Array]) -> PyTree[Array]:
        """The outputs of a step as a function of its new carry.

            carry, outputs = cell(carry, inputs)
            outputs == cell.read_out(carry)

        `Zoneout`, which changes the new carry, reads the outputs of the changed carry. `None`
        stands for outputs that do not follow from the new carry alone, or for such a part of them:
        `return {"hidden": carry.hidden, "attention": None}`. They stay as the step returns them.

        The default raises `NotImplementedError`: the cell does not say. Unlike a special value, an
        exception is never mistaken for outputs, and names the cell through all cells around it.
        """
        name = type(self).__name__
        raise NotImplementedError(
            f"Write `read_out` in {name}, the outputs of a step as a function of its new carry: "
            "for example `def read_out(self, carry): return carry` if the outputs are the carry, "
            "with `None` for outputs that do not follow from the carry alone."
        )


class FactoredCell(RNNCellBase):
    """A cell whose step is a sum of an input part and a hidden part, then a cheap update.

        gates         = project_input(inputs) + project_hidden(carry)
        carry, outputs = update(carry, gates)

    `gates` is one array or a PyTree of arrays, such as a `NamedTuple` or a dict. The two parts are
    added leaf by leaf; a leaf that only one of them has is `None` in the other.

    Splitting a step this way lets `RNN` project the inputs of many steps at once. Implement the
    three methods; `__call__` composes them and is final.
    """

    @abc.abstractmethod
    def project_input(self, inputs: Any) -> PyTree[Array]:
        """The input's part of the gates: affine in `inputs` as a rule, sees no carry.

        Time may be one more leading batch axis of `inputs`.
        """

    @abc.abstractmethod
    def project_hidden(self, carry: PyTree[Array]) -> PyTree[Array]:
        """The carry's part of the gates: the heavy work of a step, a matrix product as a rule.

        Time may be one more leading batch axis of `carry`.
        """

    @abc.abstractmethod
    def update(
        self, carry: PyTree[Array], gates: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """The new carry and the outputs from the old carry and the summed gates."""

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "__call__" in cls.__dict__:
            raise TypeError(
                f"{cls.__name__}: `__call__` of a `FactoredCell` is final, because `RNN` runs its "
                "three parts and not it. Write `project_input`, `project_hidden` and `update`, or "
                "subclass `RNNCellBase` to write `__call__`."
            )

    def __call__(
        self, carry: PyTree, inputs: Any, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """One step: see `RNNCellBase.__call__`."""
        carry = check_step(type(self).__name__, self, carry, inputs, carry_struct)
        inputs = jnp.asarray(inputs)
        cell, carry, restore = self.begin(carry)
        parts = cell.project_input(inputs), cell.project_hidden(carry)
        new_carry, outputs = cell.update(carry, add_gates(*parts), key=key)
        check_contract(self, inputs, carry, parts, new_carry, outputs)
        return restore(new_carry), outputs


class SequentialCell(RNNCellBase):
    """Cells in a row as one cell: what one puts out in a step is what the next takes in.

        carry[k], x = cells[k](carry[k], x)        for k = 0, 1, ...

    The carry is a tuple, one a cell; the outputs are those of the last one. `RNN` runs each cell
    over all steps before the next, so each as fast as alone. A key is split into one a cell, in
    a step and in `RNN` alike. Implement `cells`; the rest is final.
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

    def begin(
        self, carry: Any, *, key: PRNGKeyArray | None = None
    ) -> tuple[Any, tuple[PyTree[Array], ...], Callable]:
        """See `RNNCellBase.begin`."""
        carry = check_parts(type(self).__name__, "carry", carry, len(self.cells), "cell")
        begun = [
            cell.begin(carry[k], key=part_of_key(key, self.cells, k))
            for k, cell in enumerate(self.cells)
        ]
        cells, carries, restores = zip(*begun, strict=True)
        restore = lambda carry: tuple(r(c) for r, c in zip(restores, carry, strict=True))
        return eqx.tree_at(lambda cell: cell.cells, self, cells), carries, restore

    def read_out(self, carry: Any) -> PyTree[Array]:
        """See `RNNCellBase.read_out`."""
        carry = check_parts(type(self).__name__, "carry", carry, len(self.cells), "cell")
        return self.cells[-1].read_out(carry[-1])


def part_of_key(key: PRNGKeyArray | None, parts: Sequence[Any], k: int) -> PRNGKeyArray | None:
    """The key of the `k`-th of several parts; none from none."""
    return None if key is None else jr.split(key, len(parts))[k]


def inner_cells(tree: PyTree) -> list[RNNCellBase]:
    """The cells in a PyTree that hold no further ones: those inside all wrappers and stacks."""
    is_cell = lambda node: isinstance(node, RNNCellBase) and node is not tree
    nodes = filter(is_cell, jax.tree.leaves(tree, is_leaf=is_cell))
    found = [cell for node in nodes for cell in inner_cells(node)]
    return found or [tree] if isinstance(tree, RNNCellBase) else found
