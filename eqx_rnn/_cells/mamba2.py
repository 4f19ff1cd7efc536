from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax.numpy as jnp
from jax.nn import silu, softplus
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._checks.options import check_heads, check_number
from .._kernels.products import add_bias, affine, along
from .._time import Time
from .base import BiasedCell, BiasedOptions, BlockCell
from .heads import draw_wide, join_heads, split_heads, split_sizes
from .norms import normalize_scale
from .short_convolution import convolve_steps
from .softplus_time_steps import log_uniform_rates, softplus_time_steps
from .ssd import SSDCell, check_groups
from .time_steps import check_time_steps


class Mamba2Carry(NamedTuple):
    """The state of a Mamba-2 block's recurrence, and the last inputs of its convolution."""

    state: Any
    window: Any


class Mamba2Cell(BlockCell, BiasedCell, ChunkCell):
    """The Mamba-2 block: a convolution over time, a scalar decay per head, a gate and a norm.

        z, u, d = W_iz x, W_iu x, W_id x
        v, B, C = silu(sum_j w_j u[t - window + 1 + j] + b_c)      j = 0, ..., window - 1
        dt = softplus(d + dt_bias)                                 one time step per head
        S', r = the step of an SSDCell with C, B, dt v, -dt exp(log_a)
        y = W_out (gain rms((r + D v) silu(z)))                    D: one entry per head

    where `rms(h) = h / sqrt(mean(h^2) + eps)`. The convolution is elementwise; `u` has the features
    v, B, C, of all heads and groups. The rows of `weight_ih` are z, u, d. With `projection_bias`,
    there are biases in the first and the last line.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry `Mamba2Carry(state, window)` with
    `state` `(*batch, num_heads, state_size, hidden_size / num_heads)` and `window`
    `(*batch, window - 1, features)`, the last `u`, oldest first, where `features` is
    `hidden_size + 2 * num_groups * state_size`.

    **Source:** T. Dao, A. Gu, "Transformers are SSMs: generalized models and efficient algorithms
    through structured state space duality", ICML, arXiv:2405.21060 (2024), where `hidden_size` is
    twice `input_size`. In the authors' code (state-spaces, `mamba2.py`), `weight_ih`, `bias_ih`,
    `dt_bias`, `log_a`, `skip`, `gain`, `weight_out` and `bias_out` are `in_proj.weight`,
    `in_proj.bias`, `dt_bias`, `A_log`, `D`, `norm.weight`, `out_proj.weight` and `out_proj.bias`;
    `weight_conv` is `conv1d.weight[:, 0].T` and `bias_conv` is `conv1d.bias`. With several groups,
    that code has `norm_groups=num_groups`. The state of the convolution there has one more entry,
    the oldest input, which no step uses; the other state has the last two axes transposed. As in
    that code, `exp(log_a)` is initially uniform in [1, 16], and D is 1.
    """

    weight_ih: Float[Array, "rows {self.input_size}"]
    bias_ih: Float[Array, " rows"] | None
    weight_conv: Float[Array, "{self.window} features"]
    bias_conv: Float[Array, " features"] | None
    dt_bias: Float[Array, "{self.core.num_heads}"]
    log_a: Float[Array, "{self.core.num_heads}"]
    skip: Float[Array, "{self.core.num_heads}"]
    gain: Float[Array, "{self.hidden_size}"]
    weight_out: Float[Array, "{self.input_size} {self.hidden_size}"]
    bias_out: Float[Array, "{self.input_size}"] | None
    core: SSDCell
    window: int = eqx.field(static=True)
    norm_groups: int = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 1,
        state_size: int = 128,
        num_groups: int = 1,
        window: int = 4,
        norm_groups: int = 1,
        eps: float = 1e-5,
        projection_bias: bool = False,
        min_dt: float = 0.001,
        max_dt: float = 0.1,
        **options: Unpack[BiasedOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of features of all
        heads, and

        - `num_heads`: the number of heads, a divisor of `hidden_size`.
        - `state_size`: the number of states per feature.
        - `num_groups`: how many B and C there are, a divisor of `num_heads`.
        - `window`: how many steps the convolution sees, at least 1.
        - `norm_groups`: the number of parts of the features that are normalised separately.
        - `eps`: a number that is added to each mean square.
        - `projection_bias`: whether `use_bias` holds for the first and the last product, too.
        - `min_dt`, `max_dt`: the initial `softplus(dt_bias)` lies between them, uniformly in its
            logarithm.
        """
        draw = self._setup(
            input_size,
            hidden_size,
            options,
            num_heads=num_heads,
            state_size=state_size,
            num_groups=num_groups,
            window=window,
            norm_groups=norm_groups,
        )
        check_heads("Mamba2Cell", num_heads, hidden_size)
        check_groups("Mamba2Cell", num_groups, num_heads)
        if hidden_size % norm_groups:
            raise ValueError(
                f"Mamba2Cell: `norm_groups` must divide `hidden_size`, got {norm_groups} for "
                f"hidden_size={hidden_size}. Change one of the two."
            )
        check_number("Mamba2Cell", "eps", eps)
        check_time_steps("Mamba2Cell", min_dt, max_dt)
        self.core = SSDCell(num_heads, hidden_size // num_heads, state_size, num_groups=num_groups)
        self.window, self.norm_groups, self.eps = window, norm_groups, eps
        i, bi, c, bc, t, a, o, bo = draw.keys(8)
        parts, features = self._sizes, sum(self._sizes[1:-1])
        self.weight_ih = draw.rows(i, parts)
        self.bias_ih = draw.bias(bi, 1, size=sum(parts)) if projection_bias else None
        self.weight_conv = draw.weight(c, 1, features, window).T
        self.bias_conv = draw.bias(bc, 1, size=features)
        self.dt_bias = draw.array(t, softplus_time_steps(min_dt, max_dt), (num_heads,))
        self.log_a = draw.array(a, log_uniform_rates(1, 16), (num_heads,))
        self.skip = jnp.ones(num_heads, draw.dtype)
        self.gain = jnp.ones(hidden_size, draw.dtype)
        self.weight_out = draw.weight(o, 1, input_size, hidden_size)
        self.bias_out = draw.bias(bo, 1, size=input_size) if projection_bias else None

    @property
    def _sizes(self) -> tuple[int, ...]:
        """The numbers of features of z, v, B, C, d."""
        states = self.core.num_groups * self.core.key_size
        return self.hidden_size, self.hidden_size, states, states, self.core.num_heads

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> Mamba2Carry:
        self._space(sample_input)
        state = self.core.num_heads, self.core.key_size, self.core.value_size
        window = self.weight_conv.shape[0] - 1, self.weight_conv.shape[1]
        return Mamba2Carry(*draw_wide(self, key, sample_input, state, window))

    def chunk(
        self, carry: Mamba2Carry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Mamba2Carry, Float[Array, "*batch {self.input_size}"]]:
        z_size, *parts, d_size = self._sizes
        projected = affine(self.weight_ih, inputs, self.bias_ih)
        z, u, d = split_sizes(projected, (z_size, sum(parts), d_size))
        window, u = convolve_steps(carry.window, u, self.weight_conv, self.bias_conv, time)
        v, b, c = split_sizes(silu(u), parts)
        v, b, c = split_heads(v, d_size), *(split_heads(a, self.core.num_groups) for a in (b, c))
        dt = softplus(add_bias(d, self.dt_bias))[..., None]
        log_decay = -dt * along(jnp.exp(self.log_a)[:, None], dt)
        state, h = self.core.advance(carry.state, c, b, dt * v, log_decay, time)
        y = join_heads(h + along(self.skip[:, None], v) * v) * silu(z)
        y = along(self.gain, y) * self._normalize(y)
        return Mamba2Carry(state, window), affine(self.weight_out, y, self.bias_out)

    def _normalize(self, y: Array) -> Array:
        return join_heads(normalize_scale(split_heads(y, self.norm_groups), self.eps))
