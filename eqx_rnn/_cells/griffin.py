from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.nn import gelu, sigmoid, softplus
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._checks.options import check_heads, check_range
from .._kernels.products import add_bias, affine, along
from .._time import Time
from ..initializers import Initializer, draw_carry
from .base import BiasedCell, BiasedOptions, Hidden, MemoryCell, VectorCell
from .short_convolution import convolve_steps


class RGLRUCarry(NamedTuple):
    """The state of an RG-LRU, and the number of steps since the start of the sequence."""

    hidden: Any
    position: Any


class HawkCarry(NamedTuple):
    """The state of a Hawk block: that of its RG-LRU, and the last inputs of its convolution."""

    recurrence: Any
    window: Any


class RGLRUCell(MemoryCell, BiasedCell, VectorCell, ChunkCell):
    """Real-gated linear recurrent unit, the recurrence of Hawk and Griffin.

        i = sigmoid(W_i x + b_i)                       input gate
        r = sigmoid(W_r x + b_r)                       recurrence gate
        a = exp(-8 r softplus(decay))
        h' = a h + sqrt(1 - a^2) i x                   or, at position 0, a h + i x

    The output is `h'`. The matrices are block-diagonal: each head sees its own features only. The
    carry counts the steps. At the first step of a sequence and after a reset, the position is 0.

    **Shapes:** inputs and outputs `(*batch, hidden_size)`; carry `RGLRUCarry(hidden, position)`
    with `hidden` `(*batch, hidden_size)` and integers `position` `(*batch)`.

    **Source:** S. De et al., "Griffin: mixing gated linear recurrences with local attention for
    efficient language models", arXiv:2402.19427 (2024). Position 0 and the derivative of the square
    root, which is at most 1000, are as in the authors' code, recurrentgemma. Departure: that code
    ignores the state at position 0. This differs only if the first state is not zero. There,
    `weight_i`, `bias_i`, `weight_r`, `bias_r` and `decay` are `input_gate.w`, `input_gate.b`,
    `a_gate.w`, `a_gate.b` and `a_param`; the biases are `(heads, width)`.
    """

    weight_i: Float[Array, "{self.num_heads} width width"]
    weight_r: Float[Array, "{self.num_heads} width width"]
    bias_i: Float[Array, "{self.hidden_size}"] | None
    bias_r: Float[Array, "{self.hidden_size}"] | None
    decay: Float[Array, "{self.hidden_size}"]
    num_heads: int = eqx.field(static=True)

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: int = 1,
        min_radius: float = 0.9,
        max_radius: float = 0.999,
        **options: Unpack[BiasedOptions],
    ):
        """**Arguments:** those of every cell, without `input_size`, and

        - `num_heads`: the number of blocks of the matrices, a divisor of `hidden_size`.
        - `min_radius`, `max_radius`: the initial `exp(-softplus(decay))` lies between them.
        """
        draw = self._setup(hidden_size, hidden_size, options, num_heads=num_heads)
        check_heads("RGLRUCell", num_heads, hidden_size)
        check_range("RGLRUCell", "min_radius", min_radius, "max_radius", max_radius)
        wi, wr, bi, br, d = draw.keys(5)
        width = hidden_size // num_heads
        heads = lambda key: draw.weight(key, num_heads, width, width).reshape(-1, width, width)
        self.weight_i = jnp.swapaxes(heads(wi), 1, 2)
        self.weight_r = jnp.swapaxes(heads(wr), 1, 2)
        self.bias_i = draw.bias(bi, 1)
        self.bias_r = draw.bias(br, 1)
        self.decay = draw.array(d, radii(min_radius, max_radius), (hidden_size,))
        self.num_heads = num_heads

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> RGLRUCarry:
        (hidden,) = self._first_carry(key, sample_input, self.hidden_size)
        return RGLRUCarry(hidden, jnp.zeros(hidden.shape[:-1], jnp.int32))

    def chunk(
        self, carry: RGLRUCarry, inputs: Float[Array, "*batch {self.hidden_size}"], time: Time
    ) -> tuple[RGLRUCarry, Hidden]:
        i = sigmoid(self._project(self.weight_i, inputs, self.bias_i))
        r = sigmoid(self._project(self.weight_r, inputs, self.bias_r))
        log_a = -8 * r * along(softplus(self.decay), r)
        counted, position = time.count(carry.position)
        scale = jnp.where(position[..., None] == 0, 1, bounded_sqrt(-jnp.expm1(2 * log_a)))
        hidden, h = time.linear(carry.hidden, jnp.exp(log_a), scale * i * inputs)
        return RGLRUCarry(hidden, counted), h

    def _project(self, weight: Array, inputs: Array, bias: Array | None) -> Array:
        heads = inputs.reshape(*inputs.shape[:-1], self.num_heads, weight.shape[-1])
        return add_bias(jnp.einsum("...hi,hij->...hj", heads, weight).reshape(inputs.shape), bias)


