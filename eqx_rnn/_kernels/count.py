"""Counts the multiply-adds of a function, from its jaxpr. Nothing is computed.

Equations are known by the names of their primitives, so this file loads in every JAX.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PyTree

_MARK = "eqx_rnn_mark_"


class Count(NamedTuple):
    """The multiply-adds of a call, and how often it passes each `mark`."""

    multiply_adds: int
    marks: Counter[int]


def count(function: Callable[..., Any], *args: Any) -> Count:
    """Counts the multiply-adds of the matrix products and convolutions of a call.

    The arguments may hold `jax.ShapeDtypeStruct`s in place of arrays, and any other objects. A loop
    counts each of its iterations, a `jax.lax.while_loop` one, and a `jax.lax.cond` its most
    expensive branch. A multiply-add of complex numbers counts as one.
    """
    is_array = lambda leaf: isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)
    arrays, others = eqx.partition(args, is_array)
    run = lambda arrays: eqx.filter(function(*eqx.combine(arrays, others)), eqx.is_array)
    return _count(jax.make_jaxpr(run)(arrays))


def mark(number: int, structs: PyTree[Any]) -> PyTree[Any]:
    """Arrays of these shapes and dtypes. A `count` of the caller counts the calls per number."""

    def make() -> PyTree[Any]:
        return jax.tree.map(_zeros, arrays)

    arrays, others = eqx.partition(structs, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    make.__name__ = f"{_MARK}{number}"
    with jax.disable_jit(False):  # the call must be one equation
        return eqx.combine(jax.jit(make)(), others)


def _zeros(struct: Any) -> Any:
    if jnp.issubdtype(struct.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jr.key(0), struct.shape)
    return jnp.zeros(struct.shape, struct.dtype)


def _count(jaxpr: Any) -> Count:
    total, marks = 0, Counter()
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        own, own_marks = _count_equation(equation)
        total += own
        marks.update(own_marks)
    return Count(total, marks)


def _count_equation(equation: Any) -> Count:
    name, params = equation.primitive.name, equation.params
    factors = _factors(name, params, [v.aval for v in equation.invars])
    if factors is not None:
        return Count(math.prod((*equation.outvars[0].aval.shape, *factors)), Counter())
    mark = str(params.get("name", ""))
    if mark.startswith(_MARK):
        return Count(0, Counter({int(mark.removeprefix(_MARK)): 1}))
    inner = list(map(_count, _inner(params)))
    if name == "cond":
        return max(inner, key=lambda branch: branch.multiply_adds)
    times, marks = params["length"] if name == "scan" else 1, Counter()
    for found in inner:
        marks.update({number: times * n for number, n in found.marks.items()})
    return Count(times * sum(found.multiply_adds for found in inner), marks)


def _factors(name: str, params: dict[str, Any], operands: list[Any]) -> list[int] | None:
    """The sizes of the axes that a product sums over; `None` for other equations."""
    if name == "dot_general":
        return [operands[0].shape[axis] for axis in params["dimension_numbers"][0][0]]
    if name == "eqx_rnn_product":
        return [operands[0].shape[-1]]
    if name == "conv_general_dilated":
        _, *summed = params["dimension_numbers"].rhs_spec  # the first axis has the outputs
        return [operands[1].shape[axis] for axis in summed]
    return None


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    """The jaxprs among the parameters of an equation."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(getattr(item, "jaxpr", item), "eqns"):
                yield item
