"""Says in words which engine runs a cell, and why."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from jaxtyping import Array, PyTree

from .._base.cells import RNNCellBase
from .._checks.messages import has_field
from .choose import choose, why_plain
from .steps import Options, Steps

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


def is_explaining() -> bool:
    """Whether runs are to be reported."""
    return _REPORT.get() is not None


def report_run(
    cell: RNNCellBase, carry: PyTree[Array], inputs: Array, steps: Steps, options: Options
) -> None:
    """Adds a line about a run. Runs inside the step of the cell add none."""
    report = _REPORT.get()
    if report is None:
        return
    token = _REPORT.set(None)
    try:
        chosen = choose(why_plain(cell), cell, carry, inputs, steps, options)
    finally:
        _REPORT.reset(token)
    if isinstance(chosen, str):
        report.append(f"{_describe(cell)} runs by the plain scan, because {chosen}.")
    else:
        report.append(f"{_describe(cell)} runs on the factored engine.")


def _describe(cell: Any) -> str:
    """The name of a cell with the cells in it, such as `Residual(LSTMCell)`."""
    name = type(cell).__name__
    return f"{name}({_describe(cell.cell)})" if has_field(cell, "cell") else name
