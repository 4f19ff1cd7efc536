from typing import Unpack

from jaxtyping import Array, Float

from .._time import Advanced, State, Time
from .heads import MatrixOptions, OneMatrixCell, join_heads


class RWKV7CoreCell(OneMatrixCell):
    """The memory of RWKV-7: a matrix that decays per key channel, and replaces old values.

        S' = diag(exp(g)) S + k v^T + beta (alpha^T S)
        y = S'^T r

    per head, with S before the decay. The inputs are r, k, v, g, alpha and beta, joined, each with
    the features of the first head first. g is the logarithm of the decay, at most 0. If u is a
    vector of length 1, `alpha = -u` and `beta = a u` remove the fraction a of what S holds for u.

    **Shapes:** inputs `(*batch, input_size)`, whose parts have `num_heads * key_size` features,
    except v, which has `num_heads * value_size`; carry `(*batch, num_heads, key_size, value_size)`;
    outputs `(*batch, num_heads * value_size)`.

    **Source:** B. Peng et al., "RWKV-7 Goose with expressive dynamic state evolution",
    arXiv:2503.14456 (2025), where the matrix is transposed. In flash-linear-attention, this is the
    "diagonal plus low rank" recurrence, whose default scale, `1 / sqrt(key_size)`, is not part of
    this cell: multiply r by it.
    """

    def __init__(
        self, num_heads: int, key_size: int, value_size: int, **options: Unpack[MatrixOptions]
    ):
        """**Arguments:** `carry_init`, as for every cell, and

        - `num_heads`, `key_size`, `value_size`: the number and the size of the matrices.
        """
        self._setup_heads(num_heads, key_size, value_size, options)

    @property
    def _parts(self) -> tuple[tuple[int, int], ...]:
        sizes = self.key_size, self.key_size, self.value_size, *3 * (self.key_size,)
        return tuple((self.num_heads, size) for size in sizes)

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.output_size}"]]:
        r, k, v, g, alpha, beta = self._split(inputs)
        state, y = self.advance(carry, r, k, v, g, alpha, beta, time)
        return state, join_heads(y)

    def advance(
        self,
        state: State,
        r: Array,
        k: Array,
        v: Array,
        g: Array,
        alpha: Array,
        beta: Array,
        time: Time,
    ) -> tuple[Advanced, Array]:
        """The new part of the carry and y, from arrays `(steps, *batch, num_heads, size)`."""
        return time.matrix(state, r, k, v, g, erase=(alpha, -beta))
