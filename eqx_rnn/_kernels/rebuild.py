"""Computes some results of a function from its other results, without one of its arguments."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from .jaxprs import cut_out, run, trace, variables


def rebuild(
    function: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]], known: PyTree, unknown: PyTree
) -> Callable[[PyTree, PyTree], PyTree] | None:
    """For `results, rest = function(known, unknown)`, the function `(known, results) -> rest`.

    `None` if `rest` does not follow from `known` and `results`, or has an effect. `rebuild` reads
    only the structure, shapes and dtypes of its arguments.
    """
    traced = trace(function, known, unknown)
    jaxpr, (results, rest) = traced.jaxpr, traced.results
    num_known, num_results = len(jax.tree.leaves(known)), len(jax.tree.leaves(results))
    result_atoms, rest_atoms = jaxpr.outvars[:num_results], jaxpr.outvars[num_results:]
    if len(variables(result_atoms)) < num_results:
        return None
    given = [*jaxpr.constvars, *jaxpr.invars[:num_known], *result_atoms]
    inputs = list(dict.fromkeys(given))  # a result may be an argument, or occur twice

    needed = set(variables(rest_atoms)).difference(inputs)
    equations = []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            equations.insert(0, equation)
            needed.update(set(variables(equation.invars)).difference(inputs))
    if needed.intersection(jaxpr.invars) or any(equation.effects for equation in equations):
        return None
    part, tree = cut_out(jaxpr, inputs, rest_atoms, equations), jax.tree.structure(rest)

    def rebuilt(known: PyTree, results: PyTree) -> Any:
        leaves = [*traced.consts, *jax.tree.leaves((known, results))]
        values = dict(zip(given, leaves, strict=True))
        return tree.unflatten(run(part, [values[v] for v in inputs]))

    return rebuilt
