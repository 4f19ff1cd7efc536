"""Forms of a product of rows with a weight, and the choice of the form that XLA runs fastest.

On a CPU, XLA runs products with YNNPACK, which can be slow in two cases:

- It makes tasks of at least `(m + n) * k = 65,536`, doubling the columns. So at a hidden size of 64
  to 128 and a batch of 32 to 128, all of `h @ W` is one task on one thread. YNNPACK leaves products
  with a transposed left side to Eigen, which splits them. This is 1.2 to 1.6 times as fast within
  the bounds below, and slower outside them.
- It copies the right side at every call, into the order in which it reads. With a large weight and
  a small batch, the copy takes most of the time. With the weight on the left, only the rows are
  copied, and the result must be transposed. This is 1.1 to 6 times as fast within the bounds below.

Measured on two cores, in loops in which each product waits for the last.
"""

import math
from typing import Any

import jax.lax as lax
import jax.numpy as jnp
from jax.lax import optimization_barrier, platform_dependent
from jaxtyping import Array

from .sizes import is_known


def times(rows: Any, weight: Any, axis: int, precision: Any) -> Array:
    """The product over the last axis of `rows` and one of the two axes of `weight`.

    That is `rows @ weight` for the axis 0, and `rows @ weight.T` for the axis 1.
    """

    def dot(left: Array, left_axis: int, right: Array, right_axis: int, precision: Any) -> Array:
        numbers = ((left_axis,), (right_axis,)), ((), ())
        return lax.dot_general(left, right, numbers, precision=precision)

    def rows_first(rows: Array, weight: Array) -> Array:
        return dot(rows, rows.ndim - 1, weight, axis, precision)

    def columns_first(rows: Array, weight: Array) -> Array:
        columns = optimization_barrier(jnp.moveaxis(rows, -1, 0))
        return dot(columns, 0, weight, axis, precision)

    def weight_first(rows: Array, weight: Array) -> Array:
        # XLA moves this transposed copy out of the loop. Without the other two barriers it would
        # turn the product back into `rows @ weight`.
        weight = weight if axis == 1 else optimization_barrier(weight.T)
        swapped = precision[::-1] if isinstance(precision, tuple) else precision
        product = dot(weight, 1, optimization_barrier(rows), rows.ndim - 1, swapped)
        return jnp.moveaxis(optimization_barrier(product), 0, -1)

    if axis == 0 and _is_one_task(rows, weight):
        return platform_dependent(rows, weight, cpu=columns_first, default=rows_first)
    if wants_weight_first(rows, weight, axis):
        return platform_dependent(rows, weight, cpu=weight_first, default=rows_first)
    return rows_first(rows, weight)


def _is_one_task(rows: Any, weight: Any) -> bool:
    """Whether `rows @ weight` would run on one thread, and is large enough for several."""
    m, (k, n) = math.prod(rows.shape[:-1]), weight.shape
    if not is_known(m, k, n):
        return False
    is_one_task = (m + n) * k < 82_000 and n >= 2 * k
    return rows.dtype == jnp.float32 and is_one_task and m * n * k > 1_500_000


def wants_weight_first(rows: Any, weight: Any, axis: int) -> bool:
    """Whether copying the weight would take most of the time. Reads shapes and dtypes only."""
    m, k, n = math.prod(rows.shape[:-1]), weight.shape[axis], weight.shape[1 - axis]
    if not is_known(m, k, n):
        return False
    least = 2**20 if n > k else 2**18  # transposing a larger result reduces the gain
    is_small_batch = 3 <= m < 64 and 2**13 * m < n * k
    is_large_weight = n * k >= least and m * n * k >= 8 * least
    return rows.dtype == jnp.float32 and is_small_batch and is_large_weight
