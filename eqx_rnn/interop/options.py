"""Checks of cells and options that must have a counterpart in the other framework."""

from collections.abc import Iterable
from typing import Any

from .._checks.messages import describe
from .._functions.function import plain
from .._layers.rnn import RNN
from .._layers.stacked import Stacked


def show(value: Any) -> str:
    """The name of a function, or the `repr` of another value."""
    return getattr(value, "__name__", repr(value))


def check_type(owner: str, name: str, module: Any, types: Iterable[type]) -> None:
    """Checks that a module is of one of these classes."""
    types = tuple(types)
    if not isinstance(module, types):
        names = ", ".join(map(_path, types))
        got = describe(module) if isinstance(module, type) else _path(type(module))
        advice = _advise(module, types)
        raise TypeError(f"{owner}: `{name}` must be one of {names}, got {got}. {advice}")


def _advise(module: Any, types: tuple[type, ...]) -> str:
    """The advice for a module with a wrong class: its part, if nothing is lost without the rest."""
    if isinstance(module, RNN) and isinstance(module.cell, types) and not module.reverse:
        return "Pass its `cell`."
    is_stack = isinstance(module, Stacked) and not (module.residual or module.norms)
    layers = getattr(module, "layers", ()) if is_stack else ()
    if layers and all(isinstance(layer, types) for layer in layers):
        return "Pass its `layers`, one after another."
    return "Other classes have no counterpart there."


def _path(cls: type) -> str:
    """The name of a class, with `eqx.nn` for cells of Equinox, because ours have the same names."""
    return f"eqx.nn.{cls.__name__}" if cls.__module__.startswith("equinox.") else cls.__name__


def check_choice(owner: str, name: str, value: Any, choices: Iterable[Any]) -> None:
    """Checks that the value of an argument is one of the choices."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(
            f"{owner}: `{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}."
        )


def check_options(owner: str, cell: Any, **wanted: Any) -> None:
    """Checks the options of a cell. A tuple lists several possible values."""
    for name, values in wanted.items():
        value = plain(getattr(cell, name))
        if value not in (values if isinstance(values, tuple) else (values,)):
            choices = list(map(show, values if isinstance(values, tuple) else [values]))
            found = show(value)
            if found in choices:  # another function with this name
                found = f"the one of {value.__module__}"
            raise ValueError(
                f"{owner}: `{type(cell).__name__}` must have {name}={' or '.join(choices)}, got "
                f"{found}, which has no counterpart there."
            )
