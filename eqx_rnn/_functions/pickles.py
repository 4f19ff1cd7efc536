"""Pickles of functions.

Python pickles a plain function by its name in its module. This module extends that to functions
under `jax.jit` or `jax.custom_jvp`, to partial functions, and to initialisers that a function
makes. Public names come first, so a pickle stays readable when JAX moves files.
"""

import functools
import inspect
import operator
import pickle
import pkgutil
import sys
import types
from typing import Any

import equinox as eqx

from .same import same

PUBLIC = ("jax.nn", "jax.nn.initializers", "jax.numpy", "jax.lax", "eqx_rnn")


class _Call:
    """Stands for an object that a call creates again. It holds the result of `__reduce__`."""

    def __init__(self, *reduced: Any):
        self.reduced = reduced

    def __reduce__(self) -> tuple:
        return self.reduced


def portable(function: Any) -> Any:
    """`function`, or an object that is pickled in its place and is loaded as the function.

    A pickler that can copy functions copies the functions of `__main__`, because another process
    cannot import them.
    """
    copied, name = _pickler_copies(), _import_name(function)
    if name is not None and not (copied and name.startswith("__main__:")):
        return _by_name(name)
    part = lambda value: portable(value) if callable(value) else value
    if type(function) is functools.partial:
        inner, args = portable(function.func), tuple(map(part, function.args))
        keywords = {name: part(value) for name, value in function.keywords.items()}
        return _Call(functools.partial, (inner,), (inner, args, keywords, None))
    if isinstance(function, eqx.Module):
        state = {name: part(value) for name, value in vars(function).items()}
        return _Call(object.__new__, (type(function),), state)
    made = _made_again(function)
    if made is not None:
        return made
    if not copied:
        try:
            pickle.dumps(function)
        except Exception as error:
            raise pickle.PicklingError(
                f"A cell holds {function!r}, which `pickle` cannot save, because no module has it "
                "under its name. Use `cloudpickle.dumps`, or define the function in a module."
            ) from error
    return function


def _by_name(name: str) -> _Call:
    return _Call(pkgutil.resolve_name, (name,))


def _import_name(function: Any) -> str | None:
    """`"module:qualified.name"` if it leads to this object."""
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    for module in (*PUBLIC, getattr(function, "__module__", None)):
        if _find(module, name) is function:
            return f"{module}:{name}"
    return None


def _find(module: str | None, name: str | None) -> Any:
    try:
        return operator.attrgetter(name)(sys.modules[module])  # pyright: ignore
    except (AttributeError, KeyError, TypeError):
        return None


def _made_again(function: Any) -> _Call | None:
    """The call of a public function, such as `normal(0.1)`, that created `function`."""
    if not isinstance(function, types.FunctionType):
        return None
    name = function.__qualname__.partition(".<locals>.")[0]
    inner = inspect.unwrap(function)
    for module in PUBLIC:
        try:
            make = _find(module, name)
            values = inspect.getclosurevars(inner).nonlocals
            names = inspect.signature(make).parameters
            defaults = inspect.signature(inner).parameters.values()
            defaults = {p.name: p.default for p in defaults if p.name in names}
            args = inspect.signature(make).bind(**{**defaults, **values})
            args.apply_defaults()
            if not args.kwargs and same(make(*args.args), function):
                return _Call(operator.call, (_by_name(f"{module}:{name}"), *args.args))
        except Exception:  # no call of this function makes it
            continue
    return None


def _pickler_copies() -> bool:
    """Whether the active pickler is not Python's own but, for example, that of `cloudpickle`."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "dump":
            pickler = frame.f_locals.get("self")
            is_pickler = isinstance(pickler, pickle.Pickler | pickle._Pickler)  # pyright: ignore
            if is_pickler and type(pickler) is not pickle._Pickler:  # pyright: ignore
                return True
        frame = frame.f_back
    return False
