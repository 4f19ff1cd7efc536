from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax.numpy as jnp
from jax.nn import identity, sigmoid
from jax.nn.initializers import lecun_uniform, normal
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell, FactoredCell
from .._checks.functions import check_activated
from .._kernels.products import add_bias, along, project
from .._time import Advanced, State, Time
from .base import (
    ActivatedCell,
    ActivatedOptions,
    CellOptions,
    Hidden,
    NonlinearCell,
    Part,
    StateCell,
    VectorCell,
)

Inputs = Float[Array, "*batch {self.input_size}"]


class SRUGates(NamedTuple):
    """The parts of a step: the candidate, both gates before the sigmoid, and the highway."""

    n: Part
    f: Part
    r: Part
    skip: Part


class SRUCell(
    StateCell,
    ActivatedCell,
    VectorCell,
    ChunkCell,
    activation=identity,
    weight_init=lecun_uniform(),
):
    """Simple recurrent unit in its first form: the gates do not see the state.

        f = sigmoid(W_f x + b_f)                   forget gate
        r = sigmoid(W_r x + b_r)                   highway gate
        c' = f c + (1 - f) W_n x
        y = r g(c') + (1 - r) s

    where `g` stands for `activation`; the default is the identity. `s` is `scale x` if `input_size`
    is `hidden_size`, and `W_s x` otherwise. The output is `y`. The rows of the weight are n, f, r
    and, if there is a `W_s`, s.

    **Shapes:** inputs `(*batch, input_size)`; carry, `c`, and outputs `(*batch, hidden_size)`.

    **Source:** T. Lei, Y. Zhang, S. I. Wang, H. Dai, Y. Artzi, "Simple recurrent units for highly
    parallelizable recurrence", EMNLP (2018), in the form of the first version of
    arXiv:1709.02755 (2017). [`SRU2Cell`][eqx_rnn.SRU2Cell] has the final form. In the authors'
    code this is `SRUCell(v1=True)`. Its `bias` is that of this cell. Its `weight`, in the shape
    `(input_size, hidden_size, m)`, has the rows of this cell as its last axis.
    """

    weight_ih: Float[Array, "rows {self.input_size}"]
    bias: Float[Array, "2*{self.hidden_size}"] | None
    scale: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        scale: float = 1.0,
        highway_bias: float = 0.0,
        **options: Unpack[ActivatedOptions],
    ):
        """**Arguments:** those of every cell, and

        - `scale`: a factor for `x` in the highway, if `input_size` is `hidden_size`. With
            `rescale=True`, the authors' code has `sqrt(1 + 2 exp(highway_bias))`.
        - `highway_bias`: is added to the highway gate's part of the initial `bias`.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, b = draw.keys(2)
        self.weight_ih = draw.weight(ih, 3 if input_size == hidden_size else 4)
        self.bias = draw.bias(b, 2, {1: highway_bias})
        self.scale = scale

    def chunk(self, carry: State, inputs: Inputs, time: Time) -> tuple[Advanced, Hidden]:
        n, f, r, skip = _project(self, inputs)
        new, c = time.blend(carry, sigmoid(-f), n)
        return new, _highway(self, c, r, skip)


class SRU2Cell(
    StateCell,
    NonlinearCell,
    VectorCell,
    FactoredCell,
    activation=identity,
    weight_init=lecun_uniform(),
    recurrent_weight_init=normal(0.5),
):
    """Simple recurrent unit: the gates see the old state, elementwise.

        f = sigmoid(W_f x + b_f + v_f c)           forget gate
        r = sigmoid(W_r x + b_r + v_r c)           highway gate
        c' = f c + (1 - f) W_n x
        y = r g(c') + (1 - r) s

    where `g` stands for `activation`; the default is the identity. `s` is `scale x` if `input_size`
    is `hidden_size`, and `W_s x` otherwise. The output is `y`. The rows of the weight are n, f, r
    and, if there is a `W_s`, s. Both gates see the old `c`. The step is not linear in `c`, so it
    runs on the factored engine.

    **Shapes:** inputs `(*batch, input_size)`; carry, `c`, and outputs `(*batch, hidden_size)`.

    **Source:** T. Lei, Y. Zhang, S. I. Wang, H. Dai, Y. Artzi, "Simple recurrent units for highly
    parallelizable recurrence", EMNLP, arXiv:1709.02755 (2018). In the authors' code this is
    `SRUCell`. Its `weight_c` and `bias` are `weight_hh` and `bias` of this cell. Its `weight`, in
    the shape `(input_size, hidden_size, m)`, has the rows of this cell as its last axis.
    """

    weight_ih: Float[Array, "rows {self.input_size}"]
    weight_hh: Float[Array, "2*{self.hidden_size}"]
    bias: Float[Array, "2*{self.hidden_size}"] | None
    scale: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        scale: float = 1.0,
        highway_bias: float = 0.0,
        **options: Unpack[CellOptions],
    ):
        """**Arguments:** those of every cell, where `recurrent_weight_init` draws the vectors v,
        and

        - `scale`: a factor for `x` in the highway, if `input_size` is `hidden_size`. With
            `rescale=True`, the authors' code has `sqrt(1 + 2 exp(highway_bias))`.
        - `highway_bias`: is added to the highway gate's part of the initial `bias`.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, b = draw.keys(3)
        self.weight_ih = draw.weight(ih, 3 if input_size == hidden_size else 4)
        self.weight_hh = draw.vector(hh, 2, "recurrent_weight_init")
        self.bias = draw.bias(b, 2, {1: highway_bias})
        self.scale = scale

    def project_input(self, inputs: Inputs) -> SRUGates:
        return _project(self, inputs)

    def project_hidden(self, carry: Hidden) -> SRUGates:
        f, r = (along(v, carry) * carry for v in jnp.split(self.weight_hh, 2))
        return SRUGates(None, f, r, None)

    def update(
        self, carry: Hidden, gates: SRUGates, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        f = sigmoid(gates.f)
        c = f * carry + (1 - f) * gates.n
        return c, _highway(self, c, gates.r, gates.skip)


def _project(cell: Any, inputs: Array) -> SRUGates:
    size = cell.hidden_size
    n, gates, skip = jnp.split(project(cell.weight_ih, inputs), (size, 3 * size), axis=-1)
    f, r = jnp.split(add_bias(gates, cell.bias), 2, axis=-1)
    return SRUGates(n, f, r, skip if skip.shape[-1] else cell.scale * inputs)


def _highway(cell: Any, c: Array, r: Array, skip: Array) -> Array:
    r = sigmoid(r)
    return r * check_activated(cell.activation, c, cell.activation(c)) + (1 - r) * skip
