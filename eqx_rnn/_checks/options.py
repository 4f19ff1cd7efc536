"""Checks of the options of new cells and layers."""

import math
from collections.abc import Iterable
from typing import Any

import jax.random as jr
import numpy as np
from jaxtyping import Array


def check_names(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Checks that options have the names of arguments."""
    for name in given:
        if name not in known:
            listed = ", ".join(f"`{name}`" for name in known)
            raise TypeError(
                f"{owner}: got an unexpected argument `{name}`. The options of every such cell are "
                f"{listed}."
            )


def check_sizes(owner: str, **sizes: int | None) -> None:
    """Checks that sizes are integers of at least 1. `None` stands for an absent size."""
    for name, size in sizes.items():
        if size is not None and (isinstance(size, bool) or size < 1):
            raise ValueError(f"{owner}: `{name}` must be an integer of at least 1, got {size!r}.")


def check_number(owner: str, name: str, number: float | int, *, or_zero: bool = False) -> float:
    """Checks a constant of a cell's equations: finite and positive, or zero with `or_zero`."""
    if not math.isfinite(number) or number < 0 or (number == 0 and not or_zero):
        wanted = "0 or positive" if or_zero else "positive"
        raise ValueError(
            f"{owner}: `{name}` must be a finite number, {wanted}, got {number!r}. "
            "Leave it out to use the default."
        )
    return float(number)


def check_range(owner: str, low_name: str, low: float, high_name: str, high: float) -> None:
    """Checks that two numbers are fractions, `0 <= low < high < 1`."""
    if not 0 <= low < high < 1:
        raise ValueError(
            f"{owner}: `{low_name}` and `{high_name}` must be fractions with 0 <= {low_name} < "
            f"{high_name} < 1, got {low} and {high}."
        )


def check_heads(owner: str, num_heads: int, hidden_size: int) -> None:
    """Checks that all heads have the same number of features."""
    if hidden_size % num_heads:
        raise ValueError(
            f"{owner}: `num_heads` must divide `hidden_size`, got {num_heads} heads for "
            f"hidden_size={hidden_size}. Change one of the two."
        )


def check_time_constants(owner: str, tau: Any, num_units: int, dt: float) -> np.ndarray:
    """Checks time constants: one number, or one per unit, and none below the time step `dt`."""
    taus = np.asarray(tau, float)
    if taus.shape not in ((), (num_units,)):
        raise ValueError(
            f"{owner}: `tau` must be a number or {num_units} of them, one per unit, got an array "
            f"of shape {taus.shape}."
        )
    if not np.all((taus >= dt) & np.isfinite(taus)):
        raise ValueError(
            f"{owner}: `tau` must be finite and no smaller than `dt`, which is {dt}, got "
            f"{tau!r:.60}. Give both in one unit of time, or take shorter steps."
        )
    return taus


def require_key(owner: str, key: Any) -> Array:
    """The key for the initial weights, which has no default."""
    if key is None:
        raise TypeError(
            f"{owner}: `key` must be a random key for the initial weights, got none. "
            "Pass `key=jax.random.key(seed)`."
        )
    return key


def split_key(owner: str, key: Any, num: int) -> Array:
    """One key per part of a new cell or layer."""
    return jr.split(require_key(owner, key), num)
