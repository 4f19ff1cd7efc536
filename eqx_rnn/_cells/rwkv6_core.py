from typing import Unpack

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._kernels.products import along
from .._time import Advanced, State, Time
from .heads import MatrixOptions, OneMatrixCell, join_heads
from .rwkv import depths, ramp, zigzag


class RWKV6CoreCell(OneMatrixCell):
    """The memory of RWKV-6: a matrix that decays per key channel, and is read before its update.

        y = (S + (bonus k) v^T)^T r
        S' = diag(exp(g)) S + k v^T

    per head. The inputs are r, k, v and g, joined, each with the features of the first head first.
    The receptance r reads, as a query does. g is the logarithm of the decay, at most 0.

    **Shapes:** inputs `(*batch, input_size)`, whose parts have `num_heads * key_size`,
    `num_heads * key_size`, `num_heads * value_size` and `num_heads * key_size` features; carry
    `(*batch, num_heads, key_size, value_size)`; outputs `(*batch, num_heads * value_size)`.

    **Source:** B. Peng et al., "Eagle and Finch: RWKV with matrix-valued states and dynamic
    recurrence", COLM, arXiv:2404.05892 (2024). In the authors' code (RWKV-LM), `bonus` is
    `time_faaaa`, and has the same initial values. With a decay that is the same at all steps, this
    is the memory of RWKV-5.
    """

    bonus: Float[Array, "{self.num_heads} {self.key_size}"]

    def __init__(
        self,
        num_heads: int,
        key_size: int,
        value_size: int,
        *,
        layer: int = 0,
        num_layers: int = 1,
        **options: Unpack[MatrixOptions],
    ):
        """**Arguments:** `carry_init` and `dtype`, as for every cell, and

        - `num_heads`, `key_size`, `value_size`: the number and the size of the matrices.
        - `layer`, `num_layers`: the number of this layer in a stack, from 0, and the number of all
            layers. The initial `bonus` depends on them.
        """
        draw = self._setup_heads(num_heads, key_size, value_size, options)
        deep, _ = depths("RWKV6CoreCell", layer, num_layers)
        keys = num_heads * key_size
        bonus = deep * (1 - ramp(keys)) + 0.1 * zigzag(keys)
        self.bonus = jnp.asarray(bonus.reshape(num_heads, key_size), draw.dtype)

    @property
    def _parts(self) -> tuple[tuple[int, int], ...]:
        sizes = self.key_size, self.key_size, self.value_size, self.key_size
        return tuple((self.num_heads, size) for size in sizes)

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.output_size}"]]:
        r, k, v, g = self._split(inputs)
        state, y = self.advance(carry, r, k, v, g, time)
        return state, join_heads(y)

    def advance(
        self, state: State, r: Array, k: Array, v: Array, g: Array, time: Time
    ) -> tuple[Advanced, Array]:
        """The new part of the carry and y, from arrays `(steps, *batch, num_heads, size)`."""
        new, y = time.matrix(state, r, k, v, g, read="before")
        return new, y + jnp.sum(r * along(self.bonus, k) * k, axis=-1, keepdims=True) * v
