"""Says in words which engine runs a cell, and why."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .._base.cells import AbstractWrapper, RNNCellBase
from .chunked import Chunks
from .steps import Options

_METHODS = {
    "auto": "by the fastest method of the platform",
    "sequential": "step by step",
    "associative": "by parallel forms",
}
_REPORT: ContextVar[list[str] | None] = ContextVar("report", default=None)


def explain(call: Callable[[], Any]) -> str:
    """One line for each run of a cell in `call`, in the order of the runs."""
    report: list[str] = []
    token = _REPORT.set(report)
    try:
        call()
    finally:
        _REPORT.reset(token)
    return "\n".join(report)


@contextmanager
def current_report() -> Iterator[list[str] | None]:
    """The list to which a run adds its line; `None` unless `explain` makes the call.

    Runs inside this run, such as an `RNN` in the step of a cell, add no lines.
    """
    report = _REPORT.get()
    token = _REPORT.set(None)
    try:
        yield report
    finally:
        _REPORT.reset(token)


def describe_run(cell: RNNCellBase, chosen: Any, options: Options) -> str:
    """The line about a cell, from its plan or from the reason why the plain scan runs it."""
    name = _describe(cell)
    if isinstance(chosen, str):
        return f"{name} runs by the plain scan, because {chosen}."
    if isinstance(chosen, Chunks):
        size = "" if options.chunk_size is None else f"{options.chunk_size} "
        steps = "step" if options.chunk_size == 1 else "steps"
        return f"{name} runs in chunks of {size}{steps}, {_METHODS[chosen.method]}."
    return f"{name} runs on the factored engine."


def _describe(cell: Any) -> str:
    """The name of a cell with the cells in it, such as `Residual(LSTMCell)`."""
    name = type(cell).__name__
    return f"{name}({_describe(cell.cell)})" if isinstance(cell, AbstractWrapper) else name
