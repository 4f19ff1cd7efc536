"""The contract of cells that run over a sequence by running their inner cells."""

import abc
from collections.abc import Callable

from jaxtyping import Array, PyTree

from .rnn_cell import RNNCellBase

# The final carry; the carries (if wanted) and the outputs of all steps.
Results = tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]
# `run(cell, carry, inputs, initial, keys)`: see `ComposedCell.run_inside`.
Run = Callable[..., Results]


class ComposedCell(RNNCellBase):
    """A cell that can run its inner cells over all steps, one cell after another.

    `RNN` then does not run it step by step, and the inner cells are as fast as alone.
    """

    @abc.abstractmethod
    def run_inside(
        self,
        run: Run,
        carry: PyTree[Array],
        inputs: PyTree[Array],
        initial: PyTree[Array] | None,
        keys: Array | None,
    ) -> Results | None:
        """The results of all steps, or `None` if this cell has to run step by step.

        **Arguments:**

        - `run`: runs an inner cell. Its results, and its arguments after the cell, are as here.
        - `carry`: the carry before the first step. The cell has begun.
        - `inputs`: the inputs of all steps. Time is the first axis.
        - `initial`: the carry after a reset; `None` without resets.
        - `keys`: one random key per step, or `None`.
        """
