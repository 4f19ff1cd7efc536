"""Checks of the arguments of public functions, by name, before the function runs.

Errors of Python and jaxtyping about arguments name neither the function nor the likely meaning.
"""

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import equinox as eqx
import jax

from .errors import get_fault, rename
from .messages import as_dtype, describe, is_ours, wrong_inputs
from .synonyms import ELSEWHERE, REMARKS, SYNONYMS
from .values import check_key, check_value, to_python, wants_number

F = TypeVar("F", bound=Callable[..., Any])
METHODS = ("__init__", "__call__", "initialize_carry", "begin", "create")


def guard(function: F, cls: type | None = None) -> F:
    """A public function whose errors about arguments say what to do.

    Before the function runs, names and number of the arguments are checked, numbers of NumPy
    become Python's, and keys are checked. A constructor checks the values of all arguments. An
    error from a part inside is renamed to the arguments of this call. `cls` is a method's class.
    """
    # Reading a signature takes a while, and few functions are called: not when importing.
    get_signature = functools.cache(lambda: Signature(function))

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if cls is not None and args and not isinstance(args[0], cls):
            name = f"{cls.__name__}.{function.__name__}"
            raise TypeError(
                f"{name}: must be called on a cell or layer, got {describe(args[0])} in its place. "
                f"Build it first: `{cls.__name__}(...).{function.__name__}(...)`."
            )
        args, kwargs = get_signature().check(args, kwargs)
        try:
            return function(*args, **kwargs)
        except (TypeError, ValueError) as error:
            if get_fault(error)[0] and function.__name__ in ("__call__", "initialize_carry"):
                _rename(error, function.__name__, *args, **kwargs)
            raise

    return guarded  # pyright: ignore


def guard_classes(namespace: Mapping[str, Any]) -> None:
    """Guards constructors and calls of the classes of modules in a namespace, in place."""
    classes = [c for c in namespace.values() if isinstance(c, type) and issubclass(c, eqx.Module)]
    for cls in {base: None for c in classes for base in c.__mro__ if is_ours(base)}:
        for name in METHODS:
            method = vars(cls).get(name)
            if isinstance(method, classmethod):
                setattr(cls, name, classmethod(guard(method.__func__)))
            elif callable(method) and not getattr(method, "__isabstractmethod__", False):
                setattr(cls, name, guard(method, cls))


def _rename(error: Exception, method: str, module: Any, *args: Any, **kwargs: Any) -> None:
    """Renames an error from inside a call of a cell or layer to the arguments of that call."""
    owner, path = type(module).__name__, "cell." if hasattr(module, "cell") else ""
    if method == "initialize_carry":
        rename(error, owner, path)
        return
    _, features = get_fault(error)
    if features is not None:
        leading = ("*batch",)
        if hasattr(module, "time_major"):
            leading = ("time", "*batch") if module.time_major else ("*batch", "time")
        inputs = kwargs["inputs"] if "inputs" in kwargs else args[len(leading) == 1]
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
            hint = _meant(name, names, set(), None, "")
            raise TypeError(f"{owner}: got an unexpected argument `{name}`. {hint.rstrip()}")


class Signature:
    """A function's parameters, and the check of their arguments."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        parameters = inspect.signature(function).parameters.values()
        self.is_method = next((p.name for p in parameters), None) in ("self", "cls")
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        self.takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.positional = [p.name for p in named if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.names = dict.fromkeys(p.name for p in named)
        builds = function.__name__ in ("__init__", "create")
        self.required = {p.name for p in named if p.default is p.empty}
        self.needs_key = builds and "key" in self.required
        if self.needs_key:
            self.required.remove("key")  # it has an error of its own
        hints = {
            p.name: getattr(p.annotation, "__bound__", None) or p.annotation  # of a `TypeVar`
            for p in named
            if p.annotation is not p.empty and not isinstance(p.annotation, str)
        }
        self.numbers = {name: hint for name, hint in hints.items() if wants_number(hint)}
        self.values = {
            name: hint
            for name, hint in hints.items()
            if (builds or not self.is_method or name in self.numbers)
            and name not in ("key", "dtype")
        }

    def check(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, checked, with Python's numbers in place of NumPy's."""
        given = dict(zip(self.positional, args, strict=False))
        if (
            len(args) > len(self.positional)
            or not (self.takes_any or kwargs.keys() <= self.names.keys())
            or not self.required <= given.keys() | kwargs.keys()
            or given.keys() & kwargs.keys()
        ):
            _refuse(self, args, kwargs)
        for name in self.numbers:
            if name in kwargs:
                kwargs[name] = to_python(kwargs[name])
            elif name in given:
                given[name] = to_python(given[name])
        both = given | kwargs
        if self.needs_key and "key" not in both:
            raise TypeError(
                f"{self.owner(args)}: `key` must be a random key for the initial weights, got "
                "none. Pass `key=jax.random.key(seed)`."
            )
        if "key" in both and "key" in self.names:
            check_key(self.owner(args), "key", both["key"])
        if both.get("dtype") is not None and "dtype" in self.names:
            as_dtype(self.owner(args), both["dtype"])
        for name, hint in self.values.items():
            if name in both:
                check_value(self.owner(args), name, both[name], hint)
        return tuple(given.values()), kwargs

    def owner(self, args: tuple[Any, ...]) -> str:
        """The class or function that an error about an argument's value names."""
        name = self.function.__name__
        if not self.is_method or not args:
            return name
        cls = args[0] if isinstance(args[0], type) else type(args[0])
        return cls.__name__ if name in ("__init__", "__call__") else f"{cls.__name__}.{name}"


