from typing import Unpack

import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid
from jaxtyping import Array, Float

from .._base.cells import Blend, LinearCell
from .._checks.functions import check_activated
from .._kernels.products import affine
from .activations import positive
from .base import ActivatedCell, ActivatedOptions, HiddenCell, VectorCell


class MinLSTMCell(HiddenCell, ActivatedCell, VectorCell, LinearCell, activation=positive):
    """minLSTM: an LSTM whose gates and candidate do not see the state.

        n = g(W_in x + b_n)                        candidate
        f = sigmoid(W_if x + b_f)                  forget gate
        i = sigmoid(W_ii x + b_i)                  input gate
        h' = f / (f + i) h + i / (f + i) n

    where `g` stands for `activation`. The default is `x + 1/2` for `x >= 0` and `sigmoid(x)` below,
    which keeps positive states positive. The first form of the paper has no `g`: pass
    `activation=lambda x: x`. The output is `h'`. The rows of the weight are n, f, i.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** L. Feng, F. Tung, M. O. Ahmed, Y. Bengio, H. Hajimirsadeghi, "Were RNNs all we
    needed?", arXiv:2410.01201 (2024). In the package minGRU-pytorch, `weight_ih` is
    `to_hidden_and_f_i_gate.weight` of `minLSTM`; it has no biases. Its parallel path starts from
    `g(h)` instead of `h`, which changes the results if the first state is not zero.
    """

    weight_ih: Float[Array, "3*{self.hidden_size} {self.input_size}"]
    bias: Float[Array, "3*{self.hidden_size}"] | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 0.0,
        **options: Unpack[ActivatedOptions],
    ):
        """**Arguments:** those of every cell, and

        - `forget_bias`: is added to the forget gate's part of the initial `bias`.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, b = draw.keys(2)
        self.weight_ih = draw.weight(ih, 3)
        self.bias = draw.bias(b, 3, {1: forget_bias})

    def coefficients(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Blend:
        n, f, i = jnp.split(affine(self.weight_ih, inputs, self.bias), 3, axis=-1)
        share = sigmoid(log_sigmoid(i) - log_sigmoid(f))  # i / (f + i), also where both are tiny
        return Blend(share, check_activated(self.activation, n, self.activation(n)))