class HawkCell(BiasedCell, VectorCell, ChunkCell):
    """The recurrent block of Hawk and Griffin: a convolution over time, an RG-LRU and a gate.

        u = W_x x + b_x
        v = sum_j w_j u[t - window + 1 + j] + b_c      j = 0, ..., window - 1
        h' = the RG-LRU's step with the input v
        y = W_out (h' gelu(W_y x + b_y)) + b_out

    The convolution is elementwise. `gelu` is its approximation by `tanh`.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry `HawkCarry(recurrence, window)`
    with the `RGLRUCarry` of [`RGLRUCell`][eqx_rnn.RGLRUCell] and `window`
    `(*batch, window - 1, hidden_size)`, the last `u`, oldest first.

    **Source:** S. De et al., "Griffin: mixing gated linear recurrences with local attention for
    efficient language models", arXiv:2402.19427 (2024). In the authors' code (recurrentgemma,
    `RecurrentBlock`), `weight_x`, `weight_y`, `weight_conv`, `recurrence` and `weight_out` are
    `linear_x.weight`, `linear_y.weight`, `conv_1d.w`, `rg_lru` and `linear_out.weight` in PyTorch;
    in JAX the weights of the linear layers are transposed.
    """

    weight_x: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_y: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_conv: Float[Array, "{self.window} {self.hidden_size}"]
    weight_out: Float[Array, "{self.input_size} {self.hidden_size}"]
    bias_x: Float[Array, "{self.hidden_size}"] | None
    bias_y: Float[Array, "{self.hidden_size}"] | None
    bias_conv: Float[Array, "{self.hidden_size}"] | None
    bias_out: Float[Array, "{self.input_size}"] | None
    recurrence: RGLRUCell
    window: int = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        window: int = 4,
        num_heads: int = 1,
        **options: Unpack[BiasedOptions],
    ):
        """**Arguments:** those of every cell, and

        - `window`: how many steps the convolution sees, at least 1.
        - `num_heads`: see `RGLRUCell`.
        """
        draw = self._setup(input_size, hidden_size, options, window=window)
        x, y, c, o, bx, by, bc, bo, r = draw.keys(9)
        self.weight_x = draw.weight(x, 1)
        self.weight_y = draw.weight(y, 1)
        self.weight_conv = draw.weight(c, 1, hidden_size, window).T
        self.weight_out = draw.weight(o, 1, input_size, hidden_size)
        self.bias_x, self.bias_y, self.bias_conv = (draw.bias(k, 1) for k in (bx, by, bc))
        self.bias_out = draw.bias(bo, 1, size=input_size)
        self.recurrence = RGLRUCell(hidden_size, num_heads=num_heads, **options | {"key": r})
        self.window = window

    @property
    def output_size(self) -> int:
        return self.input_size

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> HawkCarry:
        self._space(sample_input)
        shapes = (self.hidden_size,), (self.window - 1, self.hidden_size)
        hidden, window = draw_carry(self, self.carry_init, key, sample_input, *shapes)
        position = jnp.zeros(hidden.shape[:-1], jnp.int32)
        return HawkCarry(RGLRUCarry(hidden, position), window)

    def chunk(
        self, carry: HawkCarry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[HawkCarry, Float[Array, "*batch {self.input_size}"]]:
        u = affine(self.weight_x, inputs, self.bias_x)
        window, v = convolve_steps(carry.window, u, self.weight_conv, self.bias_conv, time)
        recurrence, h = self.recurrence.chunk(carry.recurrence, v, time)
        gate = gelu(affine(self.weight_y, inputs, self.bias_y))
        return HawkCarry(recurrence, window), affine(self.weight_out, h * gate, self.bias_out)


def radii(least: float, most: float) -> Initializer:
    """Draws `decay` such that `exp(-2 softplus(decay))` is uniform in `[least^2, most^2]`."""

    def init(key: PRNGKeyArray, shape: Any, dtype: Any) -> Array:
        square = jax.random.uniform(key, shape, dtype, least**2, most**2)
        return jnp.log(jnp.expm1(-0.5 * jnp.log(square)))

    return init


@jax.custom_jvp
def bounded_sqrt(x: Array) -> Array:
    """The square root, with a derivative of at most 1000."""
    return jnp.sqrt(x)


@bounded_sqrt.defjvp
def _bounded_sqrt_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return bounded_sqrt(x), dx / jnp.sqrt(jnp.maximum(4 * x, 1e-6))
