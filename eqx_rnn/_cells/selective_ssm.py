from typing import Any, Unpack

import equinox as eqx
import jax.numpy as jnp
from jax.nn import silu, softplus
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._checks.options import check_sizes
from .._dtypes import widest
from .._kernels.products import add_bias, along
from .._time import Advanced, State, Time
from .base import CoreOptions, Hidden, VectorCell
from .heads import draw_wide, split_sizes
from .softplus_time_steps import softplus_time_steps
from .time_steps import check_time_steps


class SelectiveSSMCell(VectorCell, ChunkCell):
    """Selective state space model (S6), the recurrence of Mamba.

        d = softplus(dt + dt_bias)                one time step per feature
        A = -exp(log_a)
        h' = exp(d A) h + (d u) B^T               rows of h: the states of one feature
        y = h' C + D u                            output_gate=False
        y = (h' C + D u) silu(z)                  output_gate=True

    The inputs are C, B, u, dt and, with an output gate, z, joined. All products are elementwise,
    except the matrix `(d u) B^T` and the vector `h' C`.

    **Shapes:** inputs `(*batch, input_size)`, whose parts have `state_size`, `state_size`,
    `hidden_size`, `hidden_size` and, for z, `hidden_size` features; carry
    `(*batch, hidden_size, state_size)`; outputs `(*batch, hidden_size)`.

    **Source:** A. Gu, T. Dao, "Mamba: linear-time sequence modeling with selective state spaces",
    arXiv:2312.00752 (2023). Departure from equation 4, as in the authors' code: the factor of B is
    `d` instead of `(exp(d A) - 1) / A`. The initial weights are those of that code: per feature, A
    is -1, -2, ..., -state_size, and D is 1. In its `selective_scan_ref`, `-exp(log_a)`, `skip` and
    `dt_bias` are `A`, `D` and `delta_bias`, with `delta_softplus=True`.
    """

    log_a: Float[Array, "{self.hidden_size} {self.state_size}"]
    skip: Float[Array, "{self.hidden_size}"]
    dt_bias: Float[Array, "{self.hidden_size}"]
    state_size: int = eqx.field(static=True)
    output_gate: bool = eqx.field(static=True)

    def __init__(
        self,
        hidden_size: int,
        *,
        state_size: int = 16,
        output_gate: bool = False,
        min_dt: float = 0.001,
        max_dt: float = 0.1,
        **options: Unpack[CoreOptions],
    ):
        """**Arguments:** those of every cell, without `input_size`, and

        - `state_size`: the number of states per feature.
        - `output_gate`: whether the inputs contain z.
        - `min_dt`, `max_dt`: the initial `softplus(dt_bias)` lies between them, uniformly in its
            logarithm.
        """
        check_sizes("SelectiveSSMCell", hidden_size=hidden_size, state_size=state_size)
        check_time_steps("SelectiveSSMCell", min_dt, max_dt)
        self.state_size, self.output_gate = state_size, output_gate
        draw = self._setup(sum(self._sizes(hidden_size)), hidden_size, options)
        rates = jnp.arange(1, state_size + 1, dtype=draw.dtype)
        self.log_a = jnp.broadcast_to(jnp.log(rates), (hidden_size, state_size))
        self.skip = jnp.ones(hidden_size, draw.dtype)
        (t,) = draw.keys(1)
        self.dt_bias = draw.array(t, softplus_time_steps(min_dt, max_dt), (hidden_size,))

    def _sizes(self, hidden_size: int) -> list[int]:
        return 2 * [self.state_size] + (3 if self.output_gate else 2) * [hidden_size]

    @property
    def output_size(self) -> int:
        return self.hidden_size

    def initialize_carry(
        self, key: PRNGKeyArray | None, sample_input: Any
    ) -> Float[Array, "*batch {self.hidden_size} {self.state_size}"]:
        self._space(sample_input)
        shape = self.hidden_size, self.state_size
        (state,) = draw_wide(self, key, sample_input, shape)
        return state

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Hidden]:
        c, b, u, dt, *z = split_sizes(inputs, self._sizes(self.hidden_size))
        return self.advance(carry, c, b, u, dt, z[0] if z else None, time)

    def advance(
        self, state: State, c: Array, b: Array, u: Array, dt: Array, z: Array | None, time: Time
    ) -> tuple[Advanced, Array]:
        """The new part of the carry and y, from arrays `(steps, *batch, size)`."""
        dtype = widest(u.dtype, self.skip.dtype)
        # A decay near 1 needs float32.
        c, b, u, dt = (a.astype(widest(a.dtype, jnp.float32)) for a in (c, b, u, dt))
        d = softplus(add_bias(dt, self.dt_bias))
        new, y = time.expand(state, coefficients, readout, -jnp.exp(self.log_a), (c, b, u, d))
        y = (y + along(self.skip, u) * u).astype(dtype)
        return new, y if z is None else y * silu(z)


# Products are faster than sums of broadcasts, also in the derivative.
def coefficients(a: Array, xs: tuple[Array, ...]) -> tuple[Array, Array]:
    _, b, u, d = xs
    step = d[..., None] * along(a, d[..., None])
    return jnp.exp(step), jnp.einsum("...d,...n->...dn", d * u, b)


def readout(a: Array, h: Array, xs: tuple[Array, ...]) -> Array:
    return jnp.einsum("...dn,...n->...d", h, xs[0])
