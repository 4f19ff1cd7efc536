"""Splits a function of weights and other arguments. The part that needs only weights runs once."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.lax import optimization_barrier, transpose_p
from jaxtyping import Array, PyTree

from .dots import with_stored_weight
from .evaluate import evaluate, has_fast_transpose
from .jaxprs import Traced, cut_out, is_known_form, run, variables


class Hoisted(NamedTuple):
    """`function(weights, *args)` as `call(prepare(weights), *args)`.

    - `prepare`: maps the weights to a list of arrays, which are all results that need no `args`.
        It is called once, before a loop.
    - `call`: the rest of the function.
    - `sources`: for each prepared array, the indices of the weights that it is computed from.
    - `has_fast_transpose`: whether `call` has a convolution or product whose gradient of `args` is
        faster than JAX's.

    A weight that is stored as `(gates, hidden)` is multiplied as `h @ W.T`. XLA folds the transpose
    into the product and reads `W` across its rows at every step. `prepare` makes the transposed
    copy once. The gradient of the copy, `h.T @ d_gates`, is faster than the gradient of `W`.
    """

    prepare: Callable[[Sequence[Array]], list[Array]]
    call: Callable[..., PyTree]
    sources: list[set[int]]
    has_fast_transpose: bool


def hoist(traced: Traced, num_weights: int) -> Hoisted:
    """Splits a function `(weights, *args)`, where `weights` is a list of `num_weights` arrays."""
    jaxpr, consts = traced.jaxpr, traced.consts
    weights, arguments = jaxpr.invars[:num_weights], jaxpr.invars[num_weights:]
    # The variables that are known before the loop, with the weights that they are computed from.
    known: dict[Any, set[int]] = {v: set() for v in jaxpr.constvars}
    known.update((v, {i}) for i, v in enumerate(weights))
    stored: dict[Any, Any] = {}  # from a known transposed array to the array itself
    before, inside = [], []
    for equation in jaxpr.eqns:
        equation = with_stored_weight(equation, stored)
        read = variables(equation.invars)
        if all(v in known for v in read) and not equation.effects:
            known.update((v, set().union(*(known[v] for v in read))) for v in equation.outvars)
            before.append(equation)
            if _is_matrix_transpose(equation):
                stored[equation.outvars[0]] = equation.invars[0]
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

    is_fast = any(has_fast_transpose(equation) for equation in inside)
    return Hoisted(prepare, call, [known[v] for v in crossing], is_fast)


def _is_matrix_transpose(equation: Any) -> bool:
    known = is_known_form(equation, transpose_p, {"permutation"}, set())
    return known and equation.params["permutation"] == (1, 0)
