from typing import NamedTuple, Unpack

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._kernels.products import affine, project
from .base import Gate, GatedCell, GatedCellOptions, Hidden, HiddenCell, Part, VectorCell


class MinimalRNNGates(NamedTuple):
    """The update gate's pre-activation, and the embedded input."""

    u: Gate
    z: Part


class MinimalRNNCell(HiddenCell, GatedCell, VectorCell, FactoredCell):
    """MinimalRNN: embeds the input in the space of the state, where one gate mixes the two.

        z = tanh(W_ih x + b_z)                              embedded input
        u = sigmoid(W_zh z + b_u + W_hh h)                  update gate
        h' = u h + (1 - u) z

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    `bias` holds b_z, b_u.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** M. Chen, "MinimalRNN: toward more interpretable and trainable recurrent neural
    networks", arXiv:1711.06788 (2017), where W_hh is U_h and W_zh is U_z. The paper leaves the
    embedding open. Its experiments use this one, a layer with a tanh.
    """

    weight_ih: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_zh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    weight_hh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "2*{self.hidden_size}"] | None

    def __init__(self, input_size: int, hidden_size: int, **options: Unpack[GatedCellOptions]):
        """**Arguments:** those of every cell, with this remark:

        - `recurrent_weight_init`: draws `weight_zh` as well as `weight_hh`.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, zh, hh, b = draw.keys(4)
        self.weight_ih = draw.weight(ih, 1)
        self.weight_zh = draw.recurrent_weight(zh, 1)
        self.weight_hh = draw.recurrent_weight(hh, 1)
        self.bias = draw.bias(b, 2)

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> MinimalRNNGates:
        b_z, b_u = (None, None) if self.bias is None else jnp.split(self.bias, 2)
        # Everything that needs no carry is computed here, outside the time loop: the embedding too.
        z = self.activation(affine(self.weight_ih, inputs, b_z))
        return MinimalRNNGates(affine(self.weight_zh, z, b_u), z)

    def project_hidden(self, carry: Hidden) -> MinimalRNNGates:
        return MinimalRNNGates(project(self.weight_hh, carry), None)

    def update(
        self, carry: Hidden, gates: MinimalRNNGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        u = self.gate_activation(gates.u)
        hidden = u * carry + (1 - u) * gates.z
        return hidden, hidden
