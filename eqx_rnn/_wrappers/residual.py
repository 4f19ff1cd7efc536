from typing import Any, NamedTuple

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.cells import (
    Begun,
    ChunkWrapper,
    ComposedCell,
    Results,
    RNNCellBase,
    Run,
    begin_inner,
    output_struct,
    parts,
    run_chunk,
)
from .._base.widths import cell_outputs, input_struct, try_outputs
from .._checks.messages import describe, describe_tree
from .._time import Advanced, State, Time


class ResidualGates(NamedTuple):
    """The gates of the inner cell, and the inputs that are added to its outputs."""

    cell: PyTree[Array]
    inputs: PyTree[Array]  # `None` in the hidden part


class Residual(ChunkWrapper, ComposedCell):
    """Adds the inputs to the outputs.

        h', y~ = cell(h, x)
        y = y~ + x

    `cell` may be any cell, including a `StackedCell`. `RNN` runs it over all steps as if it
    were alone, and then adds the inputs.

    The carry is that of the inner cell. The outputs do not follow from the carry alone, so
    `Zoneout` goes inside: `Residual(Zoneout(cell))`.

    **Shapes:** those of the inner cell, whose outputs have the shape of its inputs.

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
            check_outputs(outputs, inputs)

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> PyTree[Array]:
        return self.cell.initialize_carry(key, sample_input)

    def begin(self, carry: PyTree[Array], *, key: PRNGKeyArray | None = None) -> Begun:
        return begin_inner(self, carry, key)

    def project_input(self, inputs: Any) -> ResidualGates:
        return ResidualGates(parts(self.cell).project_input(inputs), inputs)

    def project_hidden(self, carry: PyTree[Array]) -> ResidualGates | None:
        hidden = parts(self.cell).project_hidden(carry)
        return None if hidden is None else ResidualGates(hidden, None)

    def update(
        self, carry: PyTree[Array], gates: ResidualGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], Array]:
        carry, outputs = parts(self.cell).update(carry, gates.cell, key=key)
        check_outputs(outputs, gates.inputs)
        return carry, outputs + gates.inputs

    def chunk(
        self, carry: PyTree[State], inputs: Any, time: Time
    ) -> tuple[PyTree[Advanced], PyTree[Array]]:
        carry, outputs = run_chunk(self.cell, carry, inputs, time)
        check_outputs(outputs, inputs)
        return carry, outputs + inputs

    def run_inside(
        self, run: Run, carry: Any, inputs: Array, initial: Any, keys: Array | None
    ) -> Results:
        final, (carries, outputs) = run(self.cell, carry, inputs, initial, keys)
        check_outputs(*jax.tree.map(_one_step, (outputs, inputs)))
        return final, (carries, outputs + inputs)

    def read_out(self, carry: PyTree[Array]) -> PyTree[Array]:
        raise NotImplementedError(
            "The outputs of `Residual` include the inputs, so they do not follow from its carry: "
            "put `Residual` outside, for example `Residual(Zoneout(cell))`."
        )


def check_outputs(outputs: Any, inputs: Any) -> None:
    """Checks that the outputs of the inner cell have the shape of its inputs."""
    if getattr(outputs, "shape", None) != inputs.shape:
        raise ValueError(
            "Residual: `cell` must return one array of the shape of its inputs, "
            f"{describe(inputs)}, got {describe_tree(outputs)}. Build it with as many features "
            "out as in, or project the inputs first."
        )


def _one_step(steps: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(steps.shape[1:], steps.dtype)
