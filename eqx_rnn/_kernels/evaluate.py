"""Runs a jaxpr with the matrix products and convolutions of this package in place of JAX's."""

import itertools
from collections.abc import Callable
from typing import Any

from .convolutions import convolution, is_channels_last
from .dots import has_fast_transpose as has_fast_dot_transpose
from .dots import multiply_as, weight_axis
from .jaxprs import cut_out, run, values_of, variables


def evaluate(jaxpr: Any, *args: Any) -> list[Any]:
    """The outputs of a jaxpr without constants. The arguments may be NumPy arrays.

    Equations that this package does not replace run in groups, by JAX's own evaluation.
    """
    values: dict[Any, Any] = dict(zip(jaxpr.invars, args, strict=True))
    needed = set(variables(jaxpr.outvars)).union(*(variables(e.invars) for e in jaxpr.eqns))
    for replacement, group in itertools.groupby(jaxpr.eqns, _replacement):
        equations = list(group)
        if replacement is not None:
            for equation in equations:
                operands = values_of(equation.invars, values)
                values[equation.outvars[0]] = replacement(*operands, equation.params)
            continue
        read = set().union(*(variables(e.invars) for e in equations))
        inputs = [v for v in values if v in read]
        outputs = [v for e in equations for v in e.outvars if v in needed]
        part = cut_out(jaxpr, inputs, outputs, equations)
        values.update(zip(outputs, run(part, [values[v] for v in inputs]), strict=True))
    return values_of(jaxpr.outvars, values)


def has_fast_transpose(equation: Any) -> bool:
    """Whether an equation has a replacement whose gradient of the rows is faster than JAX's."""
    return has_fast_dot_transpose(equation) or is_channels_last(equation)


def _replacement(equation: Any) -> Callable | None:
    """The function of `(*operands, params)` that runs in place of an equation, if any."""
    if is_channels_last(equation):
        return convolution
    return multiply_as if weight_axis(equation) is not None else None
