from collections.abc import Sequence

from .._base.cells import RNNCellBase, SequentialCell, inner_cells
from .._base.widths import check_widths
from .._checks.messages import check_distinct


class StackedCell(SequentialCell):
    """Several cells as one, to step through: for decoding, control and other feedback loops.

        h[0], carry[0]' = cells[0](x, carry[0])
        h[k], carry[k]' = cells[k](h[k - 1], carry[k])        for k = 1, 2, ...

    The output is the last `h`. `StackedCell([layer.cell for layer in stacked.layers])` steps
    through the layers of a `Stacked` with the same weights, but without the dropout, norms and
    residual connections between them.

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
