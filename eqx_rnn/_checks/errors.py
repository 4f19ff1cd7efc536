"""Errors about an argument, with the names that the user passed.

A check deep inside knows only the name of its own argument, such as `sample_input` in a cell or
`initial_carry` in a layer. On the way out, each caller replaces these names by its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OF = "the inputs of "
_CALLER: ContextVar[str | None] = ContextVar("caller", default=None)


def fault(
    kind: type[Exception], owner: str, text: str, features: tuple[int | str, ...] | None = None
) -> Exception:
    """An error about an argument. `text` starts with the name of the argument in backticks.

    `features` are the expected feature axes, if the error is about the shape of inputs.
    """
    error = kind(f"{owner}: {text}")
    error.fault = text, features  # pyright: ignore
    return error


def get_fault(error: BaseException) -> tuple[str, tuple[int | str, ...] | None]:
    """The text and the features of a `fault`. The text of other errors is empty."""
    return getattr(error, "fault", ("", None))


def rename(error: Exception, owner: str, path: str = "", **names: str) -> None:
    """Rewrites a `fault` as an error of `owner`, with other names for its argument.

    `path` leads from the owner to the part that raised the error, as in `cell.`.
    """
    text, features = get_fault(error)
    if not text:
        return
    if text.startswith(f"{OF}`"):
        text = f"{OF}`{path}{text.removeprefix(f'{OF}`')}"
    for old, new in names.items():
        if text.startswith((f"`{old}`", f"`{old}[")):
            text = new + text.removeprefix(f"`{old}").removeprefix("`" * new.startswith(OF))
            features = None
            break
    error.fault = text, features  # pyright: ignore
    error.args = (f"{owner}: {text}",)


def caller(owner: str) -> str:
    """The outermost layer around the owner, which the user called. Used by errors at run time."""
    return _CALLER.get() or owner


@contextmanager
def part_of(owner: str, part: str, carry: str, *, is_first: bool = True) -> Iterator[None]:
    """Rewrites errors of a part as errors of the owner.

    `carry` is the owner's name for the carry of the part. Only the first part has the same inputs
    as the owner.
    """
    token = _CALLER.set(caller(owner))
    try:
        yield
    except (TypeError, ValueError) as error:
        names = {carry.partition("[")[0]: f"`{carry}"}
        if not is_first:
            names |= dict.fromkeys(("inputs", "sample_input"), f"{OF}`{part}`")
        rename(error, owner, f"{part}.", **names)
        raise
    finally:
        _CALLER.reset(token)
