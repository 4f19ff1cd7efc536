"""Dropout rates: their checks, the masks that they need, and the random keys."""

from collections.abc import Callable
from typing import Any

import jax
import jax.lax as lax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from .._checks.messages import describe_tree, is_floating
from .._kernels.tracers import Tracer


def as_rates(rates: PyTree[Any]) -> PyTree[Any]:
    """`rates` with Python numbers in place of NumPy and JAX scalars.

    Python numbers are neither traced nor trained, and do not widen a dtype.
    """

    def to_number(rate: Any) -> Any:
        is_array = isinstance(rate, np.ndarray | np.generic | Array)
        is_number = is_array and rate.ndim == 0 and not isinstance(rate, Tracer)
        return rate.item() if is_number else rate

    return jax.tree.map(to_number, rates)


def check_rates(owner: str, name: str, rates: PyTree[Any]) -> None:
    """Checks that rates are numbers, or arrays of numbers, in `[0, 1)`. Skips traced rates."""
    for rate in jax.tree.leaves(rates, is_leaf=lambda rate: rate is None):
        if isinstance(rate, Tracer):
            continue
        value = np.asarray(rate)
        real = np.issubdtype(value.dtype, np.integer) or jnp.issubdtype(value.dtype, jnp.floating)
        if not (real and np.all((value >= 0) & (value < 1))):
            verb = "kept" if owner == "Zoneout" else "dropped"
            raise ValueError(
                f"{owner}: `{name}` must be a fraction, 0 <= {name} < 1, got {rate!r:.60}. "
                f"Pass the fraction of the entries that is {verb}."
            )


def spread(
    owner: str,
    name: str,
    rates: PyTree[Any],
    carry: PyTree[Array],
    is_leaf: Callable[[Any], bool] | None = None,
) -> PyTree[Any]:
    """One rate per leaf of the carry, from one number or a tree of them; 0 for integers.

    `is_leaf` selects the parts of the carry that have one rate for all their leaves.
    """
    parts, tree = jax.tree.flatten(carry, is_leaf=is_leaf)
    like = tree.unflatten([jax.tree.leaves(part)[0] for part in parts])

    def to_leaves(rate: Any, part: PyTree[Array]) -> PyTree[Any]:
        return jax.tree.map(lambda leaf: rate if is_floating(leaf) else 0.0, part)

    try:
        return jax.tree.map(to_leaves, rates, like)
    except ValueError as error:
        raise ValueError(
            f"{owner}: `{name}` must be a number, or numbers in the structure of the carry "
            f"{describe_tree(like)}, got {describe_tree(rates)}. Pass one per leaf, and 0 for a "
            "leaf that stays as it is."
        ) from error


def fixed(rate: Any, like: Any) -> Any:
    """A rate that broadcasts against `like` and gets no gradient.

    A rate that is an array is a leaf of the cell, like its weights, but it is not trained.
    """
    if np.ndim(rate) == 0:
        return lax.stop_gradient(rate) if isinstance(rate, Array) else rate
    return lax.stop_gradient(lax.expand_dims(jnp.asarray(rate), range(like.ndim - rate.ndim)))


def is_zero(rate: Any) -> bool:
    return isinstance(rate, int | float) and rate == 0


def require_key(owner: str, key: PRNGKeyArray | None, where: str) -> PRNGKeyArray:
    """The key. A missing key in training is an error, as in `eqx.nn.Dropout`."""
    if key is None:
        raise RuntimeError(
            f"{owner}: `key` must be a random key in training, got None. Pass "
            f"`key=jax.random.key(seed)` {where}, or switch to inference with "
            "`eqx.nn.inference_mode(model)`."
        )
    return key


def split(key: PRNGKeyArray | None, num: int) -> Any:
    """`num` keys; all are `None` if there is no key."""
    return num * [None] if key is None else jr.split(key, num)


def drop(array: Array, mask: Bool[Array, "..."] | None, rate: Any) -> Array:
    """Sets entries to zero where a mask is false and scales up the others, if there is a mask."""
    if mask is None:
        return array
    return jnp.where(mask, array / (1 - fixed(rate, array)), 0).astype(array.dtype)
