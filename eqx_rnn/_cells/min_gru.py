from typing import Unpack

from jax.nn import sigmoid
from jaxtyping import Array, Float

from .._base.cells import Blend, LinearCell
from .._kernels.products import affine
from .activations import activate, positive
from .base import ActivatedCell, ActivatedOptions, HiddenCell, VectorCell


class MinGRUCell(HiddenCell, ActivatedCell, VectorCell, LinearCell, activation=positive):
    """minGRU: a GRU whose gate and candidate do not see the state.

        n = g(W_in x + b_n)                        candidate
        z = sigmoid(W_iz x + b_z)                  update gate
        h' = h + z (n - h)

    where `g` stands for `activation`. The default is `x + 1/2` for `x >= 0` and `sigmoid(x)` below,
    which keeps positive states positive. The first form of the paper has no `g`: pass
    `activation=lambda x: x`. The output is `h'`. The rows of the weight are n, z.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** L. Feng, F. Tung, M. O. Ahmed, Y. Bengio, H. Hajimirsadeghi, "Were RNNs all we
    needed?", arXiv:2410.01201 (2024). In the package minGRU-pytorch, `weight_ih` is
    `to_hidden_and_gate.weight`; it has no biases.
    """

    weight_ih: Float[Array, "2*{self.hidden_size} {self.input_size}"]
    bias: Float[Array, "2*{self.hidden_size}"] | None

    def __init__(self, input_size: int, hidden_size: int, **options: Unpack[ActivatedOptions]):
        draw = self._setup(input_size, hidden_size, options)
        ih, b = draw.keys(2)
        self.weight_ih = draw.weight(ih, 2)
        self.bias = draw.bias(b, 2)

    def coefficients(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Blend:
        n, z = activate(affine(self.weight_ih, inputs, self.bias), self.activation, sigmoid)
        return Blend(z, n)
