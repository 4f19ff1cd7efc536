"""Checks that a value fits an annotation.

Every item of a sequence is checked; beartype would check one item at random.
"""

import collections.abc
import types
import typing
from typing import Any, Literal, NoReturn, Union

import jax
import jax.numpy as jnp
import numpy as np

from .._kernels.tracers import Tracer
from .functions import check_function
from .messages import describe

_SEQUENCES = (collections.abc.Sequence, tuple, list)


def wants_number(hint: Any) -> bool:
    """Whether an annotation is for Python numbers or flags, or for a sequence of them."""
    return hint in (int, float, bool) or any(map(wants_number, _parts(hint)))


def to_python(value: Any) -> Any:
    """Converts NumPy numbers and flags to Python, because static fields are hashed and compared.

    A JAX scalar is converted as well, unless it is traced.
    """
    if _is_known_number(value):
        value = np.asarray(value)
    if isinstance(value, np.generic | np.ndarray):
        if jnp.issubdtype(value.dtype, jnp.floating):  # bfloat16 has no `tolist` of its own
            value = np.asarray(value, np.float64)
        return value.tolist() if value.dtype.kind in "biuf" else value
    if type(value) in (tuple, list):
        return type(value)(map(to_python, value))
    return value


def _is_known_number(value: Any) -> bool:
    return isinstance(value, jax.Array) and value.ndim == 0 and not isinstance(value, Tracer)


def matches(value: Any, hint: Any) -> bool:
    """Whether a value fits an annotation. Every value fits an unknown kind of annotation."""
    if hint is Any:
        return True
    origin, parts = typing.get_origin(hint), _parts(hint)
    if origin in (Union, types.UnionType):
        return any(matches(value, part) for part in parts)
    if origin is Literal:
        return any(isinstance(value, type(part)) and value == part for part in parts)
    if origin in _SEQUENCES:
        if isinstance(value, str) or not isinstance(value, origin):
            return False
        if origin is tuple and parts[-1:] != (...,):
            return len(value) == len(parts) and all(map(matches, value, parts))
        return all(matches(item, parts[0]) for item in value)
    if collections.abc.Callable in (hint, origin):
        return callable(value)
    if origin is collections.abc.Mapping:
        return isinstance(value, origin) and all(
            matches(key, parts[0]) and matches(item, parts[1]) for key, item in value.items()
        )
    if hint is float:
        return isinstance(value, int | float)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if isinstance(hint, type) else True


def check_value(owner: str, name: str, value: Any, hint: Any) -> None:
    """Raises an error with a remedy, unless the value fits the annotation."""
    if typing.get_origin(hint) in (Union, types.UnionType) and Any in _parts(hint):
        return  # the function checks this argument itself
    is_traced = isinstance(value, Tracer) and wants_number(hint)  # static fields hold numbers
    if is_traced or not matches(value, hint):
        _refuse(owner, name, value, hint)
    if collections.abc.Callable in (hint, typing.get_origin(hint)):
        check_function(owner, name, value)


def _refuse(owner: str, name: str, value: Any, hint: Any) -> NoReturn:
    origin, parts = typing.get_origin(hint), _parts(hint)
    sequence = next((h for h in (hint, *parts) if typing.get_origin(h) in _SEQUENCES), None)
    if sequence is not None and isinstance(value, tuple | list):
        inner = _parts(sequence)
        inner = len(value) * inner[:1] if inner[1:] == (...,) or len(inner) == 1 else inner
        for k, (item, part) in enumerate(zip(value, inner, strict=False)):
            if not matches(item, part):
                _refuse(owner, f"{name}[{k}]", item, part)
    if _is_module(hint) or (origin in _SEQUENCES and _is_module(parts[0])):
        _refuse_part(owner, name, value, hint)
    if collections.abc.Callable in (hint, origin):
        check_function(owner, name, value)
    advice = " Pass `module.state_dict()`." if hasattr(value, "state_dict") else ""
    if isinstance(value, Tracer):
        advice = " It is traced, for example by `jax.jit`. Pass a constant, or make it a static "
        advice += "argument of the traced function."
    raise TypeError(f"{owner}: `{name}` must be {_say(hint)}, got {describe(value)}.{advice}")


