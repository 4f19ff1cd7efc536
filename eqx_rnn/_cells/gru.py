from typing import Unpack

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._kernels.products import add_bias, affine, project
from .base import GatedCell, GatedCellOptions, Hidden, HiddenCell, VectorCell
from .gates import GRUGates


class GRUCell(HiddenCell, GatedCell, VectorCell, FactoredCell):
    """Gated recurrent unit.

        r = sigmoid(W_ir x + b_r + W_hr h)                  reset gate
        z = sigmoid(W_iz x + b_z + W_hz h)                  update gate
        n = tanh(W_in x + b_n + r (W_hn h + b_hn))          candidate, reset_after=True
        n = tanh(W_in x + b_n + W_hn (r h))                 candidate, reset_after=False
        h' = (1 - z) n + z h

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    The rows of the weights are the gates r, z, n. `bias` holds b_r, b_z, b_n; `bias_n` is b_hn.
    Names, shapes and order are those of `eqx.nn.GRUCell` and of `torch.nn.GRU`, which has two more
    biases.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** K. Cho et al., "Learning phrase representations using RNN encoder-decoder for
    statistical machine translation", EMNLP (2014), which has no biases, is `reset_after=False`.
    The first version of that paper, arXiv:1406.1078v1, resets after the product, as do cuDNN,
    torch, Flax and Keras. This form computes all products of a step at once.
    """

    reset_after: bool = eqx.field(static=True)
    weight_ih: Float[Array, "3*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "3*{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "3*{self.hidden_size}"] | None
    bias_n: Float[Array, "{self.hidden_size}"] | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = True,
        **options: Unpack[GatedCellOptions],
    ):
        """**Arguments:** those of every cell, and

        - `reset_after`: whether the reset gate multiplies after the candidate's matrix product.
            Otherwise there is no `bias_n`, because it would be a second b_n.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, b, b_n = draw.keys(4)
        self.weight_ih = draw.weight(ih, 3)
        self.weight_hh = draw.recurrent_weight(hh, 3)
        self.bias = draw.bias(b, 3)
        self.bias_n = draw.bias(b_n, 1) if reset_after else None
        self.reset_after = reset_after

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> GRUGates:
        r, z, n = jnp.split(affine(self.weight_ih, inputs, self.bias), 3, axis=-1)
        return GRUGates(r, z, n, None)

    def project_hidden(self, carry: Hidden) -> GRUGates:
        if not self.reset_after:
            w_rz = self.weight_hh[: 2 * self.hidden_size]
            r, z = jnp.split(project(w_rz, carry), 2, axis=-1)
            return GRUGates(r, z, None, None)
        r, z, n = jnp.split(project(self.weight_hh, carry), 3, axis=-1)
        return GRUGates(r, z, None, add_bias(n, self.bias_n))

    def update(
        self, carry: Hidden, gates: GRUGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        r, z = self.gate_activation(gates.r), self.gate_activation(gates.z)
        if self.reset_after:
            n = self.activation(gates.n_x + r * gates.n_h)
        else:
            w_n = self.weight_hh[2 * self.hidden_size :]
            n = self.activation(gates.n_x + project(w_n, r * carry))
        hidden = (1 - z) * n + z * carry
        return hidden, hidden
