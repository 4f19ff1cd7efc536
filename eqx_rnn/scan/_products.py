"""Products of many rows with a weight, whose gradient is the product that XLA runs fastest.

For `rows @ weight`, JAX derives the gradient of the weight as `d_outputs.T @ rows`, transposed.
With more than one axis of rows (time and batch), XLA's CPU backend makes a transposed copy of
`d_outputs` first, the largest array around, and runs the product at less than half its speed. As
`rows.T @ d_outputs`, nothing is copied. One axis of rows would do as well, but time and batch
cannot be made one where the batch is spread over several devices.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.lax as lax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun
from jaxtyping import Array

from ._convolutions import convolution, is_channels_last
from ._linear import linear


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
    return _product if _is_rows_times_weight(equation) else None


def _is_rows_times_weight(equation: Any) -> bool:
    if equation.primitive is not lax.dot_general_p:
        return False
    rows, weight = (v.aval for v in equation.invars)
    return (
        equation.params["dimension_numbers"] == (((rows.ndim - 1,), (0,)), ((), ()))
        and weight.ndim == 2
        and rows.ndim > 1
        and rows.dtype == weight.dtype == equation.outvars[0].aval.dtype
    )


def _product(rows: Any, weight: Any, params: dict[str, Any]) -> Array:
    dot = functools.partial(lax.dot_general, precision=params["precision"])
    leading = tuple(range(rows.ndim - 1))

    def in_place(rows: Array, weight: Array) -> Array:
        return dot(rows, weight, (((rows.ndim - 1,), (0,)), ((), ())))

    def transposed(rows: Array, weight: Array) -> Array:
        columns = lax.optimization_barrier(jnp.moveaxis(rows, -1, 0))
        return dot(columns, weight, (((0,), (0,)), ((), ())))

    def forward(rows: Array, weight: Array) -> list[Array]:
        if not _wants_more_threads(rows, weight):
            return [in_place(rows, weight)]
        return [lax.platform_dependent(rows, weight, cpu=transposed, default=in_place)]

    def transpose(rows: Sequence[Array], d_outputs: Sequence[Any]) -> list[Array]:
        return [dot(rows[0], d_outputs[0], ((leading, leading), ((), ())))]

    output = jax.ShapeDtypeStruct((*rows.shape[:-1], weight.shape[1]), rows.dtype)
    (outputs,) = linear(forward, transpose, [rows], [weight], [output])
    return outputs


def _wants_more_threads(rows: Any, weight: Any) -> bool:
    """Whether XLA's CPU backend would use one thread for a product that is worth several.

    Its products are run by YNNPACK, which makes a task of at least `(m + n) * k = 65,536`, the
    columns doubling; so all of `h @ W` is one at a hidden size of 64 to 128 and a batch of 32 to
    128. What YNNPACK does not take, a transposed left side, is left to Eigen, which splits it. On
    two cores that is 1.2 to 1.6 times as fast within these bounds, and slower outside them.
    """
    m, (k, n) = math.prod(rows.shape[:-1]), weight.shape
    is_one_task = (m + n) * k < 82_000 and n >= 2 * k
    return rows.dtype == jnp.float32 and is_one_task and m * n * k > 1_500_000
