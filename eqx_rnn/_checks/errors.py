"""Errors about an argument, in the names of the call that the user made.

A check deep inside speaks of its own argument: a cell of `sample_input`, a layer of
`initial_carry`. On the way out, each caller replaces the names of owner and argument by its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OF = "the inputs of "
_CALLER: ContextVar[str | None] = ContextVar("caller", default=None)


def fault(
    kind: type[Exception], owner: str, text: str, features: tuple[int | str, ...] | None = None
) -> Exception:
    """An error about an argument; `text` starts with the argument's name between ticks.

    `features` are the feature axes that inputs should have, if these are wrong.
    """
    error = kind(f"{owner}: {text}")
    error.fault = text, features  # pyright: ignore
    return error


def get_fault(error: BaseException) -> tuple[str, tuple[int | str, ...] | None]:
    """The text and the features of a fault; nothing for other errors."""
    return getattr(error, "fault", ("", None))


def rename(error: Exception, owner: str, path: str = "", **names: str) -> None:
    """Rewrites a fault as one of `owner`, with other names for its argument.

    `path` leads from the owner to the part that raised it.
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
    """The outermost layer around the owner, which the user called: for errors at run time."""
    return _CALLER.get() or owner


@contextmanager
def part_of(owner: str, part: str, carry: str, *, is_first: bool = True) -> Iterator[None]:
    """Rewrites errors of a part as errors of the owner, which names the part's carry `carry`.

    Only the part that `is_first` has the same inputs as the owner.
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
