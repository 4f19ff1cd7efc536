from typing import Unpack

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._time import Advanced, State, Time
from .heads import MatrixOptions, ScaledMatrixCell, join_heads


class HGRN2CoreCell(ScaledMatrixCell):
    """The recurrence of HGRN2: a matrix whose keys are the parts that it forgets.

        S' = diag(exp(g)) S + (1 - exp(g)) v^T
        y = S'^T (scale q)

    per head. The inputs are q, v and g, joined, each with the features of the first head first.

    **Shapes:** inputs `(*batch, input_size)`, whose parts have `num_heads * key_size`,
    `num_heads * value_size` and `num_heads * key_size` features; carry
    `(*batch, num_heads, key_size, value_size)`; outputs `(*batch, num_heads * value_size)`.

    **Source:** Z. Qin et al., "HGRN2: gated linear RNNs with state expansion", COLM,
    arXiv:2404.07904 (2024). `scale` is that of flash-linear-attention.
    """

    scale: float | None = eqx.field(static=True)

    def __init__(
        self,
        num_heads: int,
        key_size: int,
        value_size: int,
        *,
        scale: float | None = None,
        **options: Unpack[MatrixOptions],
    ):
        """**Arguments:** `carry_init`, as for every cell, and

        - `num_heads`, `key_size`, `value_size`: the number and the size of the matrices. g, the
            logarithm of the decay, is at most 0.
        - `scale`: a factor of the queries. `None` means `1 / sqrt(key_size)`.
        """
        self.scale = scale
        self._setup_heads(num_heads, key_size, value_size, options)

    @property
    def _parts(self) -> tuple[tuple[int, int], ...]:
        sizes = self.key_size, self.value_size, self.key_size
        return tuple((self.num_heads, size) for size in sizes)

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.output_size}"]]:
        q, v, g = self._split(inputs)
        state, y = self.advance(carry, q, v, g, time)
        return state, join_heads(y)

    def advance(
        self, state: State, q: Array, v: Array, g: Array, time: Time
    ) -> tuple[Advanced, Array]:
        """The new part of the carry and y, from arrays `(steps, *batch, num_heads, size)`."""
        return time.matrix(state, self._scale(q), -jnp.expm1(g), v, g)
