"""The table of the parts of a model."""

import dataclasses
import html
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import PyTree

from .._base.cells import RNNCellBase
from .._checks.arguments import guard
from .._checks.messages import advise_shape, describe, is_floating, is_shape
from .summary_parts import describe_call, describe_cell
from .summary_tree import Part, structs_of

COLUMNS = "layer", "output", "carry", "parameters", "bytes", "multiply-adds"
NUMBERS = 3  # the last columns hold numbers
WIDTH = 100
PER_STEP = "Multiply-adds of matrix products and convolutions, per step and row of the batch."
PER_CALL = "Modules that are neither cells nor layers: per call."


@dataclasses.dataclass(frozen=True)
class Row:
    """One part of a model, without the parts inside it, which have rows of their own.

    - `path`: where the part is in the model, such as `rnn.cell`; empty for the model itself.
    - `label`: the name of its field and its class, behind the branches of the tree.
    - `outputs`, `carry`: structs; `None` if unknown, or without a carry.
    - `parameters`, `bytes`: `None` if the rows above count all arrays of this part.
    - `multiply_adds`: `None` if nothing calls the part.
    - `has_parts`: whether there are parts inside it.
    """

    path: str
    label: str
    outputs: PyTree[Any]
    carry: PyTree[Any]
    parameters: int | None
    bytes: int | None
    multiply_adds: int | None
    has_parts: bool

    @property
    def cells(self) -> list[str]:
        """The texts in the columns."""
        is_tuple = type(self.carry) is tuple and len(self.carry) > 0
        is_below = is_tuple and self.has_parts  # the rows below have the items of the tuple
        carry = f"tuple of {len(self.carry)}" if is_below else say_shapes(self.carry)
        numbers = self.parameters, self.bytes, self.multiply_adds
        texts = ["" if n is None or (n == 0 and self.has_parts) else f"{n:,}" for n in numbers]
        if self.parameters is None:
            texts[0] = "shared"
        return [self.label, say_shapes(self.outputs), carry, *texts]


