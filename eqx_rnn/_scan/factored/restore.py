"""A pointwise part whose derivative needs no gates: its new carry says all.

An Elman cell's `h' = tanh(g)` is the common one: the derivative is `1 - h'^2`, and `h'` is kept
anyway. Its gates need not be.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun
from jaxtyping import PyTree


def restorer(
    update: Callable[..., Any], carry: PyTree, gates: PyTree, drawn: PyTree
) -> Callable[..., Callable] | None:
    """`(carry, new carry, drawn) -> pull`, as of `jax.vjp(update, carry, gates)`, or `None`.

    `None` if gates are needed. Of the arguments, only shapes and dtypes are read.
    """

    def redo(carry: PyTree, gates: PyTree, drawn: PyTree):
        (new_carry, _), pull = jax.vjp(lambda *args: update(*args, drawn), carry, gates)
        return new_carry, pull

    closed, shapes = jax.make_jaxpr(redo, return_shape=True)(carry, gates, drawn)
    jaxpr, tree = closed.jaxpr, jax.tree.structure(shapes[1])
    sizes = [len(jax.tree.leaves(part)) for part in (carry, gates)]
    ins, outs = jaxpr.invars, jaxpr.outvars
    olds, draws = ins[: sizes[0]], ins[sum(sizes) :]
    news, residuals = outs[: sizes[0]], outs[sizes[0] :]
    if any(isinstance(v, Literal) for v in news):
        return None

    given = list(dict.fromkeys([*jaxpr.constvars, *olds, *news, *draws]))
    needed = {v for v in residuals if not isinstance(v, Literal)}.difference(given)
    equations = []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            equations.insert(0, equation)
            read = {v for v in equation.invars if not isinstance(v, Literal)}
            needed |= read.difference(given)
    if needed.intersection(ins) or any(equation.effects for equation in equations):
        return None
    rest = jaxpr.replace(
        constvars=[],
        invars=given,
        outvars=residuals,
        eqns=equations,
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )

    def restore(carry: PyTree, new_carry: PyTree, drawn: PyTree) -> Callable:
        leaves = [*closed.consts, *jax.tree.leaves((carry, new_carry, drawn))]
        values = dict(zip([*jaxpr.constvars, *olds, *news, *draws], leaves, strict=True))
        return tree.unflatten(jaxpr_as_fun(ClosedJaxpr(rest, []))(*(values[v] for v in given)))

    return restore
