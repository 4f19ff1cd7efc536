from typing import Unpack

from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._kernels.products import affine, project
from .activations import activate
from .base import GatedCell, GatedCellOptions, Hidden, HiddenCell, VectorCell

Gates = Float[Array, "*batch 2*{self.hidden_size}"]


class UGRNNCell(HiddenCell, GatedCell, VectorCell, FactoredCell):
    """Update-gate network: a highway between the old state and a simple recurrent network.

        g = sigmoid(W_ig x + b_g + W_hg h)         update gate
        n = tanh(W_in x + b_n + W_hn h)            candidate
        h' = g h + (1 - g) n

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    The rows of the weights are g, n.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** J. Collins, J. Sohl-Dickstein, D. Sussillo, "Capacity and trainability in recurrent
    neural networks", ICLR (2017), where the candidate is called c.
    """

    weight_ih: Float[Array, "2*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "2*{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "2*{self.hidden_size}"] | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        **options: Unpack[GatedCellOptions],
    ):
        """**Arguments:** those of every cell, and

        - `forget_bias`: is added to the update gate's part of the initial `bias`. The cell forgets
            where that gate is small. It has no effect with `use_bias=False`.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, b = draw.keys(3)
        self.weight_ih = draw.weight(ih, 2)
        self.weight_hh = draw.recurrent_weight(hh, 2)
        self.bias = draw.bias(b, 2, {0: forget_bias})

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Gates:
        return affine(self.weight_ih, inputs, self.bias)

    def project_hidden(self, carry: Hidden) -> Gates:
        return project(self.weight_hh, carry)

    def update(
        self, carry: Hidden, gates: Gates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        g, n = activate(gates, self.gate_activation, self.activation)
        hidden = g * carry + (1 - g) * n
        return hidden, hidden
