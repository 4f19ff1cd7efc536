"""How cells are shown: the signature and documentation of `__init__`, and a short `repr`."""

import dataclasses
import inspect
import typing
from typing import Any

from .._functions.function import is_function

_MISSING = object()


def document(cls: Any, root: type) -> None:
    """Completes the signature and the docstring of the `__init__` of a class, for `help`.

    `**options: Unpack[Options]` becomes one parameter per option. Arguments that a base documents
    in a list are added to the docstring.
    """
    init: Any = vars(cls)["__init__"]
    signature = inspect.signature(init)
    *own, last = signature.parameters.values()
    if typing.get_origin(last.annotation) is not typing.Unpack:
        return
    hints = typing.get_type_hints(*typing.get_args(last.annotation))
    defaults = cls._defaults | {"key": inspect.Parameter.empty}
    init.__signature__ = signature.replace(
        parameters=own
        + [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name]
            )
            for name, default in defaults.items()
            if name in hints
        ]
    )
    lists = [inspect.cleandoc(init.__doc__ or "**Arguments:**\n")]
    for base in cls.__mro__[1:]:
        if issubclass(base, root):
            _, bullet, rest = (inspect.getdoc(base) or "").partition("\n- `")
            lists += [bullet.lstrip() + rest.partition("\n\n")[0]] * bool(bullet)
    init.__doc__ = "\n".join(lists)


def show(cell: Any, defaults: dict[str, Any], **kwargs: Any) -> Any:
    """The document that Equinox prints for a cell: `LSTMCell(3, 4, proj_size=2, weight_ih=f32[16,3])`.

    First the sizes by position, then options that differ from their defaults, then arrays.
    """
    import wadler_lindig as wl  # what calls this function: a part of Equinox and jaxtyping

    parameters = inspect.signature(type(cell)).parameters
    defaults = defaults | {name: p.default for name, p in parameters.items()}
    fields = {f.name: f for f in dataclasses.fields(cell) if f.name in vars(cell)}
    by_position = []
    for name, parameter in parameters.items():
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or name not in fields:
            break
        by_position.append(name)
    options, arrays = [], []
    for name, field in fields.items():
        value = getattr(cell, name)
        is_option = name in defaults or field.metadata.get("static", False)
        absent = value is None and type(None) in typing.get_args(field.type)
        if name in by_position or absent or _is_default(value, defaults.get(name, _MISSING)):
            continue
        (options if is_option else arrays).append((name, value))
    docs = [wl.pdoc(getattr(cell, name), **kwargs) for name in by_position]
    docs += wl.named_objs(options + arrays, **kwargs)
    return wl.bracketed(
        wl.TextDoc(f"{type(cell).__name__}("), docs, wl.comma, wl.TextDoc(")"), kwargs["indent"]
    )


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, tuple) and not isinstance(default, tuple):  # one number for all axes
        return len(value) > 0 and all(_is_default(item, default) for item in value)
    plain = bool | int | float | str
    is_equal = isinstance(value, plain) and isinstance(default, plain) and value == default
    return value is default or is_equal or (callable(default) and is_function(value, default))
