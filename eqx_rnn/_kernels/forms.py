"""Forms of a product of rows with a weight, and the choice of the form that XLA runs fastest.

The weight may be summed over its first axis (`rows @ weight`, axis 0) or over its second axis
(`rows @ weight.T`, axis 1). For `m` rows, `k` columns and `n` results, XLA's CPU backend differs:

- One row: a product with a vector, as fast as memory. Axis 1 needs no copy of the weight.
- Axis 0 is the fastest for most other shapes. A loop over time can make a transposed copy of the
  weight for it.
- Axis 1 takes up to three times as long, because the weight is transposed at every call. For 2 to 4
  rows and for multiples of 8 up to 64, `weight @ rows.T` is 1.1 to 1.8 times as fast, because only
  the rows are transposed. Other numbers of rows do not fill vectors, and it is up to twice as slow.
- For large weights (`n * k` of at least 2**20) and multiples of 8 up to 64, `weight @ rows.T` is
  also at least as fast as axis 0, and up to 2.7 times as fast on some processors.
- Tasks have at least `(m + n) * k = 65,536` elements, doubling the columns. So some products of
  axis 0 are one task on one thread. With transposed rows, the work is split: 1.1 to 1.6 times as
  fast.

Measured in float32 by `benchmarks/products.py`, with jax 0.10.2 and 0.12 on two cores of an AMD
EPYC with AVX-512 (Zen 5), and with jax 0.10.2 on two cores of another AMD EPYC. Other platforms and
dtypes take `rows @ weight` or `rows @ weight.T` as they are.
"""

import math
from typing import Any

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array

from .sizes import is_known

SMALLEST = 2**14  # with smaller weights, all forms take about the same time


def rows_first(rows: Any, weight: Any, *, axis: int, precision: Any) -> Array:
    """The product over the last axis of `rows` and one of the two axes of `weight`."""
    return _dot(rows, rows.ndim - 1, weight, axis, precision)


def weight_first(rows: Any, weight: Any, *, axis: int, precision: Any) -> Array:
    """The same product, computed as its transpose."""
    # Without the barriers, XLA would turn the product back into `rows_first`.
    swapped = precision[::-1] if isinstance(precision, tuple) else precision
    product = _dot(weight, axis, lax.optimization_barrier(rows), rows.ndim - 1, swapped)
    return jnp.moveaxis(lax.optimization_barrier(product), 0, -1)


def columns_first(rows: Any, weight: Any, *, axis: int, precision: Any) -> Array:
    """The same product, from a transposed copy of the rows."""
    columns = lax.optimization_barrier(jnp.moveaxis(rows, -1, 0))
    return _dot(columns, 0, weight, axis, precision)


def fastest_form(rows: Any, weight: Any, axis: int) -> Any:
    """The function of this file that a CPU runs fastest. Reads shapes and dtypes only."""
    m, k, n = _sizes(rows, weight, axis)
    if not is_known(m, k, n) or rows.dtype != jnp.float32:
        return rows_first
    if axis == 1:
        return weight_first if _fills_vectors(m) and n * k >= SMALLEST else rows_first
    is_one_task = (m + n) * k < 82_000 and n >= 2 * k
    is_large = k >= 96 and m * n * k > 2_500_000
    return columns_first if is_one_task and is_large else rows_first


def times(rows: Any, weight: Any, *, axis: int, precision: Any) -> Array:
    """The product in its fastest form on a CPU."""
    return fastest_form(rows, weight, axis)(rows, weight, axis=axis, precision=precision)


def has_forms(weight: Any) -> bool:
    """Whether the fastest form of a product with a weight may depend on the number of rows."""
    size = math.prod(weight.shape)
    return weight.dtype == jnp.float32 and is_known(size) and size >= SMALLEST


def best_axis(rows: Any, weight: Any, axis: int) -> int:
    """The axis that the weight should be summed over if it may be transposed before a loop."""
    m, k, n = _sizes(rows, weight, axis)
    if not is_known(m, k, n) or weight.dtype != jnp.float32:
        return 0
    if m == 1:
        return 1 if n * k >= SMALLEST else 0
    return 1 if m % 8 == 0 and m <= 64 and n * k >= 2**20 else 0


def axis_for_rows(rows: Any, weight: Any, axis: int) -> int:
    """The axis for which the gradient of the rows is fastest. Its product has the other axis."""
    _, _, n = _sizes(rows, weight, axis)
    d_outputs = jax.ShapeDtypeStruct((*rows.shape[:-1], n), rows.dtype)
    return 1 - best_axis(d_outputs, weight, 1 - axis)


def axis_for_weight(rows: Any, weight: Any, axis: int) -> int:
    """The axis for which the gradient of the weight is the fastest: it transposes the rows."""
    return 0


def _fills_vectors(m: int) -> bool:
    return 2 <= m <= 4 or (m % 8 == 0 and m <= 64)


def _sizes(rows: Any, weight: Any, axis: int) -> tuple[Any, Any, Any]:
    return math.prod(rows.shape[:-1]), weight.shape[axis], weight.shape[1 - axis]


def _dot(left: Array, left_axis: int, right: Array, right_axis: int, precision: Any) -> Array:
    numbers = (((left_axis,), (right_axis,)), ((), ()))
    return lax.dot_general(left, right, numbers, precision=precision)
