"""Splits a function of weights and other arguments. The part that needs only weights runs once."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.lax import optimization_barrier
from jaxtyping import Array, PyTree

from .dots import is_matrix_transpose, product_of, transpose_equation, with_other_axis
from .evaluate import evaluate
from .forms import best_axis
from .jaxprs import Traced, cut_out, run, variables

BestAxis = Callable[[Any, Any, int], int]


class Hoisted(NamedTuple):
    """`function(weights, *args)` as `call(prepare(weights), *args)`.

    - `prepare`: maps the weights to a list of arrays, which are all results that need no `args`.
        It is called once, before a loop.
    - `call`: the rest of the function.
    - `sources`: for each prepared array, the indices of the weights that it is computed from.

    A product with a weight reads the weight as it is stored or a transposed copy, whichever is
    faster. `prepare` makes the copy once.
    """

    prepare: Callable[[Sequence[Array]], list[Array]]
    call: Callable[..., PyTree]
    sources: list[set[int]]


def hoist(traced: Traced, num_weights: int, best_axis: BestAxis = best_axis) -> Hoisted:
    """Splits a function `(weights, *args)`, where `weights` is a list of `num_weights` arrays.

    `best_axis` chooses the axis of the weight that a product should sum over.
    """
    jaxpr, consts = traced.jaxpr, traced.consts
    weights, arguments = jaxpr.invars[:num_weights], jaxpr.invars[num_weights:]
    # The variables that are known before the loop, with the weights that they are computed from.
    known: dict[Any, set[int]] = {v: set() for v in jaxpr.constvars}
    known.update((v, {i}) for i, v in enumerate(weights))
    transposes: dict[Any, Any] = {}  # known matrices and their known transposes, both ways
    before, inside = [], []

    def keep(equation: Any) -> None:
        read = variables(equation.invars)
        known.update((v, set().union(*(known[v] for v in read))) for v in equation.outvars)
        before.append(equation)
        if is_matrix_transpose(equation):
            (source,), (result,) = equation.invars, equation.outvars
            transposes.update({source: result, result: source})

    for equation in jaxpr.eqns:
        is_known = all(v in known for v in variables(equation.invars))
        product = product_of(equation)
        if product is not None and not is_known and known.get(equation.invars[1]):
            rows, weight = equation.invars
            if best_axis(rows.aval, weight.aval, product[0]) != product[0]:
                if weight not in transposes:
                    keep(transpose_equation(weight))
                equation = with_other_axis(equation, transposes[weight])
        if is_known and not equation.effects:
            keep(equation)
        if not any(known.get(v) for v in equation.outvars):
            inside.append(equation)  # also with constants only: XLA moves them itself
    read = [v for equation in inside for v in equation.invars] + list(jaxpr.outvars)
    crossing = list(dict.fromkeys(v for v in variables(read) if known.get(v)))

    first = cut_out(jaxpr, [*jaxpr.constvars, *weights], crossing, before)
    second = cut_out(jaxpr, [*jaxpr.constvars, *crossing, *arguments], jaxpr.outvars, inside)
    tree = jax.tree.structure(traced.results)

    def prepare(weights: Sequence[Array]) -> list[Array]:
        return list(optimization_barrier(run(first, [*consts, *weights])))

    def call(prepared: Sequence[Array], *args: PyTree) -> PyTree:
        return tree.unflatten(evaluate(second, *consts, *prepared, *jax.tree.leaves(args)))

    return Hoisted(prepare, call, [known[v] for v in crossing])
