"""Checks of the user's functions, such as activations and initialisers."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .messages import describe


def check_function(owner: str, name: str, value: Any) -> None:
    """Checks that a value is a function, such as an activation or an initialiser."""
    if isinstance(value, type) and issubclass(value, eqx.Module) and name.endswith("activation"):
        raise TypeError(
            f"{owner}: `{name}` must be a function, got {describe(value)}. Build a module first: "
            f"`{value.__name__}(...)`."
        )
    if callable(value):
        if name.endswith("init"):
            _check_initializer(owner, name, value)
        return
    known = isinstance(value, str) and hasattr(jax.nn, value)
    example = f"jax.nn.{value}" if known else "jax.nn.relu"
    if name.endswith("init"):
        example = "jax.nn.initializers.zeros"
    elif name == "cell":
        example = "eqx_rnn.LSTMCell"
    raise TypeError(
        f"{owner}: `{name}` must be a function, got {describe(value)}. Pass the function itself, "
        f"for example `{example}`."
    )


def _check_initializer(owner: str, name: str, value: Any) -> None:
    """Raises an error for a function that makes initialisers, such as `initializers.normal`."""
    try:
        inspect.signature(value).bind("key", "shape", "dtype")
    except TypeError as error:
        called = getattr(value, "__name__", "initializer")
        raise TypeError(
            f"{owner}: `{name}` must be a function of `(key, shape, dtype)`, got {describe(value)}."
            f" Call functions of `jax.nn.initializers` that return an initialiser: `{called}()`."
        ) from error
    except ValueError:  # a function without a signature, such as some C functions
        return


def check_activated(function: Callable[..., Any], inputs: Array, outputs: Any) -> Any:
    """Returns the outputs of an activation, checked to have the shape of its inputs."""
    is_array = hasattr(outputs, "shape") and hasattr(outputs, "dtype")
    fits = is_array and outputs.shape == inputs.shape
    if not (fits and jnp.issubdtype(outputs.dtype, jnp.floating)):
        name = getattr(function, "__name__", describe(function))
        raise TypeError(
            f"{name}: an activation must return a "
            f"floating-point array of the shape of its argument, {describe(inputs)}, got "
            f"{describe(outputs)}. Apply the function to each entry."
        )
    return outputs


def check_drawn(init: Callable[..., Any], shape: Sequence[Any], value: Any) -> Array:
    """The array that an initialiser returned, checked to have the shape that it received."""
    is_array = isinstance(value, jax.Array | np.ndarray)
    if not (is_array and jnp.issubdtype(value.dtype, jnp.floating) and value.shape == (*shape,)):
        name = getattr(init, "__name__", describe(init))
        raise TypeError(
            f"{name}: an initialiser `(key, shape, dtype)` must return a floating-point array of "
            f"the shape that it receives, {(*shape,)}, got {describe(value)}."
        )
    return jnp.asarray(value)
