import math
from typing import Any, NamedTuple, Unpack

import equinox as eqx
from jax.nn import silu
from jax.nn.initializers import variance_scaling
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._kernels.products import affine, project
from .._time import Time
from .base import BiasedCell, BiasedOptions, BlockCell
from .heads import draw_wide, split_sizes
from .selective_ssm import SelectiveSSMCell
from .short_convolution import convolve_steps
from .time_steps import check_time_steps


class MambaCarry(NamedTuple):
    """The state of a Mamba block's recurrence, and the last inputs of its convolution."""

    state: Any
    window: Any


class MambaCell(BlockCell, BiasedCell, ChunkCell):
    """The Mamba block: a convolution over time and a selective state space model with a gate.

        u, z = W_iu x, W_iz x
        v = silu(sum_j w_j u[t - window + 1 + j] + b_c)      j = 0, ..., window - 1
        d, B, C = W_vd v, W_vB v, W_vC v
        h', r = the step of a SelectiveSSMCell with C, B, v, W_d d, z
        y = W_out r

    The convolution is elementwise. The rows of `weight_ih` are u, z, and those of `weight_ssm` are
    d, B, C. With `projection_bias`, there are biases in the first and the last line.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry `MambaCarry(state, window)` with
    `state` `(*batch, hidden_size, state_size)` and `window` `(*batch, window - 1, hidden_size)`,
    the last `u`, oldest first.

    **Source:** A. Gu, T. Dao, "Mamba: linear-time sequence modeling with selective state spaces",
    arXiv:2312.00752 (2023), where `hidden_size` is twice `input_size`. In the authors' code
    (state-spaces, `mamba_simple.py`), `weight_ih`, `bias_ih`, `weight_ssm`, `weight_dt`,
    `core.dt_bias`, `core.log_a`, `core.skip`, `weight_out` and `bias_out` are `in_proj.weight`,
    `in_proj.bias`, `x_proj.weight`, `dt_proj.weight`, `dt_proj.bias`, `A_log`, `D`,
    `out_proj.weight` and `out_proj.bias`; `weight_conv` is `conv1d.weight[:, 0].T` and `bias_conv`
    is `conv1d.bias`. The state of the convolution there has one more entry, the oldest input, which
    no step uses. As in that code, the initial `weight_dt` is uniform between `-1 / sqrt(dt_rank)`
    and `1 / sqrt(dt_rank)`; for the core, see [`SelectiveSSMCell`][eqx_rnn.SelectiveSSMCell].
    """

    weight_ih: Float[Array, "2*{self.hidden_size} {self.input_size}"]
    bias_ih: Float[Array, "2*{self.hidden_size}"] | None
    weight_conv: Float[Array, "{self.window} {self.hidden_size}"]
    bias_conv: Float[Array, "{self.hidden_size}"] | None
    weight_ssm: Float[Array, "rows {self.hidden_size}"]
    weight_dt: Float[Array, "{self.hidden_size} {self.dt_rank}"]
    core: SelectiveSSMCell
    weight_out: Float[Array, "{self.input_size} {self.hidden_size}"]
    bias_out: Float[Array, "{self.input_size}"] | None
    dt_rank: int = eqx.field(static=True)
    window: int = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        state_size: int = 16,
        window: int = 4,
        dt_rank: int | None = None,
        projection_bias: bool = False,
        min_dt: float = 0.001,
        max_dt: float = 0.1,
        **options: Unpack[BiasedOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of features inside
        the block, and

        - `state_size`: the number of states per feature.
        - `window`: how many steps the convolution sees, at least 1.
        - `dt_rank`: the number of features of `d`. `None` means `input_size / 16`, rounded up.
        - `projection_bias`: whether `use_bias` holds for the first and the last product, too.
        - `min_dt`, `max_dt`: the bounds of the initial time steps.
        """
        draw = self._setup(
            input_size,
            hidden_size,
            options,
            state_size=state_size,
            window=window,
            dt_rank=dt_rank,
        )
        check_time_steps("MambaCell", min_dt, max_dt)
        rank = math.ceil(input_size / 16) if dt_rank is None else dt_rank
        i, bi, c, bc, s, t, r, o, bo = draw.keys(9)
        self.weight_ih = draw.weight(i, 2)
        self.bias_ih = draw.bias(bi, 2) if projection_bias else None
        self.weight_conv = draw.weight(c, 1, hidden_size, window).T
        self.bias_conv = draw.bias(bc, 1)
        self.weight_ssm = draw.rows(s, (rank, state_size, state_size), hidden_size)
        uniform = variance_scaling(1 / 3, "fan_in", "uniform")
        self.weight_dt = draw.array(t, uniform, (rank, hidden_size)).T
        self.core = SelectiveSSMCell(
            hidden_size,
            state_size=state_size,
            output_gate=True,
            min_dt=min_dt,
            max_dt=max_dt,
            dtype=draw.dtype,
            key=r,
        )
        self.weight_out = draw.weight(o, 1, input_size, hidden_size)
        self.bias_out = draw.bias(bo, 1, size=input_size) if projection_bias else None
        self.dt_rank, self.window = rank, window

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> MambaCarry:
        self._space(sample_input)
        state = self.hidden_size, self.core.state_size
        window = self.window - 1, self.hidden_size
        return MambaCarry(*draw_wide(self, key, sample_input, state, window))

    def chunk(
        self, carry: MambaCarry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[MambaCarry, Float[Array, "*batch {self.input_size}"]]:
        u, z = split_sizes(affine(self.weight_ih, inputs, self.bias_ih), 2 * [self.hidden_size])
        window, v = convolve_steps(carry.window, u, self.weight_conv, self.bias_conv, time)
        v = silu(v)
        sizes = self.dt_rank, self.core.state_size, self.core.state_size
        d, b, c = split_sizes(project(self.weight_ssm, v), sizes)
        dt = project(self.weight_dt, d)
        state, h = self.core.advance(carry.state, c, b, v, dt, z, time)
        return MambaCarry(state, window), affine(self.weight_out, h, self.bias_out)
