"""The drawing of a new cell's arrays."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .._dtypes import widest
from ..initializers import Initializer


@dataclasses.dataclass(frozen=True)
class Draw:
    """Draws the arrays of a new cell, each with its own key.

        ih, hh, b = draw.keys(3)
        self.weight_ih = draw.weight(ih, 4)
        self.weight_hh = draw.recurrent_weight(hh, 4)
        self.bias = draw.bias(b, 4)

    A cell makes one key per array that it can have. If its options leave an array out, that key
    stays unused, and the other arrays are the same.

    The arrays of all gates are stacked in rows. A matrix is drawn per gate: initialisers see the
    shape `(*kernel_size, columns, rows)` of one gate, as `jax.nn.initializers` expects. So a fan-in
    is a fan-in, and an orthogonal initialiser makes each gate's matrix orthogonal.
    """

    key: PRNGKeyArray
    input_size: int
    hidden_size: int
    kernel_size: tuple[int, ...]
    use_bias: bool
    weight_init: Initializer
    recurrent_weight_init: Initializer
    bias_init: Initializer
    dtype: jnp.dtype

    def keys(self, num: int) -> Array:
        """`num` keys."""
        return jr.split(self.key, num)

    def weight(
        self, key: PRNGKeyArray, gates: int, rows: int | None = None, columns: int | None = None
    ) -> Float[Array, "stacked columns *kernel"]:
        """`(gates * rows, columns)`; the default sizes are `hidden_size` and `input_size`."""
        sizes = rows or self.hidden_size, columns or self.input_size
        return self._matrices(self.weight_init, key, gates, *sizes)

    def recurrent_weight(
        self, key: PRNGKeyArray, gates: int, rows: int | None = None, columns: int | None = None
    ) -> Float[Array, "stacked columns *kernel"]:
        """`(gates * rows, columns)`; the default of both sizes is `hidden_size`."""
        sizes = rows or self.hidden_size, columns or self.hidden_size
        return self._matrices(self.recurrent_weight_init, key, gates, *sizes)

    def bias(
        self,
        key: PRNGKeyArray,
        gates: int,
        offsets: Mapping[int, float | Initializer] = MappingProxyType({}),
    ) -> Float[Array, " stacked"] | None:
        """`(gates * hidden_size,)`, or `None` if the cell has no biases.

        `offsets` maps the index of a gate to a number, or to an initialiser, that is added.
        """
        if not self.use_bias:
            return None
        bias = self.vector(key, self.bias_init, gates)
        for gate, offset in offsets.items():
            if callable(offset):
                offset = self.array(jr.fold_in(key, gate), offset, (self.hidden_size,))
            bias = bias.at[gate * self.hidden_size : (gate + 1) * self.hidden_size].add(offset)
        return bias

    def vector(
        self, key: PRNGKeyArray, init: Initializer, gates: int
    ) -> Float[Array, "{gates}*{self.hidden_size}"]:
        """`(gates * hidden_size,)`."""
        return self.array(key, init, (gates * self.hidden_size,))

    def array(self, key: PRNGKeyArray, init: Initializer, shape: tuple[int, ...]) -> Array:
        """Calls an initialiser in float32 or wider, then casts.

        Some initialisers, such as `orthogonal`, have no half-precision form. And a rounded float32
        number is the better sample.
        """
        return init(key, shape, widest(self.dtype, jnp.float32)).astype(self.dtype)

    def _matrices(
        self, init: Initializer, key: PRNGKeyArray, gates: int, rows: int, columns: int
    ) -> Float[Array, "{gates}*{rows} {columns} *kernel"]:
        shape = (*self.kernel_size, columns, rows)
        drawn = [self.array(gate_key, init, shape) for gate_key in jr.split(key, gates)]
        return jnp.concatenate([jnp.moveaxis(matrix, (-1, -2), (0, 1)) for matrix in drawn])
