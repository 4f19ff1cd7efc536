from typing import Any, NamedTuple

from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.cells import RNNCellBase, output_struct
from .._base.widths import cell_outputs, input_struct, try_outputs
from .._checks.messages import describe, describe_tree
from .base import Wrapper, project_hidden, project_input, update


class ResidualGates(NamedTuple):
    """The inner cell's gates, and the inputs on their way past it."""

    cell: PyTree[Array]
    inputs: PyTree[Array]  # None in the hidden part


class Residual(Wrapper):
    """Adds the inputs to the outputs.

        h', y~ = cell(h, x)
        y = y~ + x

    The carry is the inner cell's. The outputs do not follow from it alone, so `Zoneout` goes
    inside: `Residual(Zoneout(cell))`.

    **Shapes:** as the inner cell, whose outputs have the shape of its inputs.

    **Source:** Y. Wu et al., "Google's neural machine translation system: bridging the gap
    between human and machine translation", arXiv:1609.08144 (2016), section 3.1.
    """

    cell: RNNCellBase

    def __check_init__(self):
        inputs = input_struct(self.cell)
        # The sizes of images depend on strides and padding, so a step is traced.
        outputs_of = cell_outputs if self.cell.num_feature_dims == 1 else output_struct
        outputs = try_outputs(self.cell, inputs, outputs_of)
        if inputs is not None and outputs is not None:
            _check_outputs(outputs, inputs)

    def project_input(self, inputs: Any) -> PyTree[Array]:
        return ResidualGates(project_input(self.cell, inputs), inputs)

    def project_hidden(self, carry: PyTree[Array]) -> PyTree[Array]:
        hidden = project_hidden(self.cell, carry)
        return None if hidden is None else ResidualGates(hidden, None)

    def update(
        self, carry: PyTree[Array], gates: ResidualGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], Array]:
        carry, outputs = update(self.cell, carry, gates.cell, key)
        _check_outputs(outputs, gates.inputs)
        return carry, outputs + gates.inputs

    def read_out(self, carry: PyTree[Array]) -> PyTree[Array]:
        raise NotImplementedError(
            "The outputs of `Residual` hold the inputs, so they do not follow from its carry: put "
            "`Residual` outside, for example `Residual(Zoneout(cell))`."
        )


def _check_outputs(outputs: Any, inputs: Any) -> None:
    if getattr(outputs, "shape", None) != inputs.shape:
        raise ValueError(
            "Residual: `cell` must return one array of the shape of its inputs, "
            f"{describe(inputs)}, got {describe_tree(outputs)}. Build it with as many features "
            "out as in, or project the inputs first."
        )
