from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks.options import check_number
from .._dtypes import widest
from .._time import Time
from .heads import MatrixCell, MatrixOptions, draw_wide, join_heads


class MLSTMCarry(NamedTuple):
    """The state of an mLSTM: the `memory`, divided by `exp(scale)`, and the `scale`.

    The last column of the memory is the normaliser n.
    """

    memory: Any
    scale: Any
    inseparable = True  # for `RecurrentDropout`


class MLSTMCoreCell(MatrixCell):
    """The memory of an mLSTM of the xLSTM family: a matrix with exponential gates.

        m' = max(g + m, i)                             scale
        C' = exp(g + m - m') C + exp(i - m') k v^T / sqrt(key_size)
        n' = exp(g + m - m') n + exp(i - m') k / sqrt(key_size)
        h' = C'^T q / (max(|n'^T q|, exp(-m')) + eps)

    per head. The output is `h'`. g is the logarithm of the forget gate, such as `log_sigmoid(f)`,
    and i is the logarithm of the input gate, which can be any number. The inputs are q, k, v, g and
    i, joined, each with the features of the first head first. C and n are stored as one matrix
    `[C, n]`. No exponent is positive, except that of `exp(-m')`, which is limited to finite
    numbers.

    **Shapes:** inputs `(*batch, input_size)`, whose parts have `num_heads * key_size`,
    `num_heads * key_size`, `num_heads * value_size`, `num_heads` and `num_heads` features; carry
    `MLSTMCarry(memory, scale)` with `memory` `(*batch, num_heads, key_size, value_size + 1)` and
    `scale` `(*batch, num_heads)`, m; outputs `(*batch, num_heads * value_size)`.

    **Source:** M. Beck et al., "xLSTM: extended long short-term memory", NeurIPS,
    arXiv:2405.04517 (2024). As in the authors' code, the first m is 0, the lower bound of the
    normaliser is `exp(-m')`, which is 1 without the scale, and `eps` is added to the scaled number.
    There, the carry is `(c_state, n_state, m_state)` with further axes of size 1.
    """

    eps: float = eqx.field(static=True)

    def __init__(
        self,
        num_heads: int,
        key_size: int,
        value_size: int,
        *,
        eps: float = 1e-6,
        **options: Unpack[MatrixOptions],
    ):
        """**Arguments:** `carry_init`, as for every cell, and

        - `num_heads`, `key_size`, `value_size`: the number and the size of the matrices.
        - `eps`: a number that is added to each denominator.
        """
        self.eps = check_number("MLSTMCoreCell", "eps", eps, or_zero=True)
        self._setup_heads(num_heads, key_size, value_size, options)

    @property
    def _parts(self) -> tuple[tuple[int, int], ...]:
        sizes = self.key_size, self.key_size, self.value_size, 1, 1
        return tuple((self.num_heads, size) for size in sizes)

    @property
    def carry_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of the memory and of the scale, without batch axes."""
        return (self.num_heads, self.key_size, self.value_size + 1), (self.num_heads,)

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> MLSTMCarry:
        self._space(sample_input)
        return MLSTMCarry(*draw_wide(self, key, sample_input, *self.carry_shapes, num_wide=2))

    def chunk(
        self, carry: MLSTMCarry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[MLSTMCarry, Float[Array, "*batch {self.output_size}"]]:
        q, k, v, g, i = self._split(inputs)
        carry, h = self.advance(carry, q, k, v, g[..., 0], i[..., 0], time)
        return carry, join_heads(h)

    def advance(
        self, carry: MLSTMCarry, q: Array, k: Array, v: Array, g: Array, i: Array, time: Time
    ) -> tuple[MLSTMCarry, Array]:
        """The new carry and h', from arrays `(steps, *batch, num_heads, size)`.

        g and i are `(steps, *batch, num_heads)`.
        """
        check_not_zoned(carry)
        scale, m = time.maximum(carry.scale, g, i)
        keep = g + time.before(scale) - m
        k = jnp.exp(i - m)[..., None] * (self.key_size**-0.5 * k)
        v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
        memory, y = time.matrix(carry.memory, q, k, v, keep[..., None])
        return MLSTMCarry(memory, scale), self._read(y, m)

    def _read(self, y: Array, m: Array) -> Array:
        """h' from `[C'^T q, n'^T q]` and m', computed in float32 or wider."""
        wide = y.astype(widest(y.dtype, jnp.float32))
        largest = float(np.log(float(jnp.finfo(wide.dtype).max))) - 1
        least = jnp.exp(jnp.minimum(-m.astype(wide.dtype), largest))[..., None]
        denominator = jnp.maximum(jnp.abs(wide[..., -1:]), least) + self.eps
        return (wide[..., :-1] / denominator).astype(y.dtype)


def check_not_zoned(carry: Any) -> None:
    """Checks that `Zoneout` keeps nothing of `carry.memory` and `carry.scale`."""
    if carry.memory.kept is not None or carry.scale.kept is not None:
        raise ValueError(
            "Zoneout: `rate` must be 0 for the `memory` and the `scale` of an mLSTM, got another "
            "rate for one of them. The memory is stored divided by exp(scale), so old entries "
            "have no meaning among new ones. To regularize this cell, drop inputs by "
            "`RecurrentDropout(cell, input_rate=...)` instead."
        )
