"""Cells with one matrix per head, which the delta rule updates."""

from typing import Unpack

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._time import Advanced, State, Time
from .heads import Decay, MatrixOptions, ScaledMatrixCell, join_heads


class DeltaNetCoreCell(ScaledMatrixCell):
    """The delta rule: a matrix in which a step replaces the value of its key.

        S' = S + beta k (v - S^T k)^T
        y = S'^T (scale q)

    per head. With a key of length 1 and beta = 1, `S'^T k = v`. The cell takes keys of any length,
    and any beta. With keys of length 1 and beta in [0, 2], S grows by new values only. The inputs
    are q, k, v and beta, joined, each with the features of the first head first.

    **Shapes:** inputs `(*batch, input_size)`, whose parts have `num_heads * key_size`,
    `num_heads * key_size`, `num_heads * value_size` and `num_heads` features; carry
    `(*batch, num_heads, key_size, value_size)`; outputs `(*batch, num_heads * value_size)`.

    **Source:** I. Schlag, K. Irie, J. Schmidhuber, "Linear transformers are secretly fast weight
    programmers", ICML, arXiv:2102.11174 (2021); the scale is that of S. Yang et al.,
    "Parallelizing linear transformers with the delta rule over sequence length", NeurIPS,
    arXiv:2406.06484 (2024).
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

        - `num_heads`, `key_size`, `value_size`: the number and the size of the matrices.
        - `scale`: a factor of the queries. `None` means `1 / sqrt(key_size)`.
        """
        self.scale = scale
        self._setup_heads(num_heads, key_size, value_size, options)

    @property
    def _parts(self) -> tuple[tuple[int, int], ...]:
        sizes = self.key_size, self.key_size, self.value_size, 1
        return tuple((self.num_heads, size) for size in sizes)

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.output_size}"]]:
        q, k, v, beta = self._split(inputs)
        state, y = self.advance(carry, q, k, v, beta, time)
        return state, join_heads(y)

    def advance(
        self, state: State, q: Array, k: Array, v: Array, beta: Array, time: Time
    ) -> tuple[Advanced, Array]:
        """The new part of the carry and y, from arrays `(steps, *batch, num_heads, size)`."""
        return time.matrix(state, self._scale(q), k, beta * v, 0.0, erase=(k, beta * k))


class GatedDeltaNetCoreCell(ScaledMatrixCell):
    """The delta rule on a matrix that decays.

        S~ = diag(exp(g)) S
        S' = S~ + beta k (v - S~^T k)^T
        y = S'^T (scale q)

    per head. See [`DeltaNetCoreCell`][eqx_rnn.DeltaNetCoreCell] for k and beta. The inputs are q,
    k, v, g and beta, joined, each with the features of the first head first.

    **Shapes:** inputs `(*batch, input_size)`, whose parts have `num_heads * key_size`,
    `num_heads * key_size`, `num_heads * value_size`, for g `num_heads` or `num_heads * key_size`,
    and for beta `num_heads` features; carry `(*batch, num_heads, key_size, value_size)`; outputs
    `(*batch, num_heads * value_size)`.

    **Source:** S. Yang, J. Kautz, A. Hatamizadeh, "Gated delta networks: improving Mamba2 with
    delta rule", ICLR, arXiv:2412.06464 (2025). With `decay="channel"`, it is the memory of Kimi
    delta attention: Kimi Team, "Kimi Linear: an expressive, efficient attention architecture",
    arXiv:2510.26692 (2025).
    """

    decay: Decay = eqx.field(static=True)
    scale: float | None = eqx.field(static=True)

    def __init__(
        self,
        num_heads: int,
        key_size: int,
        value_size: int,
        *,
        decay: Decay = "head",
        scale: float | None = None,
        **options: Unpack[MatrixOptions],
    ):
        """**Arguments:** `carry_init`, as for every cell, and

        - `num_heads`, `key_size`, `value_size`: the number and the size of the matrices.
        - `decay`: whether there is one decay per `"head"` or per `"channel"` of the keys. g is the
            logarithm of the decay, at most 0.
        - `scale`: a factor of the queries. `None` means `1 / sqrt(key_size)`.
        """
        self.decay, self.scale = decay, scale
        self._setup_heads(num_heads, key_size, value_size, options)

    @property
    def _parts(self) -> tuple[tuple[int, int], ...]:
        decays = self.key_size if self.decay == "channel" else 1
        sizes = self.key_size, self.key_size, self.value_size, decays, 1
        return tuple((self.num_heads, size) for size in sizes)

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.output_size}"]]:
        q, k, v, g, beta = self._split(inputs)
        state, y = self.advance(carry, q, k, v, g, beta, time)
        return state, join_heads(y)

    def advance(
        self, state: State, q: Array, k: Array, v: Array, g: Array, beta: Array, time: Time
    ) -> tuple[Advanced, Array]:
        """The new part of the carry and y, from arrays `(steps, *batch, num_heads, size)`."""
        erase = jnp.exp(g) * k, beta * k
        return time.matrix(state, self._scale(q), k, beta * v, g, erase=erase)
