from typing import Unpack

from jax.nn import relu
from jax.nn.initializers import uniform
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._kernels.products import affine, along
from .base import CellOptions, Hidden, HiddenCell, NonlinearCell, VectorCell


class IndRNNCell(
    HiddenCell,
    NonlinearCell,
    VectorCell,
    FactoredCell,
    activation=relu,
    recurrent_weight_init=uniform(1.0),
):
    """Independently recurrent network: each unit sees only its own past.

        h' = relu(W_ih x + b + u h)

    where `u` (`weight_hh`) is a vector and `relu` stands for `activation`. The output is `h'`.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** S. Li, W. Li, C. Cook, C. Zhu, Y. Gao, "Independently recurrent neural network
    (IndRNN): building a longer and deeper RNN", CVPR (2018). Departure: for ReLU and `T` steps the
    paper keeps `|u|` below `2 ** (1 / T)`, so that gradients do not explode. This cell does not.
    To do so, clip `weight_hh` after each step of the optimiser.
    """

    weight_ih: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.hidden_size}"]
    bias: Float[Array, "{self.hidden_size}"] | None

    def __init__(self, input_size: int, hidden_size: int, **options: Unpack[CellOptions]):
        """**Arguments:** those of every cell, with this difference:

        - `recurrent_weight_init`: draws a vector. The default is uniform between 0 and 1, which is
            the limit of the paper's bound for long sequences. For few steps `T` pass
            `jax.nn.initializers.uniform(2 ** (1 / T))`. If only the last output counts, the
            paper starts the last layer near 1.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, b = draw.keys(3)
        self.weight_ih = draw.weight(ih, 1)
        self.weight_hh = draw.vector(hh, 1, "recurrent_weight_init")
        self.bias = draw.bias(b, 1)

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Hidden:
        return affine(self.weight_ih, inputs, self.bias)

    def project_hidden(self, carry: Hidden) -> Hidden:
        return carry * along(self.weight_hh, carry)

    def update(
        self, carry: Hidden, gates: Hidden, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        hidden = self.activation(gates)
        return hidden, hidden
