"""Checks of the arguments of a call by names, number and values, with advice in the errors."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import numpy as np

from .messages import as_dtype
from .synonyms import ELSEWHERE, REMARKS, SYNONYMS
from .values import check_key, check_value, to_python, wants_number


class Signature:
    """The parameters of a function, and the check of their arguments."""

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
        """Checks the arguments and returns them, with NumPy numbers converted to Python."""
        given = dict(zip(self.positional, args, strict=False))
        if (
            len(args) > len(self.positional)
            or not (self.takes_any or kwargs.keys() <= self.names.keys())
            or not self.required <= given.keys() | kwargs.keys()
            or given.keys() & kwargs.keys()
        ):
            self._refuse(args, kwargs)
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

    def get(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The value of one argument, in a call that matches the signature."""
        return (dict(zip(self.positional, args, strict=False)) | kwargs)[name]

    def owner(self, args: tuple[Any, ...]) -> str:
        """The class or function that an error about the value of an argument names."""
        name = self.function.__name__
        if not self.is_method or not args:
            return name
        cls = args[0] if isinstance(args[0], type) else type(args[0])
        return cls.__name__ if name in ("__init__", "__call__") else f"{cls.__name__}.{name}"

    def _refuse(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        """Raises the error for arguments that do not match the signature."""
        function, cls = self.function, None
        if self.is_method and args:
            cls = args[0] if isinstance(args[0], type) else type(args[0])
        owner = f"{cls.__name__}.{function.__name__}" if cls is not None else function.__name__
        skip = int(self.is_method)
        positional = self.positional[skip:]
        names = [name for name in self.names if name not in ("self", "cls")]
        listed = f"The arguments are {_list(names)}." if names else "It takes no arguments."
        given = dict(zip(positional, args[skip:], strict=False))
        unknown = [name for name in kwargs if name not in names]
        if unknown and not self.takes_any:
            hint = find_meaning(unknown[0], names, {*given, *kwargs}, cls, function.__name__)
            raise TypeError(f"{owner}: got an unexpected argument `{unknown[0]}`. {hint}{listed}")
        extra = args[skip + len(positional) :]
        if extra:
            number = f"{len(positional)} positional argument{'s' * (len(positional) != 1)}"
            which = f", {_list(positional)}," if positional else ""
            hint = _advise_extra(extra[0], names[len(positional) :], owner, args[skip:])
            came = len(args) - skip
            raise TypeError(f"{owner}: takes {number}{which} got {came}. {hint}{listed}")
        for name in given:
            if name in kwargs:
                raise TypeError(f"{owner}: got `{name}` twice, by position and by name. {listed}")
        missing = [name for name in names if name in self.required and name not in given | kwargs]
        verb = "is" if len(missing) == 1 else "are"
        usage = {
            "__call__": "Call `cell(carry, inputs)`; `initialize_carry` makes the first carry. ",
            "initialize_carry": "Call `initialize_carry(key, sample_input)`; `key` may be None. ",
        }
        hint = usage.get(function.__name__, "") if "inputs" not in names[:1] else ""
        raise TypeError(f"{owner}: {_list(missing)} {verb} missing. {hint}{listed}")


def find_meaning(
    name: str, names: list[str], given: set[str], cls: Any = None, function: str = ""
) -> str:
    """The advice for an unknown name: the argument that it probably means, or where it belongs."""
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


def _advise_extra(value: Any, others: list[str], owner: str, args: tuple[Any, ...]) -> str:
    """The advice for one positional argument too many."""
    name, _, method = owner.partition(".")
    are_parts = all(hasattr(arg, "num_feature_dims") for arg in args)
    if are_parts and method == "__init__" and name in ("Stacked", "StackedCell"):
        return f"Pass one list: `{name}([a, b])`. "
    kind = _kind(value)
    if kind == "key" and kind in others:
        return "Pass the key by name, `key=...`. "
    if not others:
        return ""
    if kind in others:
        return f"Pass the others by name, here perhaps `{kind}=...`. "
    return f"Pass the others by name, for example `{others[0]}=...`. "


def _kind(value: Any) -> str | None:
    """The argument of a call that a value probably is, if it shows."""
    if isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        return "key"
    try:
        array = np.asarray(value)
    except Exception:
        return None
    kinds = {"i": "seq_lengths", "u": "seq_lengths", "b": "mask"}
    return kinds.get(array.dtype.kind) if array.ndim > 0 else None


def _list(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
