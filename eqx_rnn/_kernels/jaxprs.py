"""Traces, cuts and runs jaxprs, which are JAX's programs as lists of equations.

An equation applies a primitive to atoms, which are variables or literals, and binds the results to
variables. Only this file knows how jaxprs are built.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun
from jaxtyping import PyTree

from .tracers import Tracer


class Traced(NamedTuple):
    """A function as a jaxpr.

    - `consts`: the values of `jaxpr.constvars`, which the function closes over.
    - `results`: structure, shapes and dtypes of what the function returns.
    """

    jaxpr: Any
    consts: list[Any]
    results: PyTree[jax.ShapeDtypeStruct]


def trace(function: Callable[..., PyTree], *args: PyTree) -> Traced:
    """Traces a function. Only structure, shapes and dtypes of the arguments are read."""
    closed, results = jax.make_jaxpr(function, return_shape=True)(*args)
    return Traced(closed.jaxpr, closed.consts, results)


def holds_traced_arrays(traced: Traced) -> bool:
    """Whether a function closes over arrays of an outer trace."""
    return any(isinstance(const, Tracer) for const in traced.consts)


def ordered_effects(traced: Traced) -> list[str]:
    """The effects that must happen in the order of a plain loop over the steps.

    Debugging effects are left out. So are effects that only name a mapped axis, as in
    `jax.lax.pmean`.
    """
    names = [type(effect).__name__ for effect in traced.jaxpr.effects]
    return [name for name in names if not ("Debug" in name or "NamedAxis" in name)]


def variables(atoms: Iterable[Any]) -> list[Any]:
    """The atoms that are variables and not literals."""
    return [atom for atom in atoms if not isinstance(atom, Literal)]


def values_of(atoms: Iterable[Any], values: dict[Any, Any]) -> list[Any]:
    """The values of atoms. `values` has the values of the variables."""
    return [atom.val if isinstance(atom, Literal) else values[atom] for atom in atoms]


def cut_out(
    jaxpr: Any, inputs: Sequence[Any], outputs: Sequence[Any], equations: Sequence[Any]
) -> Any:
    """The jaxpr from variables `inputs` to atoms `outputs` that runs some equations of `jaxpr`."""
    return jaxpr.replace(
        constvars=[],
        invars=list(inputs),
        outvars=list(outputs),
        eqns=list(equations),
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )


def run(jaxpr: Any, args: Sequence[Any]) -> list[Any]:
    """The outputs of a jaxpr without constants."""
    return jaxpr_as_fun(ClosedJaxpr(jaxpr, []))(*args)


def is_known_form(equation: Any, primitive: Any, names: set[str], optional: set[str]) -> bool:
    """Whether an equation applies a primitive with the parameters that this package knows.

    An equation with further parameters may mean something else, so it is left to JAX.
    """
    return equation.primitive is primitive and names <= set(equation.params) <= names | optional


def repeated_outputs(traced: Traced, number: int) -> list[int | None]:
    """For each output after the first `number`, the index of the first output that it repeats."""
    first, rest = traced.jaxpr.outvars[:number], traced.jaxpr.outvars[number:]
    indices = {v: i for i, v in reversed(list(enumerate(first))) if variables([v])}
    return [indices.get(v) if variables([v]) else None for v in rest]
