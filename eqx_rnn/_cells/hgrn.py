from typing import Unpack

import equinox as eqx
from jax.nn import sigmoid, silu
from jaxtyping import Array, Float

from .._base.cells import Blend, LinearCell
from .._kernels.products import affine
from .activations import activate
from .base import ActivatedCell, ActivatedOptions, HiddenCell, VectorCell


class HGRNCell(HiddenCell, ActivatedCell, VectorCell, LinearCell, activation=silu):
    """Hierarchically gated recurrent network: its recurrence, with a real state.

        f = l + (1 - l) sigmoid(W_if x + b_f)      forget gate
        i = silu(W_ii x + b_i)                     input
        h' = f h + (1 - f) i

    where `silu` stands for `activation` and `l` for `lower_bound`. The output is `h'`. The rows of
    the weight are i, f. With `lower_bound` growing from layer to layer, higher layers remember for
    longer.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** Z. Qin, S. Yang, Y. Zhong, "Hierarchically gated recurrent neural network for
    sequence modeling", NeurIPS, arXiv:2311.04823 (2023). Departures: the state is real, without the
    constant phase of the paper. `lower_bound` is a fixed number; the paper learns it. The output
    gate and the norm are not part of the cell. The state in flash-linear-attention is real, too:
    its `i_proj.weight` and `f_proj.weight` are the rows i and f, without biases.
    """

    weight_ih: Float[Array, "2*{self.hidden_size} {self.input_size}"]
    bias: Float[Array, "2*{self.hidden_size}"] | None
    lower_bound: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        lower_bound: float = 0.0,
        **options: Unpack[ActivatedOptions],
    ):
        """**Arguments:** those of every cell, and

        - `lower_bound`: the least part of the old state that is kept, 0 <= lower_bound < 1.
        """
        draw = self._setup(input_size, hidden_size, options)
        if not 0 <= lower_bound < 1:
            raise ValueError(
                "HGRNCell: `lower_bound` must be a fraction, 0 <= lower_bound < 1, got "
                f"{lower_bound}."
            )
        ih, b = draw.keys(2)
        self.weight_ih = draw.weight(ih, 2)
        self.bias = draw.bias(b, 2)
        self.lower_bound = lower_bound

    def coefficients(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Blend:
        gates = affine(self.weight_ih, inputs, self.bias)
        new = lambda f: (1 - self.lower_bound) * sigmoid(-f)  # 1 - f
        i, new = activate(gates, self.activation, new)
        return Blend(new, i)
