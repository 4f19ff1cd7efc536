from collections.abc import Sequence
from typing import Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._dtypes import widest
from .._time import Advanced, State, Time
from .heads import MatrixOptions, ScaledMatrixCell, join_heads

Decays = Sequence[float] | np.ndarray | jax.Array | None


class RetentionCoreCell(ScaledMatrixCell):
    """Retention: a matrix that decays at a fixed rate per head.

        S' = gamma S + k v^T
        y = S'^T (scale q)

    per head. The inputs are q, k and v, joined, each with the features of the first head first.

    **Shapes:** inputs `(*batch, input_size)`, whose parts have `num_heads * key_size`,
    `num_heads * key_size` and `num_heads * value_size` features; carry
    `(*batch, num_heads, key_size, value_size)`; outputs `(*batch, num_heads * value_size)`.

    **Source:** Y. Sun et al., "Retentive network: a successor to transformer for large language
    models", arXiv:2307.08621 (2023). This is the retention of flash-linear-attention: the keys are
    not rotated, and the memory is not normalised.
    """

    decays: tuple[float, ...] | None = eqx.field(static=True)
    scale: float | None = eqx.field(static=True)

    def __init__(
        self,
        num_heads: int,
        key_size: int,
        value_size: int,
        *,
        decays: Decays = None,
        scale: float | None = None,
        **options: Unpack[MatrixOptions],
    ):
        """**Arguments:** `carry_init`, as for every cell, and

        - `num_heads`, `key_size`, `value_size`: the number and the size of the matrices.
        - `decays`: gamma, a fraction per head. `None` means `1 - 2^-5, 1 - 2^-6, 1 - 2^-7, ...`.
        - `scale`: a factor of the queries. `None` means `1 / sqrt(key_size)`.
        """
        self.scale = scale
        self._setup_heads(num_heads, key_size, value_size, options)
        self.decays = check_decays("RetentionCoreCell", decays, num_heads)

    @property
    def gamma(self) -> np.ndarray:
        """The decay of each head, in float64."""
        if self.decays is None:
            return 1 - 2.0 ** (-5 - np.arange(self.num_heads))
        return np.asarray(self.decays)

    @property
    def _parts(self) -> tuple[tuple[int, int], ...]:
        sizes = self.key_size, self.key_size, self.value_size
        return tuple((self.num_heads, size) for size in sizes)

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.output_size}"]]:
        q, k, v = self._split(inputs)
        state, y = self.advance(carry, q, k, v, time)
        return state, join_heads(y)

    def advance(
        self, state: State, q: Array, k: Array, v: Array, time: Time
    ) -> tuple[Advanced, Array]:
        """The new part of the carry and y, from arrays `(steps, *batch, num_heads, size)`."""
        log_decay = jnp.asarray(np.log(self.gamma)[:, None], widest(state.dtype, v.dtype))
        return time.matrix(state, self._scale(q), k, v, log_decay)


def check_decays(owner: str, decays: Decays, num_heads: int) -> tuple[float, ...] | None:
    """One decay per head, as fractions, or `None`."""
    if decays is None:
        return None
    values = np.asarray(decays, float)
    if values.shape != (num_heads,) or not np.all((values > 0) & (values < 1)):
        raise ValueError(
            f"{owner}: `decays` must be {num_heads} fractions between 0 and 1, one per head, got "
            f"{decays!r:.60}. Leave it out to use the default."
        )
    return tuple(values.tolist())
