"""An extension of griffe, which reads the code for the reference.

It completes the constructors: `**options` of a cell becomes one parameter per option, and classes
whose constructor is made by Equinox show it. The docstring of a cell also lists its arrays, and
links to its card in the gallery. A link replaces the arguments that all cells share, which `help`
lists for each cell.
"""

import importlib
import inspect
import os
import re
import typing
from pathlib import Path
from typing import Any

import griffe
import jaxtyping

os.environ.setdefault("JAX_PLATFORMS", "cpu")

ARRAY = re.compile(r"(Float|Complex|Int|Inexact)\[Array, [\"']?([^\"'\]]*)[\"']?\]")
TYPES = {"activation": "Callable", "gate_activation": "Callable", "dtype": "DTypeLike | None"}
OPAQUE = ["Time", "State", "Advanced"]  # which the library makes, not the user
COMMON = re.compile(  # arguments in the table of `docs/cells.md`
    r"- `(?:input_size|hidden_size|use_bias|(?:gate_)?activation|(?:recurrent_)?weight_init"
    r"|bias_init|carry_init|dtype|key)`:.*(?:\n(?!- |\n).*)*\n?"
)
NAMES = {"variance_scaling": "lecun_normal"}  # whose name in JAX is that of its general form
CARDS = {
    card
    for page in (Path(__file__).parent.parent / "gallery").glob("*.md")
    for card in re.findall(r"^## (\w+)$", page.read_text(), re.M)
}


class Reference(griffe.Extension):
    """Completes the signatures and docstrings of public classes."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        module = importlib.import_module(pkg.path)
        for name in dir(module):
            value = getattr(module, name)
            if isinstance(value, type) and name in pkg.members:
                shown = pkg[name].final_target
                public = [b.__name__ for b in value.__mro__[1:] if hasattr(module, b.__name__)]
                shown.bases = [griffe.ExprName(base, parent=pkg) for base in public[:1]]
                _complete(shown, value)


def _complete(shown: Any, cls: type) -> None:
    fields = {name: a for name, a in shown.members.items() if a.is_attribute and a.annotation}
    old = shown.members.get("__init__")
    given = {p.name: p for p in old.parameters} if old is not None else {}
    if shown.name not in OPAQUE and (old is not None or fields or hasattr(cls, "_fields")):
        _constructor(shown, cls, given, fields)
    if shown.name.endswith("Cell") and shown.docstring:
        arrays = [
            f"- `{name}`: {_shape(a.annotation)}"
            for name, a in fields.items()
            if ARRAY.match(str(a.annotation))
        ]
        if arrays and not _has_code(shown.docstring.value):
            shown.docstring.value += "\n\n**Arrays:**\n\n" + "\n".join(arrays)
    if shown.name in CARDS and shown.docstring:
        summary, _, rest = shown.docstring.value.partition("\n\n")
        link = f"[Equations as formulas, and when to use it][{shown.name.lower()}]"
        shown.docstring.value = f"{summary}\n\n{link}\n\n{rest}"


def _has_code(text: str) -> bool:
    return "\n    class " in text or "\n        class " in text


def _constructor(shown: Any, cls: type, given: dict, fields: dict) -> None:
    try:
        signature = inspect.signature(cls)
    except ValueError:
        return
    if any(p.name in ("args", "kwargs") for p in signature.parameters.values()):
        return
    parameters = [griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)]
    for name, p in signature.parameters.items():
        source = given.get(name) or fields.get(name)
        annotation = source.annotation if source is not None else _type(name, p.annotation)
        default = None if p.default is p.empty else _default(p.default)
        kind = getattr(griffe.ParameterKind, p.kind.name.lower())
        parameters.append(griffe.Parameter(name, annotation=annotation, kind=kind, default=default))
    init = griffe.Function("__init__", parameters=griffe.Parameters(*parameters))
    doc = inspect.cleandoc(vars(cls)["__init__"].__doc__ or "") if given else ""
    if any(p.kind is griffe.ParameterKind.var_keyword for p in given.values()):
        own = shown.members["__init__"].docstring
        doc = _arguments(doc, own.value if own else "")
    if doc:
        init.docstring = griffe.Docstring(doc, parent=init)
    shown.set_member("__init__", init)


def _arguments(doc: str, own: str) -> str:
    """The arguments of a constructor. A link replaces those that the base classes add to `own`."""
    added = COMMON.sub("", doc[len(own) :] if own else doc.partition("\n")[2])
    own = own or f"**Arguments:** those of every cell{', and' if added else '.'}\n"
    doc = own + ("" if own.endswith("\n") else "\n") + added
    return re.sub(r"(every (?:\w+ )?cell)\b", r"[\1][options-of-every-cell]", doc, count=1)


def _type(name: str, annotation: Any) -> str | None:
    if name in TYPES or annotation is inspect.Parameter.empty:
        return TYPES.get(name)
    if name.endswith("_init"):
        return "Initializer"
    if jaxtyping.PRNGKeyArray in (annotation, *typing.get_args(annotation)) or name == "key":
        optional = type(None) in typing.get_args(annotation)
        return "PRNGKeyArray | None" if optional else "PRNGKeyArray"
    return getattr(annotation, "__name__", None) or str(annotation).replace("typing.", "")


def _shape(annotation: Any) -> str:
    """The shape and the kind of an array that jaxtyping describes."""
    kind, shape = ARRAY.match(str(annotation)).groups()
    shape = re.sub(r"\s*([*+])\s+", r"\1", shape)  # griffe puts spaces around operators
    in_braces = lambda match: f"({match[1]})" if "+" in match[1] else match[1]
    axes = re.sub(r"\{([^}]*)\}", in_braces, shape.replace("self.", "")).split()
    tuple_ = f"({', '.join(axes)}{',' * (len(axes) == 1)})"
    return f"`{tuple_}`, {kind.lower()}{', or `None`' * ('None' in str(annotation))}"


def _default(value: Any) -> str:
    """A default as a reader would write it."""
    if not callable(value) or isinstance(value, type):
        return "..." if "<object" in repr(value) else repr(value)
    value = getattr(value, "function", value)
    name, _, inner = getattr(value, "__qualname__", type(value).__name__).partition(".<locals>")
    return f"{NAMES.get(name, name)}()" if inner else name
