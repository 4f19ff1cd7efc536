"""The contract of cells that the factored engine runs."""

import abc
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..carries import check_step
from ..contract import check_contract
from ..gates import add_gates
from ..structs import carry_struct
from .rnn_cell import RNNCellBase


class FactoredCell(RNNCellBase):
    """A cell whose step adds an input part and a hidden part, and then makes a cheap update.

        gates          = project_input(inputs) + project_hidden(carry)
        carry, outputs = update(carry, gates)

    `gates` is one array or a PyTree of arrays, such as a `NamedTuple` or a dict. The two parts are
    added leaf by leaf. If only one part has a leaf, the other part has `None` in its place.

    `RNN` may project the inputs of many steps at once. Implement the three methods; `__call__`
    composes them and is final.
    """

    @abc.abstractmethod
    def project_input(self, inputs: Any) -> PyTree[Array]:
        """The input part of the gates, usually affine in `inputs`. It does not see the carry.

        `inputs` may have a time axis as one more leading batch axis.
        """

    @abc.abstractmethod
    def project_hidden(self, carry: PyTree[Array]) -> PyTree[Array]:
        """The hidden part of the gates: the expensive work of a step, usually a matrix product.

        `carry` may have a time axis as one more leading batch axis.
        """

    @abc.abstractmethod
    def update(
        self, carry: PyTree[Array], gates: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """The new carry and the outputs, from the old carry and the summed gates."""

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "__call__" in cls.__dict__:
            raise TypeError(
                f"{cls.__name__}: `__call__` of a `FactoredCell` is final, because `RNN` runs the "
                "three parts of a step instead. Write `project_input`, `project_hidden` and "
                "`update`, or subclass `RNNCellBase` to write `__call__`."
            )

    def __call__(
        self, carry: PyTree, inputs: Any, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """One step: see `RNNCellBase.__call__`."""
        return step_in_parts(self, carry, inputs, key)


def step_in_parts(
    cell: Any, carry: PyTree, inputs: Any, key: PRNGKeyArray | None
) -> tuple[PyTree[Array], PyTree[Array]]:
    """One step of a cell that has the three parts of a `FactoredCell`, with all checks."""
    carry = check_step(type(cell).__name__, cell, carry, inputs, carry_struct)
    inputs = jnp.asarray(inputs)
    begun, carry, finish = cell.begin(carry)
    gates = begun.project_input(inputs), begun.project_hidden(carry)
    new_carry, outputs = begun.update(carry, add_gates(*gates), key=key)
    check_contract(cell, inputs, carry, gates, new_carry, outputs)
    return finish(new_carry), outputs
