"""Products of rows with a weight, whose gradients are the products that XLA runs fastest.

For `rows @ weight`, JAX derives the gradient of the weight as `d_outputs.T @ rows`, transposed.
With more than one axis of rows (time and batch), XLA's CPU backend makes a transposed copy of
`d_outputs` first, the largest array around, and runs the product at less than half its speed. As
`rows.T @ d_outputs`, nothing is copied. One axis of rows would do as well, but time and batch
cannot be made one where the batch is spread over several devices.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.lax as lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun
from jaxtyping import Array

from .convolutions import convolution, is_channels_last
from .forms import times, wants_weight_first
from .linear import linear
from .sharding import sharding_of_sum


def evaluate(jaxpr: Jaxpr, *args: Any) -> list[Any]:
    """A jaxpr's outputs, its products `rows @ weight` and its convolutions being our own.

    Constants among the arguments may be arrays of NumPy.
    """
    values: dict[Any, Any] = dict(zip(jaxpr.invars, args, strict=True))
    variables = lambda atoms: [v for v in atoms if not isinstance(v, Literal)]
    needed = set(variables(jaxpr.outvars)).union(*(variables(e.invars) for e in jaxpr.eqns))
    for apply, group in itertools.groupby(jaxpr.eqns, _own):
        equations = list(group)
        if apply is not None:
            for equation in equations:
                operands = (v.val if isinstance(v, Literal) else values[v] for v in equation.invars)
                values[equation.outvars[0]] = apply(*operands, equation.params)
            continue
        read = set().union(*(variables(e.invars) for e in equations))
        inputs = [v for v in values if v in read]
        outputs = [v for e in equations for v in e.outvars if v in needed]
        part = jaxpr.replace(
            constvars=[],
            invars=inputs,
            outvars=outputs,
            eqns=equations,
            debug_info=jaxpr.debug_info.with_unknown_names(),
        )
        results = jaxpr_as_fun(ClosedJaxpr(part, []))(*(values[v] for v in inputs))
        values.update(zip(outputs, results, strict=True))
    return [v.val if isinstance(v, Literal) else values[v] for v in jaxpr.outvars]


def _own(equation: Any) -> Callable | None:
    """What runs an equation in place of JAX, if anything."""
    if is_channels_last(equation):
        return convolution
    return _product if _weight_axis(equation) is not None else None


def has_fast_transpose(equation: Any) -> bool:
    """Whether an equation is run by us, and the gradient of its rows is faster than JAX's."""
    axis = _weight_axis(equation)
    if axis is None:
        return is_channels_last(equation)
    return wants_weight_first(equation.outvars[0].aval, equation.invars[1].aval, 1 - axis)


def with_stored_weight(equation: Any, stored: dict[Any, Any]) -> Any:
    """`rows @ W.T`, where `stored` has `W` for `W.T`, without the transpose if that is faster."""
    if _weight_axis(equation) != 0 or equation.invars[1] not in stored:
        return equation
    rows, turned = equation.invars
    numbers = ((rows.aval.ndim - 1,), (1,)), ((), ())
    params = dict(equation.params, dimension_numbers=numbers)
    new = equation.replace(invars=[rows, stored[turned]], params=params)
    return equation if _weight_axis(new) is None else new


def _weight_axis(equation: Any) -> int | None:
    """Which axis of its weight a product `rows @ weight` or `rows @ weight.T` sums over.

    `None` for all that is better left to JAX.
    """
    if equation.primitive is not lax.dot_general_p:
        return None
    rows, weight = (v.aval for v in equation.invars)
    (row_axes, weight_axes), batch_axes = equation.params["dimension_numbers"]
    if weight.ndim != 2 or row_axes != (rows.ndim - 1,) or rows.ndim < 2 or batch_axes != ((), ()):
        return None
    if not rows.dtype == weight.dtype == equation.outvars[0].aval.dtype:
        return None
    (axis,) = weight_axes
    return axis if axis == 0 or wants_weight_first(rows, weight, axis) else None


def _product(rows: Any, weight: Any, params: dict[str, Any]) -> Array:
    (_, (axis,)), _ = params["dimension_numbers"]
    precision = params["precision"]
    leading, spec = tuple(range(rows.ndim - 1)), jax.typeof(weight).sharding.spec
    dot = functools.partial(lax.dot_general, precision=precision)
    output = jax.eval_shape(lambda a, b: dot(a, b, params["dimension_numbers"]), rows, weight)

    def of_rows(weight: Sequence[Any], rows: Sequence[Any]) -> list[Array]:
        return [times(rows[0], weight[0], axis, precision)]

    def to_rows(weight: Sequence[Array], d_outputs: Sequence[Any]) -> list[Array]:
        return [times(d_outputs[0], weight[0], 1 - axis, precision)]

    def of_weight(rows: Sequence[Any], weight: Sequence[Any]) -> list[Array]:
        return linear(of_rows, to_rows, weight, rows, [output])

    def to_weight(rows: Sequence[Array], d_outputs: Sequence[Any]) -> list[Array]:
        pair = (rows[0], d_outputs[0]) if axis == 0 else (d_outputs[0], rows[0])
        place = sharding_of_sum(pair[0], spec)
        return [dot(pair[0], pair[1], ((leading, leading), ((), ())), out_sharding=place)]

    return linear(of_weight, to_weight, [rows], [weight], [output])[0]
