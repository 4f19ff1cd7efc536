"""How a package presents its public objects."""

from collections.abc import Mapping
from typing import Any


def adopt(namespace: Mapping[str, Any], home: str) -> None:
    """Makes the public objects of a namespace say that they come from `home`.

    Pickles of them can then be read after a file has moved.
    """
    for name, value in namespace.items():
        if not name.startswith("_") and getattr(value, "__module__", "").startswith(f"{home}."):
            value.__module__ = home