def _refuse(signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
    """The error for arguments that do not fit a signature."""
    function = signature.function
    cls = None
    if signature.is_method and args:
        cls = args[0] if isinstance(args[0], type) else type(args[0])
    owner = f"{cls.__name__}.{function.__name__}" if cls is not None else function.__name__
    skip = int(signature.is_method)
    positional = signature.positional[skip:]
    names = [name for name in signature.names if name not in ("self", "cls")]
    listed = f"The arguments are {_list(names)}." if names else "It takes no arguments."
    given = dict(zip(positional, args[skip:], strict=False))
    unknown = [name for name in kwargs if name not in names]
    if unknown and not signature.takes_any:
        hint = _meant(unknown[0], names, {*given, *kwargs}, cls, function.__name__)
        raise TypeError(f"{owner}: got an unexpected argument `{unknown[0]}`. {hint}{listed}")
    extra = args[skip + len(positional) :]
    if extra:
        number = f"{len(positional)} positional argument{'s' * (len(positional) != 1)}"
        which = f", {_list(positional)}," if positional else ""
        hint = _by_name(extra[0], names[len(positional) :], owner, args[skip:])
        raise TypeError(f"{owner}: takes {number}{which} got {len(args) - skip}. {hint}{listed}")
    for name in given:
        if name in kwargs:
            raise TypeError(f"{owner}: got `{name}` twice, by position and by name. {listed}")
    missing = [name for name in names if name in signature.required and name not in given | kwargs]
    verb = "is" if len(missing) == 1 else "are"
    usage = {
        "__call__": "Call `cell(carry, inputs)`; `initialize_carry` makes the first carry. ",
        "initialize_carry": "Call `initialize_carry(key, sample_input)`; `key` may be None. ",
    }
    hint = usage.get(function.__name__, "") if "inputs" not in names[:1] else ""
    raise TypeError(f"{owner}: {_list(missing)} {verb} missing. {hint}{listed}")


def _meant(name: str, names: list[str], given: set[str], cls: Any, function: str) -> str:
    """The likely meaning of an unknown name."""
    remark = f" {REMARKS[name]}" if name in REMARKS else ""
    close = difflib.get_close_matches(name, names, 1, 0.75)
    for ours in (*SYNONYMS.get(name, ()), *close):
        if ours in names and ours not in given:
            return f"Did you mean `{ours}`?{remark} "
    siblings = {"__init__": "__call__", "__call__": "__init__"}
    if function in siblings and cls is not None:
        theirs = inspect.signature(getattr(cls, siblings[function])).parameters
        where = "the call" if function == "__init__" else "the constructor"
        for ours in (name, *SYNONYMS.get(name, ())):
            if ours in theirs:
                return f"`{ours}` is an argument of {where} of `{cls.__name__}`.{remark} "
    for ours in (name, *SYNONYMS.get(name, ())):
        if ours in ELSEWHERE:
            return f"`{ours}` is an argument of {ELSEWHERE[ours]}.{remark} "
    return remark.lstrip() + " " * bool(remark)


def _by_name(value: Any, others: list[str], owner: str, args: tuple[Any, ...]) -> str:
    """The advice for a positional argument too many."""
    name, _, method = owner.partition(".")
    are_parts = all(hasattr(arg, "num_feature_dims") for arg in args)
    if are_parts and method == "__init__" and name in ("Stacked", "StackedCell"):
        return f"Pass one list: `{name}([a, b])`. "
    is_key = hasattr(value, "dtype") and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key)
    if is_key and "key" in others:
        return "Pass the key by name, `key=...`. "
    if not others:
        return ""
    return f"Pass the others by name, for example `{others[0]}=...`. "


def _list(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