def _refuse_part(owner: str, name: str, value: Any, hint: Any) -> NoReturn:
    """The error for a value that must be a cell, an `RNN` or a sequence of cells."""
    kind = hint if _is_module(hint) else _parts(hint)[0]
    wanted = "a cell" if kind.__name__ == "RNNCellBase" else f"an `{kind.__name__}`"
    wanted = wanted if kind is hint else "a list or tuple of cells"
    advice = "Cells are subclasses of `RNNCellBase`."
    if kind.__name__ == "RNN":
        advice = "Build one from a cell: `RNN(cell)`."
    got, is_layer = describe(value), hasattr(value, "time_major")
    if isinstance(value, type):
        advice = f"Build one first: `{value.__name__}(...)`."
    elif kind is not hint:
        advice = f"Put it into a list: `{owner}([cell])`."
        if is_layer or not hasattr(value, "initialize_carry"):
            advice = f"Pass for example `{owner}([first, second])`."
    elif isinstance(value, tuple | list):
        advice = "`StackedCell(cells)` makes one cell of several."
    elif hasattr(value, "initialize_carry") and not is_layer:
        got, advice = type(value).__name__, f"Wrap the cell first: `{owner}(RNN(cell), ...)`."
    elif is_layer and kind.__name__ == "RNN":
        got = type(value).__name__
        advice = "Its parts are `RNN`s. Use `Stacked` for several bidirectional layers."
    elif type(value).__module__.startswith("equinox."):
        got = f"eqx.nn.{type(value).__name__}"
        advice += " `eqx_rnn.interop.from_equinox` converts cells of `eqx.nn`."
    elif is_layer:
        got = type(value).__name__
        own = {"RNN": "cell", "StackedCell": "StackedCell([first, second])"}
        inner = own.get(owner, f"{owner}(cell)")
        advice = f"A layer runs a cell: build `RNN({inner})` from the cell of this layer."
        if owner == "RNN":
            advice = "An `RNN` runs a cell. `Stacked([first, second])` runs layers in a row."
    raise TypeError(f"{owner}: `{name}` must be {wanted}, got {got}. {advice}")


def check_key(owner: str, name: str, key: Any) -> None:
    """Checks that a key is `None` or one random key, typed or raw."""
    if key is None:
        return
    if not hasattr(key, "dtype"):
        seed = key if isinstance(key, int) and not isinstance(key, bool) else "seed"
        advice = f"Pass `{name}=jax.random.key({seed})`."
    elif jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if key.shape == ():
            return
        advice = "Pass one of the keys, or use `jax.vmap` over them."
    elif isinstance(key, np.ndarray | np.generic):
        advice = f"Pass `{name}=jax.random.key(seed)`, or `jnp.asarray` of a raw key."
    elif key.dtype == jnp.uint32 and key.ndim == 1:
        return  # a raw key, as `jax.random.PRNGKey` makes
    elif key.dtype == jnp.uint32:
        advice = "Pass one of the keys, or use `jax.vmap` over them."
    else:
        advice = f"Pass `{name}=jax.random.key(seed)`."
        if owner.endswith(".initialize_carry"):
            advice = "The key comes first, and may be None: `initialize_carry(key, sample_input)`."
    raise TypeError(f"{owner}: `{name}` must be one random key, got {describe(key)}. {advice}")


def _parts(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint)


def _is_module(hint: Any) -> bool:
    """Whether an annotation is a class of cells or layers."""
    return isinstance(hint, type) and hasattr(hint, "num_feature_dims")


def _say(hint: Any) -> str:
    origin, parts = typing.get_origin(hint), _parts(hint)
    if origin in (Union, types.UnionType):
        parts = [part for part in parts if not (part is int and float in parts)]
        return " or ".join(dict.fromkeys(map(_say, parts)))
    if origin is Literal:
        return "one of " * (len(parts) > 1) + ", ".join(map(repr, parts))
    if origin in _SEQUENCES:
        inner = [_say(part) for part in parts if part is not ...]
        if parts[0] is Any:
            return "a list or tuple"
        pair = len(inner) > 1
        return f"a pair ({', '.join(inner)})" if pair else f"a sequence of ({inner[0]})"
    if origin is collections.abc.Mapping:
        return "a mapping from strings to " + ("arrays" if parts[1] is Any else _say(parts[1]))
    names = {int: "an integer", float: "a number", bool: "True or False", str: "a string"}
    names |= {jax.Array: "an array", np.ndarray: "an array"}
    if collections.abc.Callable in (hint, origin):
        return "a function"
    return "None" if hint is type(None) else names.get(hint, getattr(hint, "__name__", str(hint)))
