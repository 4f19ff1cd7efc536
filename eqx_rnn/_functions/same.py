"""Whether two functions compute the same: by identity, or by equal code on equal values."""

import dis
import functools
import itertools
import types
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .._kernels.tracers import Tracer

JITTED: Any = type(jax.jit(lambda x: x))
CUSTOM = (jax.custom_jvp, jax.custom_vjp, jax.custom_batching.custom_vmap)
AROUND = (functools.partial, types.MethodType, weakref.ref, JITTED, *CUSTOM)
ARRAYS = (jax.Array, np.ndarray, np.generic, float, complex)
MISSING = object()


def same(a: Any, b: Any, seen: set[tuple[int, int]] | None = None) -> bool:
    """Whether two functions, or two values that functions refer to, are interchangeable.

    Functions are interchangeable if their code, defaults, closure values and the globals that they
    read are. Values of different types or dtypes differ, and so do 0.0 and -0.0. NaN equals NaN. A
    traced array equals only itself.

    `seen` has the pairs of functions that are being compared, because a function may refer to
    itself.
    """
    if a is b:
        return True
    if type(a) is not type(b) or isinstance(a, Tracer):
        return False
    seen = set() if seen is None else seen
    if isinstance(a, types.FunctionType):
        if (id(a), id(b)) in seen:
            return True
        seen.add((id(a), id(b)))
        if _plain_code(a.__code__) != _plain_code(b.__code__):
            return False
        shared = a.__globals__ is b.__globals__
        return _all_same(_references(a, not shared), _references(b, not shared), seen)
    if isinstance(a, tuple | list):
        return _all_same(a, b, seen)
    if isinstance(a, dict):
        return _all_same(a.items(), b.items(), seen)
    if isinstance(a, set | frozenset):
        return {(type(item), item) for item in a} == {(type(item), item) for item in b}
    try:
        if isinstance(a, AROUND):
            return _all_same(_parts(a), _parts(b), seen)
        if isinstance(a, ARRAYS):
            return _same_arrays(a, b)
        if _is_node(a):
            (a_leaves, a_tree), (b_leaves, b_tree) = jax.tree.flatten(a), jax.tree.flatten(b)
            return a_tree == b_tree and _all_same(a_leaves, b_leaves, seen)
        return bool(a == b)
    except Exception:  # for example of a foreign `__eq__`: values that cannot be compared differ
        return False


def digest(function: Any) -> int:
    """A hash that is equal for functions that are the same. It depends on code, not on values."""
    if isinstance(function, types.FunctionType):
        return hash((function.__code__.co_code, function.__code__.co_names))
    try:
        if isinstance(function, AROUND):
            return digest(_parts(function)[0])
        return hash(type(function) if _is_node(function) else function)
    except Exception:
        return hash(type(function))


def _all_same(a: Any, b: Any, seen: set[tuple[int, int]]) -> bool:
    return len(a) == len(b) and all(same(x, y, seen) for x, y in zip(a, b, strict=True))


def _parts(function: Any) -> tuple:
    """The parts of an object around a function, the function first."""
    if isinstance(function, functools.partial):
        return function.func, function.args, function.keywords
    if isinstance(function, types.MethodType):
        return function.__func__, function.__self__
    if isinstance(function, weakref.ref):  # in functions that jaxtyping has wrapped
        return (function(),)
    if isinstance(function, JITTED):
        # Not its `__wrapped__`, which a jitted function loses when it is pickled.
        state = function.__reduce_ex__(2)[2]
        return state["fun"], state["static_argnums"], state["static_argnames"]
    rest = {k: v for k, v in sorted(vars(function).items()) if not k.startswith("_")}
    return function.fun, rest


def _plain_code(code: types.CodeType) -> types.CodeType:
    """Code without its place and name. Python's `==` on it distinguishes 1, 1.0 and True."""
    consts = (_plain_code(c) if isinstance(c, types.CodeType) else c for c in code.co_consts)
    return code.replace(
        co_consts=tuple(consts),
        co_filename="",
        co_firstlineno=1,
        co_linetable=b"",
        co_name="",
        co_qualname="",
    )


def _references(function: types.FunctionType, with_globals: bool) -> list[Any]:
    """The values that a function's code refers to."""
    cells = [_contents(cell) for cell in function.__closure__ or ()]
    names = _global_names(function.__code__) if with_globals else ()
    values = [function.__globals__.get(name, MISSING) for name in names]
    return [function.__defaults__, function.__kwdefaults__, *cells, *values]


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty: the function refers to a variable that is not assigned yet
        return MISSING


def _global_names(code: types.CodeType) -> list[str]:
    """The globals that code reads, and the functions inside it, in order."""
    names = [i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"]
    inner = [_global_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return [*names, *itertools.chain(*inner)]


def _is_node(value: Any) -> bool:
    return not jax.tree_util.all_leaves([value])


def _same_arrays(a: Any, b: Any) -> bool:
    """Whether arrays have the same dtype, shape and numbers."""
    traits = lambda x: (getattr(x, "weak_type", None), getattr(x, "dtype", None), np.shape(x))
    if traits(a) != traits(b):
        return False
    if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jr.key_data(a), jr.key_data(b)
    a, b = np.ravel(np.asarray(a)), np.ravel(np.asarray(b))
    if a.dtype == object:
        return same(a.tolist(), b.tolist())
    if a.tobytes() == b.tobytes():
        return True
    if np.iscomplexobj(a):
        a, b = np.stack([a.real, a.imag]), np.stack([b.real, b.imag])
    if not jnp.issubdtype(a.dtype, np.floating):
        return False
    a, b = a.astype(np.float64), b.astype(np.float64)
    both_nan = np.isnan(a) & np.isnan(b)
    return bool(np.all(both_nan | (a == b) & (np.signbit(a) == np.signbit(b))))
