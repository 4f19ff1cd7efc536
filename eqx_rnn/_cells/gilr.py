from typing import Unpack

from jax.nn import elu, sigmoid
from jaxtyping import Array, Float

from .._base.cells import Blend, LinearCell
from .._kernels.products import affine
from .activations import activate
from .base import ActivatedCell, ActivatedOptions, HiddenCell, VectorCell


class GILRCell(HiddenCell, ActivatedCell, VectorCell, LinearCell, activation=elu):
    """Gated impulse linear recurrence.

        g = sigmoid(W_ig x + b_g)                  the part of the old state that is kept
        i = elu(W_ii x + b_i)                      impulse
        h' = g h + (1 - g) i

    where `elu` stands for `activation`. The output is `h'`. The rows of the weight are g, i.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** E. Martin, C. Cundy, "Parallelizing linear recurrent neural nets over sequence
    length", ICLR (2018). The default of `activation` is that of `gilr_layer` in the authors' code,
    whose weight is `weight_ih.T`.
    """

    weight_ih: Float[Array, "2*{self.hidden_size} {self.input_size}"]
    bias: Float[Array, "2*{self.hidden_size}"] | None

    def __init__(self, input_size: int, hidden_size: int, **options: Unpack[ActivatedOptions]):
        draw = self._setup(input_size, hidden_size, options)
        ih, b = draw.keys(2)
        self.weight_ih = draw.weight(ih, 2)
        self.bias = draw.bias(b, 2)

    def coefficients(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Blend:
        gates = affine(self.weight_ih, inputs, self.bias)
        new, i = activate(gates, lambda g: sigmoid(-g), self.activation)  # 1 - g, without rounding
        return Blend(new, i)
