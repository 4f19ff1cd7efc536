from collections.abc import Sequence

from .._base.cells import RNNCellBase, SequentialCell, inner_cells
from .._base.widths import check_widths
from .._checks.messages import check_distinct


class StackedCell(SequentialCell):
    """Several cells as one, to step through: for decoding, control and other feedback loops.

        carry[0]', h[0] = cells[0](carry[0], x)
        carry[k]', h[k] = cells[k](carry[k], h[k - 1])        for k = 1, 2, ...

    The output is the last `h`. `Stacked.as_cell()` returns a `StackedCell` with the weights of a
    `Stacked`, including its residual connections.

    **Shapes:** the inputs are those of the first cell, and the outputs are those of the last cell.
    The carry is a tuple with one carry per cell. The input size of each cell is the output size of
    the cell before it.

    **Source:** A. Graves, A.-R. Mohamed, G. Hinton, "Speech recognition with deep recurrent
    neural networks", ICASSP (2013). Departure: only the first cell sees the inputs, and the output
    is that of the last cell only.
    """

    cells: tuple[RNNCellBase, ...]

    def __init__(self, cells: Sequence[RNNCellBase]):
        """**Arguments:**

        - `cells`: at least one cell. The first one takes the inputs.
        """
        if len(cells) == 0:
            raise ValueError("StackedCell: `cells` must be one cell or more, got none. Pass some.")
        check_distinct("StackedCell", "`cells`", inner_cells(tuple(cells)))
        check_widths("StackedCell", "cells", cells)
        self.cells = tuple(cells)
