"""Products of rows with a weight, whose gradients are the products that XLA runs fastest.

For `rows @ weight`, JAX derives the gradient of the weight as `d_outputs.T @ rows`, transposed.
With more than one axis of rows (time and batch), XLA's CPU backend first makes a transposed copy of
`d_outputs`, the largest array of all, and runs the product at less than half its speed. Written as
`rows.T @ d_outputs`, the product copies nothing. Merging the axes of the rows would work as well,
but time and batch cannot be merged if the batch is spread over several devices.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.lax as lax
from jax.lax import dot_general_p
from jaxtyping import Array

from .forms import times, wants_weight_first
from .jaxprs import is_known_form
from .linear import linear
from .sharding import sharding_of_sum, spec_of

_NAMES = {"dimension_numbers", "precision"}
_OPTIONAL = {"preferred_element_type", "out_sharding"}


def multiply(rows: Any, weight: Any, axis: int, precision: Any = None) -> Array:
    """`rows @ weight` for `axis=0`, and `rows @ weight.T` for `axis=1`.

    `rows` is `(*any, in)` with at least one axis in front, and `weight` has two axes. Both have the
    dtype of the product.
    """
    leading, spec = tuple(range(rows.ndim - 1)), spec_of(weight)
    dot = functools.partial(lax.dot_general, precision=precision)
    numbers = (((rows.ndim - 1,), (axis,)), ((), ()))
    output = jax.eval_shape(lambda a, b: dot(a, b, numbers), rows, weight)

    def of_rows(weight: Sequence[Any], rows: Sequence[Any]) -> list[Array]:
        return [times(rows[0], weight[0], axis, precision)]

    def to_rows(weight: Sequence[Array], d_outputs: Sequence[Any]) -> list[Array]:
        return [times(d_outputs[0], weight[0], 1 - axis, precision)]

    def of_weight(rows: Sequence[Any], weight: Sequence[Any]) -> list[Array]:
        return linear(of_rows, to_rows, weight, rows, [output])

    def to_weight(rows: Sequence[Array], d_outputs: Sequence[Any]) -> list[Array]:
        left, right = (rows[0], d_outputs[0]) if axis == 0 else (d_outputs[0], rows[0])
        place = sharding_of_sum(left, spec)
        return [dot(left, right, ((leading, leading), ((), ())), out_sharding=place)]

    return linear(of_weight, to_weight, [rows], [weight], [output])[0]


def multiply_as(rows: Any, weight: Any, params: dict[str, Any]) -> Array:
    """`multiply` with the parameters of an equation for which `weight_axis` is known."""
    (_, (axis,)), _ = params["dimension_numbers"]
    return multiply(rows, weight, axis, params["precision"])


def weight_axis(equation: Any) -> int | None:
    """The axis of the weight that a product `rows @ weight` or `rows @ weight.T` sums over.

    `None` for other equations, and for products that JAX runs faster.
    """
    if not is_known_form(equation, dot_general_p, _NAMES, _OPTIONAL):
        return None
    rows, weight = (v.aval for v in equation.invars)
    (row_axes, weight_axes), batch_axes = equation.params["dimension_numbers"]
    if weight.ndim != 2 or row_axes != (rows.ndim - 1,) or rows.ndim < 2 or batch_axes != ((), ()):
        return None
    if not rows.dtype == weight.dtype == equation.outvars[0].aval.dtype:
        return None
    if equation.params.get("out_sharding") is not None:
        return None
    (axis,) = weight_axes
    return axis if axis == 0 or wants_weight_first(rows, weight, axis) else None


def has_fast_transpose(equation: Any) -> bool:
    """Whether an equation is replaced, and the gradient of its rows is faster than JAX's."""
    axis = weight_axis(equation)
    if axis is None:
        return False
    return wants_weight_first(equation.outvars[0].aval, equation.invars[1].aval, 1 - axis)


def with_stored_weight(equation: Any, stored: dict[Any, Any]) -> Any:
    """`rows @ W.T` without the transpose, if that is faster.

    `stored` maps a variable for `W.T` to the variable for `W`.
    """
    if weight_axis(equation) != 0 or equation.invars[1] not in stored:
        return equation
    rows, transposed = equation.invars
    numbers = ((rows.aval.ndim - 1,), (1,)), ((), ())
    params = dict(equation.params, dimension_numbers=numbers)
    new = equation.replace(invars=[rows, stored[transposed]], params=params)
    return equation if weight_axis(new) is None else new
