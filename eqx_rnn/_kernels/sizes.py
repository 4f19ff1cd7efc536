"""Sizes of axes. They may be symbolic in `jax.export`."""

from typing import Any


def is_known(*sizes: Any) -> bool:
    """Whether all sizes are integers. Symbolic sizes cannot be compared."""
    return all(isinstance(size, int) for size in sizes)
