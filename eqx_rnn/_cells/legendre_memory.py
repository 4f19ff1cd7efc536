from typing import Any, Unpack

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._checks.options import check_number, check_sizes
from .._kernels.products import along, project
from .._time import Advanced, State, Time
from .base import VectorCell
from .heads import MatrixOptions, draw_wide, join_heads
from .legendre import legendre_step


class LegendreMemoryCell(VectorCell, ChunkCell, key=None):
    """The linear memory of a Legendre memory unit, one for each feature of the inputs.

        m' = A m + B x                                      per feature

    The outputs are the memories of all features, joined, that of the first feature first. A and B
    are fixed: they are the exact step (zero-order hold) of a linear system whose state m holds the
    inputs of the last `theta` steps as `order` Legendre coefficients. The input of `r theta` steps
    ago, `0 <= r <= 1`, is about `sum_i P_i(2 r - 1) m_i`, with the Legendre polynomials `P_i`.

    **Shapes:** inputs `(*batch, input_size)`; carry `(*batch, input_size, order)`; outputs
    `(*batch, input_size * order)`.

    **Source:** A. R. Voelker, I. Kajić, C. Eliasmith, "Legendre memory units: continuous-time
    representation in recurrent neural networks", NeurIPS (2019). The cell has no weights, so
    `dtype` and `key` have no effect. A is not diagonal, so the cell runs step by step inside a
    chunk.
    """

    order: int = eqx.field(static=True)
    theta: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        *,
        order: int,
        theta: float | int,
        **options: Unpack[MatrixOptions],
    ):
        """**Arguments:** `input_size` and `carry_init`, as for every cell, and

        - `order`: the number of Legendre coefficients per feature.
        - `theta`: the length of the window that the memory holds, in steps, positive.
        """
        check_sizes("LegendreMemoryCell", input_size=input_size, order=order)
        self._setup(input_size, input_size * order, options)
        self.order, self.theta = order, check_number("LegendreMemoryCell", "theta", theta)

    @property
    def output_size(self) -> int:
        return self.hidden_size

    def initialize_carry(
        self, key: PRNGKeyArray | None, sample_input: Any
    ) -> Float[Array, "*batch {self.input_size} {self.order}"]:
        self._space(sample_input)
        shape = self.input_size, self.order
        (memory,) = draw_wide(self, key, sample_input, shape)
        return memory

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.hidden_size}"]]:
        change, b = legendre_step(self.order, self.theta)  # A - 1

        def step(m: Array, x: Array) -> Array:
            x = along(jnp.asarray(b, m.dtype), x[..., None]) * x[..., None]
            return m + project(jnp.asarray(change, m.dtype), m) + x

        memory, m = time.scan(carry, step, inputs)
        return memory, join_heads(m).astype(inputs.dtype)
