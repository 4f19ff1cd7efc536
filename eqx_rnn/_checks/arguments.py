"""The checks around public functions and methods, prepared when they are first called.

The errors that Python and jaxtyping raise about arguments name neither the function nor the likely
intention.
"""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, TypeVar

from .errors import get_fault, rename
from .messages import describe, has_field, is_ours, wrong_inputs
from .shapes import check_fields, checked, is_disabled
from .signature import Signature, find_meaning
from .synonyms import SYNONYMS

# The methods in which a step first uses the weights.
FIRST = ("project_input", "chunk")
_GUARDED: set[type] = set()
F = TypeVar("F", bound=Callable[..., Any])


def guard(function: F, cls: type | None = None) -> F:
    """A public function whose errors about arguments say what to do.

    Before the function runs, this checks the names and the number of the arguments, converts NumPy
    numbers to Python, and checks keys. Functions and constructors check the values of all
    arguments. The shapes of the fields are checked after construction and again in each step.
    `__call__` checks its own arguments; the other methods check the shapes in their annotations.
    An error from an inner part is rewritten with the argument names of this call.

    **Arguments:**

    - `cls`: the class, if the function is a method of one.
    """
    name = function.__name__
    get_signature = functools.cache(lambda: Signature(function))
    is_explicit = cls is None or name in ("__init__", "__call__")
    run = function if is_explicit else checked(function)

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if cls is not None and args and not isinstance(args[0], cls):
            owner = cls.__name__
            raise TypeError(
                f"{owner}.{name}: must be called on a cell or layer, got {describe(args[0])} in "
                f"its place. Build it first: `{owner}(...).{name}(...)`."
            )
        signature = get_signature()
        args, kwargs = signature.check(args, kwargs)
        if name in FIRST and not is_disabled():
            check_fields(args[0])
        try:
            result = run(*args, **kwargs)
        except (TypeError, ValueError) as error:
            if get_fault(error)[0] and name in ("__call__", "initialize_carry"):
                _rename(error, signature, args, kwargs)
            raise
        # Not in a constructor that `super()` calls, because fields are missing.
        if name == "__init__" and type(args[0]).__init__ is guarded and not is_disabled():
            check_fields(args[0])
        return result

    return guarded  # pyright: ignore


def guard_class(cls: type) -> None:
    """Guards the constructor and the public methods of a module, in place.

    The classes of this package from which it inherits are guarded as well.
    """
    for base in filter(is_ours, cls.__mro__):
        if base in _GUARDED:
            continue
        _GUARDED.add(base)
        for name, method in list(vars(base).items()):
            if name.startswith("_") and name not in ("__init__", "__call__"):
                continue
            if isinstance(method, classmethod):
                setattr(base, name, classmethod(guard(method.__func__)))
            elif isinstance(method, types.FunctionType) and not _is_abstract(method):
                setattr(base, name, guard(method, base))


def _is_abstract(method: Callable[..., Any]) -> bool:
    return getattr(method, "__isabstractmethod__", False)


def _rename(
    error: Exception, signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Rewrites an error from inside a cell or layer with the argument names of the user's call."""
    module = args[0]
    owner, path = type(module).__name__, "cell." if has_field(module, "cell") else ""
    if "sample_input" in signature.names:
        rename(error, owner, path)
        return
    _, features = get_fault(error)
    if features is not None:
        leading = ("*batch",)
        if "carry" not in signature.names:  # the call of a layer
            leading = ("time", "*batch") if module.time_major else ("*batch", "time")
        inputs = signature.get("inputs", args, kwargs)
        error.fault = wrong_inputs("inputs", features, inputs, leading), None  # pyright: ignore
    rename(error, owner, path, sample_input="`inputs")


def check_options_of(
    function: Callable[..., Any], owner: str, inner: Callable[..., Any], options: dict[str, Any]
) -> None:
    """Raises an error for an option of `function` among the options passed on to `inner`."""
    names = list(inspect.signature(function).parameters)
    theirs = inspect.signature(inner).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in theirs):
        return
    for name in options.keys() - {p.name for p in theirs}:
        if any(ours in names for ours in SYNONYMS.get(name, ())):
            hint = find_meaning(name, names, set())
            raise TypeError(f"{owner}: got an unexpected argument `{name}`. {hint.rstrip()}")
