"""Splits a function in two passes, with few arrays between them."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from .jaxprs import cut_out, run, trace, variables
from .sizes import is_known

# Primitives that take about as long as reading an array. All others are slower to compute again.
_CHEAP = {
    *("abs", "add", "div", "integer_pow", "max", "min", "mul", "neg", "one_minus_square", "sign"),
    *("square", "sub", "and", "eq", "ge", "gt", "le", "lt", "ne", "not", "or", "select_n"),
    *("broadcast_in_dim", "concatenate", "convert_element_type", "copy", "copy_p", "expand_dims"),
    *("pad", "reshape", "rev", "slice", "split", "squeeze", "stop_gradient", "transpose"),
}


class TwoPasses(NamedTuple):
    """`results, others, rest = function(known, unknown)`, where `rest` is needed later.

    - `first`: `(known, unknown) -> (results, others, kept)`.
    - `second`: `(known, results, kept) -> rest`. It does not read `results` if the passes were made
        without them.
    """

    first: Callable[[PyTree, PyTree], tuple[PyTree, PyTree, list[Any]]]
    second: Callable[[PyTree, PyTree, list[Any]], PyTree]


def in_two_passes(
    function: Callable[[PyTree, PyTree], tuple[PyTree, PyTree, PyTree]],
    known: PyTree,
    unknown: PyTree,
    *,
    with_results: bool,
) -> TwoPasses:
    """Chooses the arrays between the passes. Reads only structure, shapes and dtypes of arguments.

    The second pass computes cheap operations again. If that reduces the size of the kept arrays, it
    also computes the others again, from `unknown`. With `with_results`, nothing is kept that
    follows from `results`: these are available in the second pass. An operation with an effect runs
    in the first pass only.
    """
    traced = trace(function, known, unknown)
    jaxpr, trees = traced.jaxpr, [jax.tree.structure(tree) for tree in traced.results]
    ends = [len(jax.tree.leaves(traced.results[0]))]
    ends.append(ends[0] + len(jax.tree.leaves(traced.results[1])))
    result_atoms, rest_atoms = jaxpr.outvars[: ends[0]], jaxpr.outvars[ends[1] :]
    given = [*jaxpr.constvars, *jaxpr.invars[: len(jax.tree.leaves(known))]]
    read = []  # the indices of the results that the second pass reads
    for i, v in enumerate(result_atoms):
        if with_results and variables([v]) and v not in given:
            read.append(i)
            given.append(v)
    unknown_variables = [v for v in jaxpr.invars if v not in given]
    kept, again = _choose(jaxpr.eqns, variables(rest_atoms), given, unknown_variables)

    inputs = [*jaxpr.constvars, *jaxpr.invars]
    outputs = [*jaxpr.outvars[: ends[1]], *kept]
    first_part = cut_out(jaxpr, inputs, outputs, jaxpr.eqns)
    second_part = cut_out(jaxpr, [*given, *kept], rest_atoms, again)

    def first(known: PyTree, unknown: PyTree) -> tuple[PyTree, PyTree, list[Any]]:
        leaves = run(first_part, [*traced.consts, *jax.tree.leaves((known, unknown))])
        results, others = leaves[: ends[0]], leaves[ends[0] : ends[1]]
        return trees[0].unflatten(results), trees[1].unflatten(others), leaves[ends[1] :]

    def second(known: PyTree, results: PyTree, kept: list[Any]) -> PyTree:
        leaves = jax.tree.leaves(results)
        leaves = [*traced.consts, *jax.tree.leaves(known), *(leaves[i] for i in read), *kept]
        return trees[2].unflatten(run(second_part, leaves))

    return TwoPasses(first, second)


def _choose(
    equations: Sequence[Any], wanted: Sequence[Any], given: Sequence[Any], unknown: Sequence[Any]
) -> tuple[list[Any], list[Any]]:
    """The variables to keep, and the equations that compute `wanted` from these and `given`."""
    needed, _ = _trace_back(equations, wanted, given)
    depends, slow = set(unknown), set()
    for equation in needed:
        if equation.effects:
            continue
        if depends.isdisjoint(variables(equation.invars)):
            continue  # computed again from what is given
        if equation.primitive.name not in _CHEAP:
            slow.update(equation.outvars)
        else:
            depends.update(equation.outvars)
    once = {v for equation in needed if equation.effects for v in equation.outvars}
    choices = []
    for stops in (slow | once, once):  # `min` takes the first of equal sizes
        again, read = _trace_back(equations, wanted, [*given, *stops])
        kept = [v for v in read if v not in given]
        choices.append((kept, again))
    return min(choices, key=lambda choice: _num_bytes(choice[0]))


def _trace_back(
    equations: Sequence[Any], wanted: Iterable[Any], stops: Iterable[Any]
) -> tuple[list[Any], list[Any]]:
    """The equations that compute `wanted` from `stops` and from arguments, and all that they read.

    What they read are stops and arguments, in a fixed order.
    """
    stops, needed, used = set(stops), dict.fromkeys(wanted), []
    for equation in reversed(equations):
        outputs = [v for v in equation.outvars if v in needed and v not in stops]
        if outputs:
            used.insert(0, equation)
            needed.update(dict.fromkeys(variables(equation.invars)))
    made = {v for equation in used for v in equation.outvars} - stops
    return used, [v for v in needed if v not in made]


def _num_bytes(kept: Sequence[Any]) -> int:
    """The size of arrays. A symbolic size counts as 8."""
    known = lambda size: size if is_known(size) else 8
    sizes = [math.prod(map(known, v.aval.shape)) * v.aval.dtype.itemsize for v in kept]
    return sum(sizes)
