"""What checks the package's annotations when a function runs."""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

# An integer serves where a float is wanted, as in Python's own typing rules.
_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))


def typecheck(function: Callable[..., Any]) -> Callable[..., Any]:
    """Checks a function, unless it stands inside another one.

    There the check would be written and compiled anew whenever the outer one runs, which took a
    seventh of the time of tracing.
    """
    return function if "<locals>" in function.__qualname__ else _beartype(function)
