from typing import NamedTuple, Unpack

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._kernels.products import add_bias, affine, project
from .base import Gate, GatedCell, GatedCellOptions, Hidden, HiddenCell, Part, VectorCell


class MGUGates(NamedTuple):
    """Pre-activation of the gate f, and the candidate's input part and hidden part."""

    f: Gate
    n_x: Part
    n_h: Part


class MGUCell(HiddenCell, GatedCell, VectorCell, FactoredCell):
    """Minimal gated unit: a GRU whose one gate both resets and updates.

        f = sigmoid(W_if x + b_f + W_hf h)                  forget gate
        n = tanh(W_in x + b_n + f (W_hn h + b_hn))          candidate, reset_gate=True
        n = tanh(W_in x + b_n + W_hn h)                     candidate, reset_gate=False
        h' = (1 - f) n + f h

    where `sigmoid` stands for `gate_activation` and `tanh` for `activation`. The output is `h'`.
    The rows of the weights are f, n. `bias` holds b_f, b_n; `bias_n` is b_hn.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** G.-B. Zhou, J. Wu, C.-L. Zhang, Z.-H. Zhou, "Minimal gated unit for recurrent neural
    networks", International Journal of Automation and Computing 13 (2016). Departures, as in
    Flax: a large `f` keeps the state, while the paper's `h' = (1 - f) h + f n` replaces it. And the
    paper gates before the product, `W_hn (f h)`, with one bias. `reset_gate=False` drops the
    gate from the candidate.
    """

    reset_gate: bool = eqx.field(static=True)
    weight_ih: Float[Array, "2*{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "2*{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "2*{self.hidden_size}"] | None
    bias_n: Float[Array, "{self.hidden_size}"] | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_gate: bool = True,
        forget_bias: float = 1.0,
        **options: Unpack[GatedCellOptions],
    ):
        """**Arguments:** those of every cell, and

        - `reset_gate`: whether the gate also multiplies the state's part of the candidate.
            Otherwise there is no `bias_n`, because it would be a second b_n.
        - `forget_bias`: is added to the forget gate's part of the initial `bias`. It has no effect
            with `use_bias=False`.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, b, b_n = draw.keys(4)
        self.weight_ih = draw.weight(ih, 2)
        self.weight_hh = draw.recurrent_weight(hh, 2)
        self.bias = draw.bias(b, 2, {0: forget_bias})
        self.bias_n = draw.bias(b_n, 1) if reset_gate else None
        self.reset_gate = reset_gate

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> MGUGates:
        f, n = jnp.split(affine(self.weight_ih, inputs, self.bias), 2, axis=-1)
        return MGUGates(f, n, None)

    def project_hidden(self, carry: Hidden) -> MGUGates:
        f, n = jnp.split(project(self.weight_hh, carry), 2, axis=-1)
        return MGUGates(f, None, add_bias(n, self.bias_n))

    def update(
        self, carry: Hidden, gates: MGUGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        f = self.gate_activation(gates.f)
        n = self.activation(gates.n_x + (f * gates.n_h if self.reset_gate else gates.n_h))
        hidden = (1 - f) * n + f * carry
        return hidden, hidden
