"""Products of rows with a weight, as a primitive that takes the form that XLA runs fastest.

The primitive chooses its form when it is lowered, because only then are the platform and the number
of rows known: `jax.vmap` over a cell turns one row into many. Its gradients are fast, too. For
`rows @ weight`, JAX derives the gradient of the weight as `d_outputs.T @ rows`, transposed. With
more than one axis of rows (time and batch), XLA's CPU backend first makes a transposed copy of
`d_outputs`, the largest array of all, and runs the product at less than half its speed. Written as
`rows.T @ d_outputs`, the product copies nothing. Merging the axes of the rows would work as well,
but time and batch cannot be merged if the batch is spread over several devices.
"""

import functools
from typing import Any

import jax
import jax.lax as lax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters.ad import defbilinear
from jax.interpreters.batching import primitive_batchers
from jax.interpreters.mlir import lower_fun, register_lowering
from jax.lax import dot_general_p, transpose_p
from jaxtyping import Array

from .forms import rows_first, times
from .jaxprs import is_known_form, trace
from .sharding import manual_axes, sharding_of_sum, spec_of, struct, vary

_product_p = Primitive("eqx_rnn_product")
_NAMES = {"dimension_numbers", "precision"}
_OPTIONAL = {"preferred_element_type", "out_sharding"}


def multiply(rows: Any, weight: Any, axis: int, precision: Any = None) -> Array:
    """`rows @ weight` for `axis=0`, and `rows @ weight.T` for `axis=1`.

    `rows` is `(*any, in)`, and `weight` has two axes. Both have the dtype of the product.
    """
    if precision is None:  # now, because lowering may happen outside of the context that sets it
        precision = getattr(jax.config, "jax_default_matmul_precision", None)
    axes = manual_axes(rows) | manual_axes(weight)
    rows, weight = vary(rows, axes), vary(weight, axes)
    return _product_p.bind(rows, weight, axis=axis, precision=precision)


def product_of(equation: Any) -> tuple[int, Any] | None:
    """`(axis, precision)` of an equation that is a product as `multiply` computes it, if it is."""
    if equation.primitive is _product_p:
        return equation.params["axis"], equation.params["precision"]
    if not is_known_form(equation, dot_general_p, _NAMES, _OPTIONAL):
        return None
    rows, weight = (v.aval for v in equation.invars)
    (row_axes, weight_axes), batch_axes = equation.params["dimension_numbers"]
    if weight.ndim != 2 or row_axes != (rows.ndim - 1,) or batch_axes != ((), ()):
        return None
    if not rows.dtype == weight.dtype == equation.outvars[0].aval.dtype:
        return None
    if equation.params.get("out_sharding") is not None:
        return None
    return weight_axes[0], equation.params["precision"]


def with_other_axis(equation: Any, transposed: Any) -> Any:
    """The same product, from the transposed weight."""
    (rows, _), (axis, _) = equation.invars, product_of(equation) or (0, None)
    if equation.primitive is _product_p:
        params = {"axis": 1 - axis}
    else:
        params = {"dimension_numbers": (((rows.aval.ndim - 1,), (1 - axis,)), ((), ()))}
    return equation.replace(invars=[rows, transposed], params={**equation.params, **params})


def is_matrix_transpose(equation: Any) -> bool:
    """Whether an equation transposes a matrix."""
    known = is_known_form(equation, transpose_p, {"permutation"}, set())
    return known and equation.params["permutation"] == (1, 0)


def transpose_equation(matrix: Any) -> Any:
    """An equation with a new variable for the transpose of a matrix."""
    # A new function each time: JAX caches traces, and with them the variables.
    (equation,) = trace(lambda matrix: matrix.T, struct(matrix.aval)).jaxpr.eqns
    return equation.replace(invars=[matrix])


def _abstract(rows: Any, weight: Any, *, axis: int, precision: Any) -> Any:
    product = functools.partial(rows_first, axis=axis, precision=precision)
    return jax.typeof(jax.eval_shape(product, struct(rows), struct(weight)))


def _to_rows(d_outputs: Any, rows: Any, weight: Any, *, axis: int, precision: Any) -> Array:
    return multiply(d_outputs, weight, 1 - axis, precision)


def _to_weight(d_outputs: Any, rows: Any, weight: Any, *, axis: int, precision: Any) -> Array:
    left, right = (rows, d_outputs) if axis == 0 else (d_outputs, rows)
    leading = tuple(range(rows.ndim - 1))
    place = sharding_of_sum(left, spec_of(weight.aval))
    numbers = ((leading, leading), ((), ()))
    return lax.dot_general(left, right, numbers, precision=precision, out_sharding=place)


def _batch(args: Any, axes: Any, *, axis: int, precision: Any) -> tuple[Array, int]:
    (rows, weight), (rows_axis, weight_axis) = args, axes
    if weight_axis is None:
        return multiply(jnp.moveaxis(rows, rows_axis, 0), weight, axis, precision), 0
    product = functools.partial(rows_first, axis=axis, precision=precision)
    return jax.vmap(product, in_axes=(rows_axis, weight_axis))(rows, weight), 0


@functools.partial(jax.jit, static_argnames=("axis", "precision"))
def _compiled(rows: Array, weight: Array, *, axis: int, precision: Any) -> Array:
    return _product_p.bind(rows, weight, axis=axis, precision=precision)


def _run(rows: Array, weight: Array, *, axis: int, precision: Any) -> Array:
    with jax.disable_jit(False):  # or `_compiled` would call this function again
        return _compiled(rows, weight, axis=axis, precision=precision)


_product_p.def_impl(_run)
_product_p.def_abstract_eval(_abstract)
defbilinear(_product_p, _to_rows, _to_weight)
primitive_batchers[_product_p] = _batch
register_lowering(_product_p, lower_fun(rows_first, multiple_results=False))
register_lowering(_product_p, lower_fun(times, multiple_results=False), platform="cpu")
