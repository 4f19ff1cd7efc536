"""The contract of cells that run over a sequence by running the cells inside them."""

import abc
from collections.abc import Callable

from jaxtyping import Array, PyTree

from .rnn_cell import RNNCellBase

# The final carry; the carries (if wanted) and the outputs of all steps.
Results = tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]
# `run(cell, carry, inputs, initial, keys)`: see `ComposedCell.run_inside`.
Run = Callable[..., Results]


class ComposedCell(RNNCellBase):
    """A cell that `RNN` does not run step by step: it runs the cells inside over all steps.

    The cells inside are then as fast as alone.
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

        - `run`: runs a cell inside, with arguments and results as here.
        - `carry`: the carry before the first step. The cell has begun.
        - `inputs`: the inputs of all steps. Time is the first axis.
        - `initial`: the carry that a reset puts in place; `None` without resets.
        - `keys`: one random key per step, or `None`.
        """
