"""The contract of every cell."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..._checks.messages import is_ours


class Begun(NamedTuple):
    """A cell that is ready for one sequence, as `RNNCellBase.begin` returns it.

    - `cell`: the cell to step with.
    - `carry`: the carry of `cell` before the first step.
    - `finish`: a function from the last carry of `cell` to a carry of the original cell, which can
        start the next piece of the sequence.
    """

    cell: Any
    carry: PyTree[Array]
    finish: Callable[[PyTree[Array]], PyTree[Array]]


class RNNCellBase(eqx.Module):
    """The contract of every recurrent cell.

    A cell advances a *carry* by one time step. All arrays of the carry, the inputs and the outputs
    have the same leading batch axes: any number of them, including zero.

    Implement `num_feature_dims`, `__call__` and `initialize_carry`. `begin` and `read_out` are
    optional: both have a default, which a cell can override.

    If a step is a sum of an input part and a hidden part, subclass
    [`FactoredCell`][eqx_rnn.FactoredCell] instead, which `RNN` runs faster.
    """

    @property
    @abc.abstractmethod
    def num_feature_dims(self) -> int:
        """How many trailing axes of the inputs are features: 1 for vectors, more for images.

        The axes before them are batch axes and, for `RNN`, the time axis.
        """

    @abc.abstractmethod
    def __call__(
        self, carry: PyTree[Array], inputs: Any, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """Advances one step.

        **Arguments:**

        - `carry`: the carry that `initialize_carry` or the last step returned. It comes first,
            unlike in `eqx.nn`. If carry and inputs have equal sizes, swapped arguments raise no
            error and give wrong numbers.
        - `inputs`: one time step, of shape `(*batch, *features)`.
        - `key`: a random key, for cells that draw in the step. Other cells ignore it.

        **Returns:**

        The pair `(new carry, outputs)`. The new carry has the structure, shapes and dtypes of
        the old one.
        """

    @abc.abstractmethod
    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> PyTree[Array]:
        """The carry before the first step.

        **Arguments:**

        - `key`: a random key; may be `None` for cells that draw nothing.
        - `sample_input`: one time step of the inputs with its batch axes. Only its shape and
            dtype are read, so it may be a `jax.ShapeDtypeStruct`. Do not pass a whole sequence:
            its time axis would become a batch axis of the carry, without an error.
        """

    def begin(self, carry: PyTree[Array], *, key: PRNGKeyArray | None = None) -> Begun:
        """Fixes everything that stays constant over a sequence, such as dropped weights.

            cell, carry, finish = cell.begin(carry, key=key)
            carry, y[t] = cell(carry, x[t])                      for t = 0, 1, ...
            carry = finish(carry)

        `RNN` calls it before the first step. Most cells have nothing to fix: the default returns
        the cell and the carry unchanged. A cell that holds other cells begins them too. Beginning
        a begun cell changes nothing.

        **Arguments:**

        - `carry`: the carry before the first step.
        - `key`: a random key, for cells that draw weights or masks. Other cells ignore it.

        **Returns:**

        [`Begun(cell, carry, finish)`][eqx_rnn.Begun].
        """
        return Begun(self, carry, lambda carry: carry)

    def read_out(self, carry: PyTree[Array]) -> PyTree[Array]:
        """The outputs of a step as a function of its new carry.

            carry, outputs = cell(carry, inputs)
            outputs == cell.read_out(carry)

        `Zoneout` changes the new carry and needs the outputs of the changed carry. Return `None`
        for outputs that do not follow from the new carry alone. If only a part of the outputs does
        not, put `None` in its place: `return {"hidden": carry.hidden, "attention": None}`.
        `Zoneout` leaves these outputs as the step returned them.

        The default raises `NotImplementedError`. Unlike a special value, an exception cannot be
        mistaken for outputs, and it names the cell even from inside several wrappers.
        """
        name = type(self).__name__
        if is_ours(type(self)):
            raise NotImplementedError(
                f"The outputs of {name} depend on the inputs, so they do not follow from its carry."
            )
        raise NotImplementedError(
            f"Write `read_out` in {name}, the outputs of a step as a function of its new carry: "
            "for example `def read_out(self, carry): return carry` if the outputs are the carry. "
            "Return `None` for outputs that do not follow from the carry alone."
        )
