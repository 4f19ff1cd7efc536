from collections.abc import Sequence
from typing import Unpack

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._kernels.products import add_bias, convolve
from .base import HiddenCell
from .conv import ConvCell, ConvCellOptions, Hidden
from .gates import GRUGates


class ConvGRUCell(HiddenCell, ConvCell, FactoredCell):
    """Convolutional GRU, for images, volumes and other fields that change over time.

        r = sigmoid(W_ir * x + b_r + W_hr * h)              reset gate
        z = sigmoid(W_iz * x + b_z + W_hz * h)              update gate
        n = tanh(W_in * x + b_n + r (W_hn * h + b_hn))      candidate, reset_after=True
        n = tanh(W_in * x + b_n + W_hn * (r h))             candidate, reset_after=False
        h' = (1 - z) n + z h

    where `*` is convolution over the spatial axes, `sigmoid` stands for `gate_activation` and
    `tanh` for `activation`. The output is `h'`. The rows of the weights are the gates r, z, n.
    `bias` holds b_r, b_z, b_n; `bias_n` is b_hn.

    **Shapes:** channels last. Inputs `(*batch, *space, input_size)`; carry and outputs `(*batch,
    *new_space, hidden_size)`, where `new_space` is `space` after the input convolution.

    **Source:** N. Ballas, L. Yao, C. Pal, A. Courville, "Delving deeper into convolutional networks
    for learning video representations", ICLR (2016), is `reset_after=False` with the update gate
    `z` in the opposite sense (`h' = (1 - z) h + z n`) and no biases.
    """

    reset_after: bool = eqx.field(static=True)
    weight_ih: Float[Array, "3*{self.hidden_size} {self.input_size} *kernel"]
    weight_hh: Float[Array, "3*{self.hidden_size} {self.hidden_size} *kernel"]
    bias: Float[Array, "3*{self.hidden_size}"] | None
    bias_n: Float[Array, "{self.hidden_size}"] | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        kernel_size: int | Sequence[int],
        *,
        reset_after: bool = True,
        **options: Unpack[ConvCellOptions],
    ):
        """**Arguments:** those of every convolutional cell, and

        - `reset_after`: as for `GRUCell`.
        """
        draw = self._setup_conv(input_size, hidden_size, kernel_size, options)
        ih, hh, b, b_n = draw.keys(4)
        self.weight_ih = draw.weight(ih, 3)
        self.weight_hh = draw.recurrent_weight(hh, 3)
        self.bias = draw.bias(b, 3)
        self.bias_n = draw.bias(b_n, 1) if reset_after else None
        self.reset_after = reset_after

    def project_input(self, inputs: Float[Array, "*batch_and_space {self.input_size}"]) -> GRUGates:
        gates = convolve(inputs, self.weight_ih, self.strides, self.padding, self.dilation)
        r, z, n = jnp.split(add_bias(gates, self.bias), 3, axis=-1)
        return GRUGates(r, z, n, None)

    def project_hidden(self, carry: Hidden) -> GRUGates:
        if not self.reset_after:
            w_rz = self.weight_hh[: 2 * self.hidden_size]
            r, z = jnp.split(convolve(carry, w_rz), 2, axis=-1)
            return GRUGates(r, z, None, None)
        r, z, n = jnp.split(convolve(carry, self.weight_hh), 3, axis=-1)
        return GRUGates(r, z, None, add_bias(n, self.bias_n))

    def update(
        self, carry: Hidden, gates: GRUGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        r, z = self.gate_activation(gates.r), self.gate_activation(gates.z)
        if self.reset_after:
            n = self.activation(gates.n_x + r * gates.n_h)
        else:
            w_n = self.weight_hh[2 * self.hidden_size :]
            n = self.activation(gates.n_x + convolve(r * carry, w_n))
        hidden = (1 - z) * n + z * carry
        return hidden, hidden
