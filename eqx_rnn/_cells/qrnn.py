from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._kernels.products import affine
from .._time import Time
from ..initializers import draw_carry
from .activations import activate
from .base import ActivatedCell, ActivatedOptions, Hidden, VectorCell


class QRNNCarry(NamedTuple):
    """The state of a QRNN: the memory `cell`, and the last inputs, oldest first."""

    cell: Any
    inputs: Any


class QRNNCell(ActivatedCell, VectorCell, ChunkCell):
    """Quasi-recurrent neural network: a convolution over time, and a gated mean.

        z = tanh(W_z [x[t], x[t-1], ...] + b_z)        candidate
        f = sigmoid(W_f [x[t], x[t-1], ...] + b_f)     forget gate
        o = sigmoid(W_o [x[t], x[t-1], ...] + b_o)     output gate
        c' = f c + (1 - f) z
        y = o c'                                       or y = c' with output_gate=False

    where `tanh` stands for `activation`, and `window` is the number of inputs in the brackets. The
    rows of the weight are z, f, o, and its columns the inputs from the newest to the oldest.

    **Shapes:** inputs `(*batch, input_size)`; carry `QRNNCarry(cell, inputs)` with `cell`
    `(*batch, hidden_size)` and `inputs` `(*batch, window - 1, input_size)`; outputs
    `(*batch, hidden_size)`.

    **Source:** J. Bradbury, S. Merity, C. Xiong, R. Socher, "Quasi-recurrent neural networks",
    ICLR (2017); "fo-pooling", or "f-pooling" without the output gate. In the authors' code
    (pytorch-qrnn) `f` is the part of the candidate: negate its rows of `linear.weight` and
    `linear.bias` to get those of this cell.
    """

    weight_ih: Float[Array, "rows {self.window}*{self.input_size}"]
    bias: Float[Array, " rows"] | None
    window: int = eqx.field(static=True)
    output_gate: bool = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        window: int = 1,
        output_gate: bool = True,
        **options: Unpack[ActivatedOptions],
    ):
        """**Arguments:** those of every cell, and

        - `window`: how many of the last inputs each step sees, at least 1.
        - `output_gate`: whether there is an output gate.
        """
        draw = self._setup(input_size, hidden_size, options, window=window)
        ih, b = draw.keys(2)
        gates = 3 if output_gate else 2
        self.weight_ih = draw.weight(ih, gates, columns=window * input_size)
        self.bias = draw.bias(b, gates)
        self.window = window
        self.output_gate = output_gate

    @property
    def output_size(self) -> int:
        return self.hidden_size

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> QRNNCarry:
        self._space(sample_input)
        shapes = (self.hidden_size,), (self.window - 1, self.input_size)
        return QRNNCarry(*draw_carry(self, self.carry_init, key, sample_input, *shapes))

    def chunk(
        self, carry: QRNNCarry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[QRNNCarry, Hidden]:
        window, lags = time.window(carry.inputs, inputs)
        gates = affine(self.weight_ih, jnp.concatenate(lags[::-1], axis=-1), self.bias)
        new = lambda f: sigmoid(-f)  # 1 - f
        functions = self.activation, new, sigmoid
        z, new, *o = activate(gates, *functions[: 2 + self.output_gate])
        cell, c = time.blend(carry.cell, new, z)
        return QRNNCarry(cell, window), o[0] * c if self.output_gate else c
