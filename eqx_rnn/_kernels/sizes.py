"""Sizes of axes, which `jax.export` may leave open."""

from typing import Any


def is_known(*sizes: Any) -> bool:
    """Whether sizes are numbers and not symbolic dimensions, which compare to nothing."""
    return all(isinstance(size, int) for size in sizes)
