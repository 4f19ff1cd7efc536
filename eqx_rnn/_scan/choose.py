"""The choice between the engines and the plain scan."""

import os
from typing import TYPE_CHECKING, Any

from jaxtyping import Array, PyTree

from .._base.cells import is_chunked, is_factored
from .._kernels.support import unsupported
from . import chunked
from .steps import Options, Steps

if TYPE_CHECKING:
    from .factored.plan import Plan

VARIABLE = "EQX_RNN_ENGINE"
SETTINGS = ("auto", "plain")


def choose(
    reason: str | None,
    cell: Any,
    carry: PyTree[Array],
    inputs: Array,
    steps: Steps,
    options: Options,
) -> "Plan | chunked.Chunks | str":
    """The plan of an engine, or the reason why the plain scan runs the cell.

    `reason` is the result of `why_plain(cell)`.
    """
    if reason is not None:
        return reason
    if is_chunked(cell):
        return chunked.plan(carry, inputs, steps, options)
    from .factored.plan import plan  # here, because it needs names that JAX may lack

    return plan(cell, carry, inputs, steps, options)


def why_plain(cell: Any) -> str | None:
    """The reason why the plain scan runs a cell for all inputs, if there is one."""
    setting = _setting()
    if not (is_factored(cell) or is_chunked(cell)):
        return (
            "it is not a `FactoredCell`. If its step is a sum of an input part and a hidden part, "
            "followed by an update, write `project_input`, `project_hidden` and `update`"
        )
    if setting == "plain":
        return f"the environment variable {VARIABLE} is `plain`"
    if is_chunked(cell):
        return None
    error = unsupported()
    return None if error is None else f"the factored engine does not work in this JAX ({error})"


def _setting() -> str:
    """The environment variable, which is read at each call of a layer.

    A layer inside a compiled function keeps the engine that it was traced with.
    """
    setting = os.environ.get(VARIABLE) or SETTINGS[0]
    if setting not in SETTINGS:
        raise ValueError(
            f"The environment variable {VARIABLE} must be `auto` or `plain`, got {setting!r}. "
            "`plain` runs all cells step by step; `auto`, the default, picks the fastest engine."
        )
    return setting
