"""Runs a jaxpr with the matrix products and convolutions of this package in place of JAX's."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

from .convolutions import convolution, is_channels_last
from .dots import multiply, product_of
from .jaxprs import cut_out, run, values_of, variables


def evaluate(jaxpr: Any, *args: Any) -> list[Any]:
    """The outputs of a jaxpr without constants. The arguments may be NumPy arrays.

    Equations that this package does not replace run in groups, by JAX's own evaluation.
    """
    values: dict[Any, Any] = dict(zip(jaxpr.invars, args, strict=True))
    needed = set(variables(jaxpr.outvars)).union(*(variables(e.invars) for e in jaxpr.eqns))
    for is_replaced, group in itertools.groupby(jaxpr.eqns, lambda e: _replacement(e) is not None):
        equations = list(group)
        if is_replaced:
            for equation in equations:
                replacement: Any = _replacement(equation)
                values[equation.outvars[0]] = replacement(*values_of(equation.invars, values))
            continue
        read = set().union(*(variables(e.invars) for e in equations))
        inputs = [v for v in values if v in read]
        outputs = [v for e in equations for v in e.outvars if v in needed]
        part = cut_out(jaxpr, inputs, outputs, equations)
        values.update(zip(outputs, run(part, [values[v] for v in inputs]), strict=True))
    return values_of(jaxpr.outvars, values)


def _replacement(equation: Any) -> Callable | None:
    """The function of the operands that runs in place of an equation, if any."""
    product = product_of(equation)
    if product is not None:
        return functools.partial(multiply, axis=product[0], precision=product[1])
    if is_channels_last(equation):
        return functools.partial(convolution, params=equation.params)
    return None
