"""A block of steps of a matrix state, by products of matrices.

With G_t the sum of the logarithms of the decays up to step t, and without erasing,

    S_t = exp(G_t) S_0 + sum_{s <= t} exp(G_t - G_s) key_s value_s^T

so the outputs are

    y_t = exp(G_t) (query_t^T S_0) + sum_{s <= t} exp(G_t - G_s) (query_t . key_s) value_s

The part that a step erases, `read_t^T S_{t-1} = u_t`, has the same form with the sum over s < t,
and contains the earlier `u_s`. So all of them solve one triangular system.

All exponents are sums of logarithms of decays, at most 0. They are added up per pair of steps: a
difference of two long sums would be inexact.
"""

import functools
from typing import NamedTuple

import jax
import jax.lax as lax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .inverse import inverse


class Inputs(NamedTuple):
    """The arguments of all steps, `(steps, *batch, heads, size)`, or the steps on axis -2."""

    query: Array
    key: Array
    value: Array
    log_decay: Array
    erase: tuple[Array, ...]  # `(read, write)`, or empty


def block(
    state: Array, first: Array, x: Inputs, valid: Array | None, resets: Array | None, before: bool
) -> tuple[Array, Array]:
    """The state after the block, and the outputs of its steps.

    **Arguments:**

    - `state`, `first`: `(*batch, heads, key, value)`, the latter after a reset.
    - `x`: arrays `(*batch, heads, steps, size)`.
    - `valid`, `resets`: `(*batch, 1, steps)`.
    - `before`: whether a step reads the state before it.
    """
    steps = x.query.shape[-2]
    # A product with zero would carry NaN from one step or segment to others. So steps with NaN are
    # left out, and what depends on them is marked at the end.
    x = x._replace(log_decay=jnp.maximum(x.log_decay, _least_log(x.log_decay.dtype)))
    is_bad = jax.tree.map(lambda a: ~jnp.isfinite(a).all(-1), x)
    q, k, v, g, erase = jax.tree.map(lambda a, b: jnp.where(b[..., None], 0, a), x, is_bad)
    bad = functools.reduce(jnp.logical_or, jax.tree.leaves(is_bad[1:]))
    bad_now = ~jnp.isfinite(state).all((-2, -1))[..., None]
    state = jnp.where(bad_now[..., None], 0, state)

    # Whether step s comes before step t or is it, and whether no reset came before step t.
    earlier = _spread(np.tril(np.ones((steps, steps), bool)), state.ndim)
    old = _spread(np.ones(steps, bool), state.ndim - 1)
    if resets is not None:
        segment = jnp.cumsum(resets, -1)
        earlier = earlier & (segment[..., :, None] == segment[..., None, :])
        old = segment == 0
    if valid is not None:
        earlier = earlier & valid[..., None, :]
        g = jnp.where(valid[..., None], g, 0)
    strictly = earlier & _spread(~np.eye(steps, dtype=bool), state.ndim)
    reached = strictly if before else earlier

    total = _exact(jnp.where(earlier, 1, 0).astype(g.dtype), g)  # since the start or a reset
    between = _between(g, steps)
    exponent = {"to": (total, between), "before": (total - g, between - g[..., :, None, :])}

    def carried(a: Array, up: str) -> Array:
        a = a * jnp.exp(exponent[up][0])
        return a @ state if resets is None else jnp.where(old[..., None], a @ state, a @ first)

    def pairs(a: Array, b: Array, up: str, mask: Array) -> Array:
        decay = jnp.exp(jnp.where(mask[..., None], exponent[up][1], -jnp.inf))
        if decay.shape[-1] == 1:
            return (a @ jnp.swapaxes(b, -1, -2)) * decay[..., 0]
        return jnp.sum(a[..., :, None, :] * b[..., None, :, :] * decay, axis=-1)

    up = "before" if before else "to"
    left = jnp.exp(jnp.where(earlier[..., -1, :, None], between[..., -1, :, :], -jnp.inf))
    start = state if resets is None else jnp.where(old[..., -1:, None], state, first)
    output = carried(q, up) + pairs(q, k, up, reached) @ v
    decayed = jnp.swapaxes(jnp.exp(total[..., -1:, :]), -1, -2) * start
    new = decayed + jnp.swapaxes(k * left, -1, -2) @ v
    if erase:
        read, write = erase
        erased = carried(read, "before") + pairs(read, k, "before", strictly) @ v
        erased = inverse(pairs(read, write, "before", strictly)) @ erased
        output = output - pairs(q, write, up, reached) @ erased
        new = new - jnp.swapaxes(write * left, -1, -2) @ erased

    spoiled = (reached & bad[..., None, :]).any(-1) | (old & bad_now) | is_bad.query
    lost = (earlier[..., -1, :] & bad).any(-1) | (old[..., -1] & bad_now[..., 0])
    output = jnp.where(spoiled[..., None], jnp.nan, output)
    return jnp.where(lost[..., None, None], jnp.nan, new), output


def _spread(a: np.ndarray, rank: int) -> Array:
    """`a` with more axes in front, because JAX can be told to reject arrays of different ranks."""
    return lax.expand_dims(jnp.asarray(a), range(rank - a.ndim))


def _exact(a: Array, b: Array) -> Array:
    """A product in full precision, which exponents need."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _between(g: Array, steps: int) -> Array:
    """The sum of `g` over the steps after s, up to t, at `[..., t, s, :]`."""
    t, s, r = np.ogrid[:steps, :steps, :steps]
    inside = ((s < r) & (r <= t)).reshape(steps * steps, steps)
    sums = _exact(_spread(inside.astype(g.dtype), g.ndim), g)
    return sums.reshape(*g.shape[:-2], steps, steps, g.shape[-1])


def _least_log(dtype: jnp.dtype) -> float:
    """The logarithm of a number that is rounded to zero. Smaller ones give zero, too."""
    return float(np.log(float(jnp.finfo(dtype).smallest_subnormal))) - 1
