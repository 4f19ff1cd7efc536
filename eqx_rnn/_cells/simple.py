from typing import Unpack

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._kernels.products import affine, project
from .base import CellOptions, Hidden, HiddenCell, NonlinearCell, VectorCell


class SimpleCell(HiddenCell, NonlinearCell, VectorCell, FactoredCell):
    """Elman's simple recurrent network.

        h' = tanh(W_ih x + b + W_hh h)            residual=False
        h' = tanh(W_ih x + b + W_hh h + h)        residual=True

    where `tanh` stands for `activation`. The output is `h'`.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** J. L. Elman, "Finding structure in time", Cognitive Science 14 (1990); the
    activation there is logistic. `residual=True` is the recurrent identity network of Y. Hu,
    A. Huber, J. Anumula, S.-C. Liu, "Overcoming the vanishing gradient problem in plain recurrent
    networks", arXiv:1801.06105 (2018); the activation there is ReLU.
    """

    residual: bool = eqx.field(static=True)
    weight_ih: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "{self.hidden_size}"] | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        residual: bool = False,
        **options: Unpack[CellOptions],
    ):
        """**Arguments:** those of every cell, and

        - `residual`: whether `h` is added inside the activation.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, b = draw.keys(3)
        self.weight_ih = draw.weight(ih, 1)
        self.weight_hh = draw.recurrent_weight(hh, 1)
        self.bias = draw.bias(b, 1)
        self.residual = residual

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Hidden:
        return affine(self.weight_ih, inputs, self.bias)

    def project_hidden(self, carry: Hidden) -> Hidden:
        return project(self.weight_hh, carry)

    def update(
        self, carry: Hidden, gates: Hidden, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        hidden = self.activation(gates + carry if self.residual else gates)
        return hidden, hidden
