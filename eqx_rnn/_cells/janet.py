from typing import NamedTuple, Unpack

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._kernels.products import affine, project
from ..initializers import Initializer
from .base import Gate, GatedCell, GatedCellOptions, Hidden, HiddenCell, VectorCell


class JANETGates(NamedTuple):
    """Pre-activations of the forget gate and the candidate."""

    s: Gate
    n: Gate


class JANETCell(HiddenCell, GatedCell, VectorCell, FactoredCell):
    """Just another network: an LSTM that has only the forget gate.

        s = W_is x + b_s + W_hs h                                 forget gate
        n = tanh(W_in x + b_n + W_hn h)                           candidate
        h' = sigmoid(s) h + (1 - sigmoid(s - beta)) n

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    The rows of the weights are s, n. With `beta > 0` the state takes in more than it forgets.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** J. van der Westhuizen, J. Lasenby, "The unreasonable effectiveness of the forget
    gate", arXiv:1804.04849 (2018), where the state is called c and `beta` is 1 throughout. The
    chrono initialisation that it recommends is an option here, because it depends on the length of
    the sequences: `forget_bias=eqx_rnn.chrono(max_steps)`.
    """

    weight_ih: Float[Array, "2*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "2*{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "2*{self.hidden_size}"] | None
    beta: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        beta: float = 1.0,
        forget_bias: float | Initializer = 1.0,
        **options: Unpack[GatedCellOptions],
    ):
        """**Arguments:** those of every cell, and

        - `beta`: is subtracted from the gate's pre-activation for the candidate.
        - `forget_bias`: is added to the forget gate's part of the initial `bias`: a number, or an
            initialiser such as `eqx_rnn.chrono(max_steps)`, which draws one number per unit. It
            has no effect with `use_bias=False`.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, b = draw.keys(3)
        self.weight_ih = draw.weight(ih, 2)
        self.weight_hh = draw.recurrent_weight(hh, 2)
        self.bias = draw.bias(b, 2, {0: forget_bias})
        self.beta = beta

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> JANETGates:
        return JANETGates(*jnp.split(affine(self.weight_ih, inputs, self.bias), 2, axis=-1))

    def project_hidden(self, carry: Hidden) -> JANETGates:
        return JANETGates(*jnp.split(project(self.weight_hh, carry), 2, axis=-1))

    def update(
        self, carry: Hidden, gates: JANETGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        s, n = gates.s, self.activation(gates.n)
        sigmoid = self.gate_activation
        hidden = sigmoid(s) * carry + (1 - sigmoid(s - self.beta)) * n
        return hidden, hidden
