"""Run-time checks of the shapes in annotations, by jaxtyping and beartype.

Nothing is prepared at import: a function's check is built when the function is first called, and
not at all if `JAXTYPING_DISABLE` is set.
"""

import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import jax.numpy as jnp
import jaxtyping
import numpy as np
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, jaxtyped

from .messages import describe, is_ours

F = TypeVar("F", bound=Callable[..., Any])

# An integer is valid where a float is wanted, as in Python's own typing rules.
_CONF = BeartypeConf(is_pep484_tower=True)


def is_disabled() -> bool:
    """Whether the user switched off run-time checks of annotations."""
    return jaxtyping.config.jaxtyping_disable


def checked(function: F) -> F:
    """`function` with checks of the annotations of its arguments and its result."""
    build = functools.cache(lambda: jaxtyped(function, typechecker=_typecheck))

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        return (function if is_disabled() else build())(*args, **kwargs)

    return run  # pyright: ignore


def _typecheck(signature: Callable[..., Any]) -> Callable[..., Any]:
    """Checks one of the two signatures that jaxtyping makes from a function.

    The first signature has the annotations of the arguments. The second one runs after the
    function, with the same axis sizes, and adds the result. Checking the arguments once is enough.
    """
    result = signature.__annotations__.get("return", Any)
    if result is not Any:
        signature.__annotations__ = {"return": result}
    return beartype(signature, conf=_CONF)  # pyright: ignore


def check_fields(module: Any) -> None:
    """Checks the annotated shapes of the arrays of a module."""
    for name, hint in _wrong_fields(module):
        raise ValueError(
            f"{type(module).__name__}: `{name}` must be {_say(hint)}, got "
            f"{describe(getattr(module, name))}. An initialiser must return an array of the shape "
            "that it receives, and `eqx.tree_at` must replace an array by one of the same shape."
        )


@jaxtyped(typechecker=None)  # gives meaning to the sizes in braces, such as `{self.hidden_size}`
def _wrong_fields(self: Any) -> list[tuple[str, Any]]:
    fields = _array_fields(next(filter(is_ours, type(self).__mro__)))
    return [(name, hint) for name, hint in fields if not _fits(getattr(self, name), hint)]


def _fits(value: Any, hint: Any) -> bool:
    return isinstance(jnp.asarray(value) if isinstance(value, np.ndarray) else value, hint)


@functools.cache
def _array_fields(cls: type) -> list[tuple[str, Any]]:
    """The names and annotations of the fields that hold arrays of an annotated shape."""
    fields = [(field.name, field.type) for field in dataclasses.fields(cls)]
    return [(name, hint) for name, hint in fields if any(map(_is_array, _members(hint)))]


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) or (hint,)


def _is_array(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, AbstractArray)


def _say(hint: Any) -> str:
    """The annotation in words: `a Float array of shape (3*hidden_size, input_size) or None`."""

    def say(part: Any) -> str:
        if not _is_array(part):
            return "None" if part is type(None) else str(part)
        axes = part.dim_str.replace("{self.", "").replace("}", "").split()
        shape = f"({', '.join(axes)}{',' * (len(axes) == 1)})"
        return f"a {part.__name__.partition('[')[0]} array of shape {shape}"

    return " or ".join(map(say, _members(hint)))
