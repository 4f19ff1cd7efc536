from collections.abc import Callable
from typing import Any, Unpack

import equinox as eqx
import jax.numpy as jnp
from jax.nn import elu
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks.functions import check_activated
from .._checks.options import check_number
from .._functions.function import as_function
from .._time import Advanced, State, Time
from .heads import MatrixCell, MatrixOptions, draw_wide, join_heads

Memory = Float[Array, "*batch num_heads key_size columns"]


def elu_plus_one(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """`x + 1` for `x >= 0`, and `exp(x)` below: the feature map of linear attention."""
    return elu(x) + 1


class LinearAttentionCoreCell(MatrixCell):
    """Linear attention: a sum of values, weighted by the products of a query with all keys so far.

        S' = S + phi(k) v^T
        z' = z + phi(k)                                     if normalize
        y = S'^T (scale phi(q)) / (z' . scale phi(q) + eps)     normalize=True
        y = S'^T (scale phi(q))                                 normalize=False

    per head, where `phi` stands for `feature_map`. The inputs are q, k and v, joined, each with the
    features of the first head first. z is the last column of the memory.

    **Shapes:** inputs `(*batch, input_size)`, whose parts have `num_heads * key_size`,
    `num_heads * key_size` and `num_heads * value_size` features; carry
    `(*batch, num_heads, key_size, value_size + 1)`, S and z, or
    `(*batch, num_heads, key_size, value_size)` without z; outputs
    `(*batch, num_heads * value_size)`.

    **Source:** A. Katharopoulos, A. Vyas, N. Pappas, F. Fleuret, "Transformers are RNNs: fast
    autoregressive transformers with linear attention", ICML, arXiv:2006.16236 (2020). `eps` is that
    of the authors' code, fast-transformers. With `normalize=False` and the identity as
    `feature_map`, this is the linear attention of flash-linear-attention. `Zoneout` is an error
    with `normalize=True`, because S and z only have a meaning together.
    """

    feature_map: Callable = eqx.field(converter=as_function)
    normalize: bool = eqx.field(static=True)
    scale: float | None = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(
        self,
        num_heads: int,
        key_size: int,
        value_size: int,
        *,
        feature_map: Callable = elu_plus_one,
        normalize: bool = True,
        scale: float | None = None,
        eps: float = 1e-6,
        **options: Unpack[MatrixOptions],
    ):
        """**Arguments:** `carry_init`, as for every cell, and

        - `num_heads`, `key_size`, `value_size`: the number and the size of the matrices.
        - `feature_map`: a function from an array to an array of the same shape, positive if
            `normalize` is true.
        - `normalize`: whether the weights of the values are divided by their sum.
        - `scale`: a factor of `phi(q)`. `None` means 1 with `normalize=True`, and
            `1 / sqrt(key_size)` with `normalize=False`.
        - `eps`: a number that is added to the sum of the weights.
        """
        self.feature_map, self.normalize, self.scale = feature_map, normalize, scale
        self._setup_heads(num_heads, key_size, value_size, options)
        self.eps = check_number("LinearAttentionCoreCell", "eps", eps, or_zero=True)

    @property
    def _parts(self) -> tuple[tuple[int, int], ...]:
        sizes = self.key_size, self.key_size, self.value_size
        return tuple((self.num_heads, size) for size in sizes)

    @property
    def inseparable(self) -> bool:
        """Whether the numbers of the carry only have a meaning together."""
        return self.normalize

    @property
    def memory_shape(self) -> tuple[int, int, int]:
        """The sizes of the carry without its batch axes."""
        return self.num_heads, self.key_size, self.value_size + self.normalize

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> Memory:
        self._space(sample_input)
        (memory,) = draw_wide(self, key, sample_input, self.memory_shape)
        return memory

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.output_size}"]]:
        q, k, v = self._split(inputs)
        memory, y = self.advance(carry, q, k, v, time)
        return memory, join_heads(y)

    def advance(
        self, memory: State, q: Array, k: Array, v: Array, time: Time
    ) -> tuple[Advanced, Array]:
        """The new part of the carry and y, from arrays `(steps, *batch, num_heads, size)`."""
        phi = lambda a: check_activated(self.feature_map, a, self.feature_map(a))
        scale = self.scale
        if scale is None:
            scale = 1.0 if self.normalize else self.key_size**-0.5
        if not self.normalize:
            return time.matrix(memory, scale * phi(q), phi(k), v, 0.0)
        if memory.kept is not None:
            raise ValueError(
                "Zoneout: `rate` must be 0 around linear attention with `normalize=True`, because "
                "the matrices and their normaliser only have a meaning together. Pass "
                "`normalize=False` to the cell, or drop inputs by `RecurrentDropout`."
            )
        v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
        new, y = time.matrix(memory, scale * phi(q), phi(k), v, 0.0)
        return new, y[..., :-1] / (y[..., -1:] + self.eps)
