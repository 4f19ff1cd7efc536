"""The types of the keyword arguments of cells, for `Unpack`."""

from collections.abc import Callable
from typing import Required, TypedDict

from jaxtyping import DTypeLike, PRNGKeyArray

from ..initializers import Initializer


class CoreOptions(TypedDict, total=False):
    """The keyword arguments of every cell: see `AbstractCell`."""

    carry_init: Initializer
    dtype: DTypeLike | None
    key: Required[PRNGKeyArray]


class MatrixOptions(TypedDict, total=False):
    """The keyword arguments of a cell that may have no weights: see `MatrixCell`."""

    carry_init: Initializer
    dtype: DTypeLike | None
    key: PRNGKeyArray | None


class WeightOptions(CoreOptions, total=False):
    """The keyword arguments of a cell with matrices and no biases: see `WeightCell`."""

    weight_init: Initializer


class BiasedOptions(WeightOptions, total=False):
    """The keyword arguments of a cell with matrices and biases: see `BiasedCell`."""

    use_bias: bool
    bias_init: Initializer


class ActivatedOptions(BiasedOptions, total=False):
    """The keyword arguments of every cell with an activation: see `ActivatedCell`."""

    activation: Callable


class CellOptions(ActivatedOptions, total=False):
    """The keyword arguments of every cell with a recurrent matrix: see `NonlinearCell`."""

    recurrent_weight_init: Initializer


class GatedCellOptions(CellOptions, total=False):
    """The keyword arguments of every cell with gates: see `GatedCell`."""

    gate_activation: Callable
