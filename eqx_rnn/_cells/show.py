"""How cells are shown: the signature and documentation of `__init__`, and a short `repr`."""

import dataclasses
import inspect
import typing
from typing import Any

from .._functions.function import is_function


def document(cls: Any, root: type) -> None:
    """Completes the signature and the docstring of the `__init__` of a class, for `help`.

    `**options: Unpack[Options]` becomes one parameter per option. The lists of arguments in
    the docstrings of the base classes up to `root` are added to the docstring.
    """
    init = vars(cls)["__init__"]
    signature = inspect.signature(init)
    *parameters, last = signature.parameters.values()
    if typing.get_origin(last.annotation) is not typing.Unpack:
        return
    hints = typing.get_type_hints(*typing.get_args(last.annotation))
    defaults = {"key": inspect.Parameter.empty} | cls._defaults
    for name, default in sorted(defaults.items(), key=lambda item: item[0] == "key"):
        if name in hints:
            option = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            parameters.append(option.replace(annotation=hints[name]))
    init.__signature__ = signature.replace(parameters=parameters)
    lists = [inspect.cleandoc(init.__doc__ or "**Arguments:**\n")]
    for base in cls.__mro__[1:]:
        if issubclass(base, root):
            _, bullet, rest = (inspect.getdoc(base) or "").partition("\n- `")
            lists += [bullet.lstrip() + rest.partition("\n\n")[0]] * bool(bullet)
    init.__doc__ = "\n".join(lists)


def show(cell: Any, defaults: dict[str, Any], **kwargs: Any) -> Any:
    """The `repr` of a cell, such as `LSTMCell(3, 4, proj_size=2, weight_ih=f32[16,3])`.

    The sizes come first, then options that differ from their defaults, then arrays.
    """
    import wadler_lindig as wl  # Equinox's printer, which calls this function

    parameters = inspect.signature(type(cell)).parameters.values()
    defaults = defaults | {p.name: p.default for p in parameters}
    fields = {f.name: f for f in dataclasses.fields(cell) if hasattr(cell, f.name)}
    options, arrays = {}, {}
    for name, field in fields.items():
        value, is_option = getattr(cell, name), field.metadata.get("static") or name in defaults
        absent = value is None and type(None) in typing.get_args(field.type)
        absent = absent or name in getattr(cell, "_derived", ())
        if not (absent or (name in defaults and _is_default(value, defaults[name]))):
            (options if is_option else arrays)[name] = value
    docs = []
    for parameter in parameters:
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            break
        if isinstance(getattr(type(cell), parameter.name, None), property):
            options.setdefault(parameter.name, getattr(cell, parameter.name))
        if parameter.name not in options:
            break
        docs.append(wl.pdoc(options.pop(parameter.name), **kwargs))
    docs += wl.named_objs((options | arrays).items(), **kwargs)
    # Break a line only where the next item does not fit.
    docs = docs[:1] + [wl.TextDoc(",") + (wl.BreakDoc(" ") + doc).group() for doc in docs[1:]]
    name = wl.TextDoc(f"{type(cell).__name__}(")
    return (name + wl.ConcatDoc(*docs) + wl.TextDoc(")")).nest(kwargs["indent"])


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, tuple) and not isinstance(default, tuple):  # one number for all axes
        return len(value) > 0 and all(_is_default(item, default) for item in value)
    plain = bool | int | float | str
    is_equal = isinstance(value, plain) and isinstance(default, plain) and value == default
    return value is default or is_equal or (callable(default) and is_function(value, default))
