"""What a function computes from its parameters alone, computed once, outside the loop."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.lax as lax
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun
from jaxtyping import Array, PyTree

from .evaluate import evaluate, has_fast_transpose, with_stored_weight


class Hoisted(NamedTuple):
    """`function(parameters, *args)` as `call(prepare(parameters), *args)`.

    - `prepare`: all that needs parameters and no `args`: from the parameters to a list of arrays.
    - `call`: the rest.
    - `sources`: for each prepared array, the indices of the parameters that it comes from.
    - `has_fast_transpose`: whether there is a convolution or product in `call` that brings a
        faster gradient of `args` than JAX's.

    A weight that is stored `(gates, hidden)` is multiplied as `h @ W.T`. XLA folds the transpose
    into the product and reads `W` across its rows at every step. Prepared, the transposed copy is
    made once; and the gradient of the copy, `h.T @ d_gates`, is a faster product than that of `W`.
    """

    prepare: Callable[[Sequence[Array]], list[Array]]
    call: Callable[..., PyTree]
    sources: list[set[int]]
    has_fast_transpose: bool


def hoist(function: Callable[..., PyTree], parameters: Sequence[Any], *examples: PyTree) -> Hoisted:
    """Splits a function of parameters and others; only shapes and dtypes of these are read."""
    closed, shape = jax.make_jaxpr(function, return_shape=True)(parameters, *examples)
    jaxpr = closed.jaxpr
    num_parameters = len(parameters)
    known: dict = {v: set() for v in jaxpr.constvars}
    known.update((v, {i}) for i, v in enumerate(jaxpr.invars[:num_parameters]))
    stored: dict = {}  # what is known, by its transpose
    before, inside = [], []
    for equation in jaxpr.eqns:
        equation = with_stored_weight(equation, stored)
        read = [v for v in equation.invars if not isinstance(v, Literal)]
        if all(v in known for v in read) and not equation.effects:
            known.update((v, set().union(*(known[v] for v in read))) for v in equation.outvars)
            before.append(equation)
            if equation.primitive is lax.transpose_p and equation.params["permutation"] == (1, 0):
                stored[equation.outvars[0]] = equation.invars[0]
        if not any(known.get(v) for v in equation.outvars):
            inside.append(equation)  # also what comes from constants alone: the compiler's work
    read = [v for equation in inside for v in equation.invars] + list(jaxpr.outvars)
    crossing = list(dict.fromkeys(v for v in read if not isinstance(v, Literal) and known.get(v)))

    names = jaxpr.debug_info.with_unknown_names()
    first = jaxpr.replace(
        constvars=[],
        invars=[*jaxpr.constvars, *jaxpr.invars[:num_parameters]],
        outvars=crossing,
        eqns=before,
        debug_info=names,
    )
    second = jaxpr.replace(
        constvars=[],
        invars=[*jaxpr.constvars, *crossing, *jaxpr.invars[num_parameters:]],
        eqns=inside,
        debug_info=names,
    )
    tree = jax.tree.structure(shape)

    def prepare(parameters: Sequence[Array]) -> list[Array]:
        ready = jaxpr_as_fun(ClosedJaxpr(first, []))(*closed.consts, *parameters)
        return list(lax.optimization_barrier(ready))

    def call(ready: Sequence[Array], *args: PyTree) -> PyTree:
        return tree.unflatten(evaluate(second, *closed.consts, *ready, *jax.tree.leaves(args)))

    is_fast = any(has_fast_transpose(equation) for equation in inside)
    return Hoisted(prepare, call, [known[v] for v in crossing], is_fast)
