"""Draws the arrays of a new cell."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks.functions import check_drawn
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
    stays unused, and the other arrays do not change.

    Gates are stacked in rows. Matrices are drawn per gate: initialisers see the shape of one gate,
    `(*kernel_size, columns, rows)`, as `jax.nn.initializers` expects. So the fan-in is correct, and
    an orthogonal initialiser makes each gate's matrix orthogonal.
    """

    options: Mapping[str, Any]
    dtype: jnp.dtype
    input_size: int
    hidden_size: int
    kernel_size: tuple[int, ...]

    def keys(self, num: int) -> Array:
        """`num` keys."""
        return jr.split(self.options["key"], num)

    def weight(
        self, key: PRNGKeyArray, gates: int, rows: int | None = None, columns: int | None = None
    ) -> Array:
        """`(gates * rows, columns)`; the default sizes are `hidden_size` and `input_size`."""
        sizes = rows or self.hidden_size, columns or self.input_size
        return self._matrices("weight_init", key, gates, *sizes)

    def rows(
        self, key: PRNGKeyArray, sizes: Sequence[int], columns: int | None = None
    ) -> Float[Array, "{sum(sizes)} columns"]:
        """Parts of different sizes, stacked in rows. Each is drawn by itself, like a gate."""
        keys = jr.split(key, len(sizes))
        parts = [self.weight(k, 1, n, columns) for k, n in zip(keys, sizes, strict=True)]
        return jnp.concatenate(parts)

    def recurrent_weight(
        self, key: PRNGKeyArray, gates: int, rows: int | None = None, columns: int | None = None
    ) -> Array:
        """`(gates * rows, columns)`; the default of both sizes is `hidden_size`."""
        sizes = rows or self.hidden_size, columns or self.hidden_size
        return self._matrices("recurrent_weight_init", key, gates, *sizes)

    def bias(
        self,
        key: PRNGKeyArray,
        gates: int,
        offsets: Mapping[int, Any] | None = None,
        size: int | None = None,
    ) -> Array | None:
        """`(gates * size,)`, or `None` if the cell has no biases. The default is `hidden_size`.

        `offsets` maps the index of a gate to a number or an initialiser, to add to the bias.
        """
        if not self.options["use_bias"]:
            return None
        size = size or self.hidden_size
        bias = self.array(key, self.options["bias_init"], (gates * size,))
        for gate, offset in (offsets or {}).items():
            if callable(offset):
                offset = self.array(jr.fold_in(key, gate), offset, (size,))
            bias = bias.at[gate * size : (gate + 1) * size].add(offset)
        return bias

    def vector(
        self, key: PRNGKeyArray, gates: int, init: Any
    ) -> Float[Array, "{gates}*{self.hidden_size}"]:
        """`(gates * hidden_size,)`, by an initialiser or the common option of that name."""
        init = self.options[init] if isinstance(init, str) else init
        return self.array(key, init, (gates * self.hidden_size,))

    def _matrices(
        self, init: str, key: PRNGKeyArray, gates: int, rows: int, columns: int
    ) -> Float[Array, "{gates}*{rows} {columns} *kernel"]:
        shape = (*self.kernel_size, columns, rows)
        drawn = [self.array(k, self.options[init], shape) for k in jr.split(key, gates)]
        return jnp.concatenate([jnp.moveaxis(matrix, (-1, -2), (0, 1)) for matrix in drawn])

    def array(self, key: PRNGKeyArray, init: Initializer, shape: tuple[int, ...]) -> Array:
        """Calls an initialiser in float32 or wider, then casts.

        Some initialisers, such as `orthogonal`, do not support half precision. For the others, a
        rounded float32 number is a better sample.
        """
        array = init(key, shape, widest(self.dtype, jnp.float32))
        return check_drawn(init, shape, array).astype(self.dtype)
