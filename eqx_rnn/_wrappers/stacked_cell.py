from collections.abc import Sequence

from .._base.cells import RNNCellBase, SequentialCell, inner_cells
from .._base.widths import check_widths
from .._checks.messages import check_distinct


class StackedCell(SequentialCell):
    """Several cells as one, for stepping: decoding, control, whatever feeds on its own outputs.

        h[0], carry[0]' = cells[0](x, carry[0])
        h[k], carry[k]' = cells[k](h[k - 1], carry[k])        for k = 1, 2, ...

    The output is the last `h`. `StackedCell([layer.cell for layer in stacked.layers])` steps
    through the layers of a `Stacked` with the same weights; what that has between them (dropout,
    norms, residual connections) is left out.

    **Shapes:** inputs as those of the first cell, outputs as those of the last; carry a tuple of
    the cells' carries. Every cell takes in as many features as the one before puts out.

    **Source:** A. Graves, A.-R. Mohamed, G. Hinton, "Speech recognition with deep recurrent
    neural networks", ICASSP (2013). Departure: only the first cell sees the inputs, only the
    last one's outputs are seen.
    """

    cells: tuple[RNNCellBase, ...]

    def __init__(self, cells: Sequence[RNNCellBase]):
        """**Arguments:**

        - `cells`: at least one, the one that takes in the inputs first.
        """
        if len(cells) == 0:
            raise ValueError("StackedCell: `cells` must be one cell or more, got none. Pass some.")
        check_distinct("StackedCell", "`cells`", inner_cells(tuple(cells)))
        check_widths("StackedCell", "cells", cells)
        self.cells = tuple(cells)
