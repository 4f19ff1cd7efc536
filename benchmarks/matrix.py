"""The programs of `linear.py` whose state is a matrix per head, or several states per feature.

- `S6`: the core of Mamba, with 16 states per feature.
- `SSD`: the core of Mamba-2, with heads of 64 features and 64 states.
- `DeltaNet`: a layer with the delta rule, with heads of 64 keys and values: projections, unit
  queries and keys, the rule, and a projection of the outputs.

memax's DeltaNet has one head. It gets the heads as rows of the batch.
"""

from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
import jax.random as jr
from linear_peers import HEAD, heads_of
from peers import Model

import eqx_rnn

STATES = 16


def run(cell: eqx_rnn.RNNCellBase, *inputs: jax.Array, **options: Any) -> Model:
    """A cell, with its inputs joined."""
    rnn = eqx_rnn.RNN(cell, time_major=True, **options)
    weights, static = eqx.partition(rnn, eqx.is_array)
    apply = lambda weights, x: eqx.combine(weights, static)(x)
    joined = jnp.concatenate([a.reshape(*a.shape[:2], -1) for a in inputs], axis=-1)
    return Model(apply, weights, (joined,))


def s6_inputs(steps: int, batch: int, width: int) -> tuple[jax.Array, ...]:
    """C, B, u and dt before the softplus."""
    keys = jr.split(jr.key(0), 4)
    sizes = STATES, STATES, width, width
    c, b, u, dt = (jr.normal(k, (steps, batch, n)) for k, n in zip(keys, sizes, strict=True))
    return c, b, u, dt - 3


def s6_weights(width: int) -> tuple[jax.Array, jax.Array]:
    """The logarithm of -A, and the skip."""
    return jnp.log(jnp.broadcast_to(jnp.arange(1.0, STATES + 1), (width, STATES))), jnp.ones(width)


def ours_s6(steps: int, batch: int, width: int, **options: Any) -> Model:
    cell = eqx_rnn.SelectiveSSMCell(width, state_size=STATES, key=jr.key(0))
    zero = lambda c: [c.log_a, c.skip, c.dt_bias]
    cell = eqx.tree_at(zero, cell, [*s6_weights(width), jnp.zeros(width)])
    return run(cell, *s6_inputs(steps, batch, width), **options)


def s6_coefficients(log_a: jax.Array, b: jax.Array, u: jax.Array, dt: jax.Array) -> Any:
    d = jax.nn.softplus(dt)
    return jnp.exp(-d[..., None] * jnp.exp(log_a)), (d * u)[..., None] * b[..., None, :]


def s6_scan(steps: int, batch: int, width: int) -> Model:
    """One step after another, which makes its coefficients."""

    def apply(weights: Any, *inputs: jax.Array) -> jax.Array:
        log_a, skip = weights

        def step(h: jax.Array, xs: Any) -> tuple[jax.Array, jax.Array]:
            c, b, u, dt = xs
            decay, new = s6_coefficients(log_a, b, u, dt)
            h = decay * h + new
            return h, jnp.sum(h * c[:, None], -1) + skip * u

        return lax.scan(step, jnp.zeros((batch, width, STATES)), inputs)[1]

    return Model(apply, s6_weights(width), s6_inputs(steps, batch, width))


def s6_associative(steps: int, batch: int, width: int) -> Model:
    def apply(weights: Any, c: jax.Array, b: jax.Array, u: jax.Array, dt: jax.Array) -> jax.Array:
        combine = lambda x, y: (x[0] * y[0], y[0] * x[1] + y[1])
        pair = s6_coefficients(weights[0], b, u, dt)
        h = lax.associative_scan(combine, pair)[1]
        return jnp.einsum("tbdn,tbn->tbd", h, c) + weights[1] * u

    return Model(apply, s6_weights(width), s6_inputs(steps, batch, width))


def ssd_inputs(*sizes: int) -> tuple[jax.Array, ...]:
    """Queries, keys, values, and the logarithms of decays."""
    shape = heads_of(*sizes)
    *qkv, g = (jr.normal(k, shape) / 8 for k in jr.split(jr.key(0), 4))
    return *qkv, -jax.nn.softplus(-8 * g[..., :1] - 3)


def ours_ssd(*sizes: int, **options: Any) -> Model:
    _, _, heads, size = heads_of(*sizes)
    return run(eqx_rnn.SSDCell(heads, size, size), *ssd_inputs(*sizes), **options)


def ssd_scan(*sizes: int) -> Model:
    """One step after another, which carries the matrices."""

    def apply(_: Any, *inputs: jax.Array) -> jax.Array:
        def step(state: jax.Array, xs: Any) -> tuple[jax.Array, jax.Array]:
            q, k, v, g = xs
            state = jnp.exp(g)[..., None] * state + k[..., :, None] * v[..., None, :]
            return state, jnp.einsum("bhk,bhkv->bhv", q, state)

        _, batch, heads, size = heads_of(*sizes)
        return lax.scan(step, jnp.zeros((batch, heads, size, size)), inputs)[1]

    return Model(apply, (), ssd_inputs(*sizes))


class DeltaLayer(eqx_rnn.ChunkCell):
    """A layer as in memax and discretax, without norms or convolutions."""

    weight_ih: jax.Array
    weight_out: jax.Array
    core: eqx_rnn.DeltaNetCoreCell

    num_feature_dims = 1

    def initialize_carry(self, key: Any, sample_input: Any) -> jax.Array:
        core = self.core
        shape = core.num_heads, core.key_size, core.value_size
        return jnp.zeros((*sample_input.shape[:-1], *shape))

    def chunk(self, carry: Any, inputs: jax.Array, time: eqx_rnn.Time) -> Any:
        heads = self.core.num_heads
        projected = eqx_rnn.project(self.weight_ih, inputs)
        *qkv, beta = jnp.split(projected, [n * inputs.shape[-1] for n in (1, 2, 3)], axis=-1)
        q, k, v = (a.reshape(*a.shape[:-1], heads, -1) for a in qkv)
        unit = lambda a: a / (jnp.linalg.norm(a, axis=-1, keepdims=True) + 1e-6)
        beta = jnp.broadcast_to(jax.nn.sigmoid(beta)[..., None], (*beta.shape[:-1], heads, 1))
        carry, y = self.core.advance(carry, unit(q), unit(k), v, beta, time)
        return carry, eqx_rnn.project(self.weight_out, y.reshape(*y.shape[:-2], -1))


def delta_layer(width: int) -> DeltaLayer:
    keys = jr.split(jr.key(1))
    rows = jr.normal(keys[0], (3 * width + 1, width)) / width**0.5
    heads, size = max(width // HEAD, 1), min(width, HEAD)
    core = eqx_rnn.DeltaNetCoreCell(heads, size, size, scale=1.0)
    return DeltaLayer(rows, jr.normal(keys[1], (width, width)) / width**0.5, core)


def delta_inputs(*sizes: int) -> jax.Array:
    return jr.normal(jr.key(0), sizes)


def ours_delta(*sizes: int, **options: Any) -> Model:
    return run(delta_layer(sizes[-1]), delta_inputs(*sizes), **options)


def delta_scan(*sizes: int) -> Model:
    """A user's own `lax.scan` of the same layer."""
    cell = delta_layer(sizes[-1])
    weights, static = eqx.partition(cell, eqx.is_array)

    def apply(weights: Any, x: jax.Array) -> jax.Array:
        cell = eqx.combine(weights, static)
        return lax.scan(lambda h, x: cell(h, x), cell.initialize_carry(None, x[0]), x)[1]

    return Model(apply, weights, (delta_inputs(*sizes),))