@dataclasses.dataclass(frozen=True, repr=False)
class Summary:
    """What `summary` returns. It prints as a table, and notebooks show it as one.

    - `rows`: one `Row` per part, in the order of the table.
    - `note`: the meaning of the multiply-adds.
    """

    rows: tuple[Row, ...]
    note: str

    @property
    def parameters(self) -> int:
        """The number of parameters of all rows."""
        return sum(row.parameters or 0 for row in self.rows)

    @property
    def bytes(self) -> int:
        """The size of all parameters."""
        return sum(row.bytes or 0 for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """The multiply-adds of all rows."""
        return sum(row.multiply_adds or 0 for row in self.rows)

    def __repr__(self) -> str:
        table = [list(COLUMNS), *(row.cells for row in self.rows), self._total]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for column in (2, 1):  # long carries take several lines, then long outputs
            excess = sum(widths) + 2 * (len(widths) - 1) - WIDTH
            widths[column] = min(widths[column], max(16, widths[column] - excess))
        head, *body, total = ("\n".join(_lines(row, widths)) for row in table)
        rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([head, rule, *body, rule, total, self.note])

    def _repr_html_(self) -> str:
        def line(row: list[str], tag: str) -> str:
            items = []
            for column, text in enumerate(row):
                align = "left" if column < len(COLUMNS) - NUMBERS else "right"
                style = f"text-align: {align}; white-space: {'normal' if column else 'pre'}"
                items.append(f'<{tag} style="{style}">{html.escape(text)}</{tag}>')
            return f"<tr>{''.join(items)}</tr>"

        body = "".join(line(row.cells, "td") for row in self.rows)
        return (
            f"<table><thead>{line(list(COLUMNS), 'th')}</thead><tbody>{body}</tbody>"
            f"<tfoot>{line(self._total, 'th')}</tfoot></table><p>{html.escape(self.note)}</p>"
        )

    @property
    def _total(self) -> list[str]:
        totals = self.parameters, self.bytes, self.multiply_adds
        return ["total", "", "", *(f"{n:,}" for n in totals)]


@guard
def summary(module: Any, inputs: Any) -> Summary:
    """A table of the parts of a model: shapes, parameters, memory and multiply-adds.

        print(eqx_rnn.summary(model, x))

    Nothing is computed: the model is traced on the shapes and dtypes of the inputs. There is one
    row per part: layers, directions, wrappers, cells, and the parts of your own modules. A cell of
    this library is one row. So is a module of `eqx.nn`, except for `eqx.nn.Sequential`.

    - `output`, `carry`: shapes, as the part itself sees them. Within `jax.vmap`, they lack the
        mapped axis. A cell has the shapes of one step. Parts of your own cell or `AbstractLayer`
        have those of one step of one row. A part that nothing calls has no shapes.
    - `parameters`, `bytes`: those of the floating-point arrays of the part, without the rows below
        it. An array that several parts share counts once.
    - `multiply-adds`: those of the matrix products and convolutions of the part, without the rows
        below it. Cells and layers count one step of one row of the batch, as
        `cell(carry, inputs)` computes it. Other modules count one call. Elementwise operations,
        such as the recurrence of an `LRUCell`, do not count. A `jax.lax.scan` counts all its
        iterations, and a `jax.lax.while_loop` counts one.

    **Arguments:**

    - `module`: a cell, a layer or another `eqx.Module` with a `__call__`.
    - `inputs`: for a cell, one step of the inputs, `(*batch, *features)`. For a layer or another
        module, the inputs of its call; a tuple stands for several arguments. A
        `jax.ShapeDtypeStruct` can stand for an array. An argument `key` gets a key by itself.

    **Returns:**

    An object that prints as a table. It has `rows`, and the totals `parameters`, `bytes` and
    `multiply_adds`.

    **Raises:** `TypeError` if `module` is not such a module. Wrong inputs raise the errors of the
    call.
    """
    if not (isinstance(module, eqx.Module) and callable(module)):
        advice = "Pass a cell, a layer or a model with a `__call__`."
        if isinstance(module, type) and issubclass(module, eqx.Module):
            advice = f"Build one first: `{module.__name__}(...)`."
        raise TypeError(
            "summary: `module` must be a cell, a layer or another `eqx.Module` that can be called, "
            f"got {describe(module)}. {advice}"
        )
    if is_shape(inputs):
        raise TypeError(f"summary: `inputs` must be arrays, got {inputs}. {advise_shape(inputs)}")
    if isinstance(module, RNNCellBase):
        part = describe_cell(module, structs_of(inputs))
    else:
        args = structs_of(inputs if type(inputs) is tuple else (inputs,))
        key = _key_of(module, args)
        eqx.filter_eval_shape(lambda m, a, k: m(*a, **k), module, args, key)  # raises its errors
        part = describe_call(module, args, key)
    rows = tuple(_rows(part, "", type(module).__name__, "", set()))
    return Summary(rows, "\n".join([PER_STEP, *[PER_CALL] * part.counts_calls]))


def _key_of(module: Any, args: tuple[Any, ...]) -> dict[str, Any]:
    """The argument `key` of a call, if there is such an argument and it is not given."""
    names = list(inspect.signature(module).parameters)
    if "key" not in names[len(args) :]:
        return {}
    return {"key": jax.eval_shape(lambda: jr.key(0))}


def _rows(part: Part, path: str, label: str, branch: str, seen: set[int]) -> Iterator[Row]:
    """The rows of a part. `branch` stands in front of the labels of the parts inside it."""
    inside = {id(inner.module) for inner in part.inside.values()}
    leaves = jax.tree.leaves(part.module, is_leaf=lambda node: id(node) in inside)
    arrays = [leaf for leaf in leaves if id(leaf) not in inside and is_floating(leaf)]
    is_new = lambda array: isinstance(array, jax.ShapeDtypeStruct) or id(array) not in seen
    new = [array for array in arrays if is_new(array)]
    seen.update(map(id, arrays))
    parameters = num_bytes = None
    if new or not arrays:
        parameters = sum(array.size for array in new)
        num_bytes = sum(array.size * array.dtype.itemsize for array in new)
    sizes = parameters, num_bytes, part.multiply_adds
    yield Row(path, label, part.outputs, part.carry, *sizes, has_parts=bool(inside))
    for k, (name, inner) in enumerate(part.inside.items()):
        is_last = k == len(part.inside) - 1
        inner_label = f"{branch}{'└─ ' if is_last else '├─ '}{name}: {type(inner.module).__name__}"
        inner_branch = branch + ("   " if is_last else "│  ")
        inner_path = f"{path}.{name}" if path else name
        yield from _rows(inner, inner_path, inner_label, inner_branch, seen)


def say_shapes(tree: PyTree[Any]) -> str:
    """The shapes of a PyTree, such as `hidden 4x32, cell 4x32`."""
    if hasattr(tree, "shape"):
        return "x".join(map(str, tree.shape)) or "scalar"
    named = dict(zip(tree._fields, tree, strict=True)) if hasattr(tree, "_fields") else tree
    if isinstance(named, dict):
        named = {name: item for name, item in named.items() if jax.tree.leaves(item)}
        is_named = lambda item: hasattr(item, "_fields") or isinstance(item, dict)
        say = lambda item: f"({say_shapes(item)})" if is_named(item) else say_shapes(item)
        return ", ".join(f"{name} {say(item)}" for name, item in named.items())
    items = tree if isinstance(tree, tuple | list) else jax.tree.leaves(tree)
    items = [item for item in items if hasattr(item, "shape") or jax.tree.leaves(item)]
    text = ", ".join(map(say_shapes, items))
    return f"({text})" if isinstance(tree, tuple | list) and items else text


def _lines(row: list[str], widths: list[int]) -> list[str]:
    """The lines of a row. A text that is too wide takes several."""
    texts = [_wrap(text, width) for text, width in zip(row[1:], widths[1:], strict=True)]
    lines = []
    for k in range(max(1, *map(len, texts))):
        start = row[0] if k == 0 else _continue(row[0])
        cells = [start, *(lines[k] if k < len(lines) else "" for lines in texts)]
        pairs = enumerate(zip(cells, widths, strict=True))
        is_number = lambda column: column >= len(COLUMNS) - NUMBERS
        padded = (t.rjust(w) if is_number(c) else t.ljust(w) for c, (t, w) in pairs)
        lines.append("  ".join(padded).rstrip())
    return lines


def _wrap(text: str, width: int) -> list[str]:
    """Lines of a text. A name and its shape stay together."""
    lines = textwrap.wrap(re.sub(r"(\w) (\d)", r"\1~\2", text), width)
    return [line.replace("~", " ") for line in lines]


def _continue(label: str) -> str:
    """The branches of the tree on the further lines of a row."""
    branches = label[: len(label) - len(label.lstrip("│├└─ "))]
    return branches.replace("├─", "│ ").replace("└─", "  ")
