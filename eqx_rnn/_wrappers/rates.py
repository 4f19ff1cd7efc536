"""Rates of dropping, their checks, and the random keys that they need."""

from collections.abc import Callable
from typing import Any

import jax
import jax.lax as lax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from .._checks.messages import describe_tree
from .._kernels.tracers import Tracer


def as_rates(rates: PyTree[Any]) -> PyTree[Any]:
    """Numbers of NumPy and JAX as Python's: not traced, not trained, and no dtype widens."""

    def to_number(rate: Any) -> Any:
        is_array = isinstance(rate, np.ndarray | np.generic | Array)
        is_number = is_array and rate.ndim == 0 and not isinstance(rate, Tracer)
        return rate.item() if is_number else rate

    return jax.tree.map(to_number, rates)


def check_rates(owner: str, name: str, rates: PyTree[Any]) -> None:
    """Numbers, or arrays of them, from 0 to below 1. What is traced has no value to check."""
    for rate in jax.tree.leaves(rates, is_leaf=lambda rate: rate is None):
        if isinstance(rate, Tracer):
            continue
        value = np.asarray(rate)
        real = np.issubdtype(value.dtype, np.integer) or jnp.issubdtype(value.dtype, jnp.floating)
        if not (real and np.all((value >= 0) & (value < 1))):
            does = "kept" if owner == "Zoneout" else "dropped"
            raise ValueError(
                f"{owner}: `{name}` must be a fraction, 0 <= {name} < 1, got {rate!r:.60}. "
                f"Pass the share of the entries to be {does}."
            )


def spread(
    owner: str,
    name: str,
    rates: PyTree[Any],
    carry: PyTree[Array],
    is_leaf: Callable[[Any], bool] | None = None,
) -> PyTree[Any]:
    """`rates`, a number or as the carry is built, as one a leaf; 0 where there are no floats.

    `is_leaf` says which parts of the carry have one rate for all their leaves.
    """
    parts, tree = jax.tree.flatten(carry, is_leaf=is_leaf)
    like = tree.unflatten([jax.tree.leaves(part)[0] for part in parts])

    def to_leaves(rate: Any, part: PyTree[Array]) -> PyTree[Any]:
        is_float = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
        return jax.tree.map(lambda leaf: rate if is_float(leaf) else 0.0, part)

    try:
        return jax.tree.map(to_leaves, rates, like)
    except ValueError as error:
        raise ValueError(
            f"{owner}: `{name}` must be a number, or numbers in the structure of the carry "
            f"{describe_tree(like)}, got {describe_tree(rates)}. Pass one a leaf, 0 for one that "
            "is to be left alone."
        ) from error


def fixed(rate: Any, like: Any) -> Any:
    """A rate for the entries of `like`, with as many axes.

    A rate that is an array is a leaf of the cell as its weights are, but is not trained.
    """
    if np.ndim(rate) == 0:
        return lax.stop_gradient(rate) if isinstance(rate, Array) else rate
    return lax.stop_gradient(lax.expand_dims(jnp.asarray(rate), range(like.ndim - rate.ndim)))


def is_zero(rate: Any) -> bool:
    return isinstance(rate, int | float) and rate == 0


def require_key(owner: str, key: PRNGKeyArray | None, where: str) -> PRNGKeyArray:
    """The key. As in `eqx.nn.Dropout`, none in training is an error."""
    if key is None:
        raise RuntimeError(
            f"{owner}: `key` must be a random key in training, got None. Pass "
            f"`key=jax.random.key(seed)` {where}, or switch to inference with "
            "`eqx.nn.inference_mode(model)`."
        )
    return key


def split(key: PRNGKeyArray | None, num: int) -> Any:
    """Several keys from one; none from none."""
    return num * [None] if key is None else jr.split(key, num)


def drop(array: Array, mask: Bool[Array, "..."] | None, rate: Any) -> Array:
    """Zeros where the mask is false, what is left scaled up by as much. No mask drops none."""
    if mask is None:
        return array
    return jnp.where(mask, array / (1 - fixed(rate, array)), 0).astype(array.dtype)
