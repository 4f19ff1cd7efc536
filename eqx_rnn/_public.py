"""Prepares the objects of the public interface."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import equinox as eqx
from jax.export import register_namedtuple_serialization

from ._checks.arguments import guard_class


def publish(namespace: Mapping[str, Any], home: str) -> None:
    """Prepares the public objects of this package in a namespace.

    - Their `__module__` becomes `home`, so that pickles can be read after a file has moved.
    - Constructors and methods of modules check their arguments.
    - `jax.export` can serialize functions that take or return named tuples, such as carries.
    """
    for name, value in namespace.items():
        if name.startswith("_") or not getattr(value, "__module__", "").startswith("eqx_rnn."):
            continue
        value.__module__ = home
        if isinstance(value, type) and issubclass(value, eqx.Module):
            guard_class(value)
        elif isinstance(value, type) and hasattr(value, "_fields"):
            with suppress(ValueError):  # raised if another class is registered by this name
                register_namedtuple_serialization(value, serialized_name=f"{home}.{name}")
