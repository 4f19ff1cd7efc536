"""The layers of memax and discretax in `linear.py`. Both packages need Python 3.12."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from peers import Model

HEAD = 64  # features per head


def heads_of(steps: int, batch: int, width: int) -> tuple[int, ...]:
    return steps, batch, max(width // HEAD, 1), min(width, HEAD)


def inputs(steps: int, batch: int, width: int) -> jax.Array:
    """The same for every library, with the batch first."""
    return jnp.swapaxes(jr.normal(jr.key(0), (steps, batch, width)), 0, 1)


def memax_lru(steps: int, batch: int, width: int) -> Model:
    from memax.equinox.semigroups.lru import LRU

    model = LRU(recurrent_size=width, hidden_size=width, key=jr.key(1))
    weights, static = eqx.partition(model, eqx.is_inexact_array)
    starts = jnp.zeros(steps, bool)

    def apply(weights: Any, x: jax.Array) -> jax.Array:
        model = eqx.combine(weights, static)
        return jax.vmap(lambda x: model(model.initialize_carry(), (x, starts))[1])(x)

    return Model(apply, weights, (inputs(steps, batch, width),), batch_major=True)


def discretax_lru(steps: int, batch: int, width: int) -> Model:
    from discretax.sequence_mixers.lru import LRUSequenceMixer

    model = LRUSequenceMixer(width, jr.key(1), state_dim=width)
    weights, static = eqx.partition(model, eqx.is_inexact_array)
    apply = lambda weights, x: jax.vmap(lambda x: eqx.combine(weights, static)(x, jr.key(0)))(x)
    return Model(apply, weights, (inputs(steps, batch, width),), batch_major=True)


def memax_delta(steps: int, batch: int, width: int) -> Model:
    from memax.equinox.semigroups.delta import DeltaNet

    _, _, heads, size = heads_of(steps, batch, width)
    model = DeltaNet(size, size, key=jr.key(1))
    weights, static = eqx.partition(model, eqx.is_inexact_array)
    starts = jnp.zeros(steps, bool)

    def apply(weights: Any, x: jax.Array) -> jax.Array:
        model = eqx.combine(weights, static)
        return jax.vmap(lambda x: model(model.initialize_carry(), (x, starts))[1])(x)

    x = jr.normal(jr.key(0), (batch * heads, steps, size))
    return Model(apply, weights, (x,), batch_major=True)


def discretax_delta(steps: int, batch: int, width: int) -> Model:
    from discretax.sequence_mixers.deltanet import DeltaNetSequenceMixer

    model = DeltaNetSequenceMixer(width, jr.key(1), n_heads=heads_of(steps, batch, width)[2])
    weights, static = eqx.partition(model, eqx.is_inexact_array)
    apply = lambda weights, x: jax.vmap(lambda x: eqx.combine(weights, static)(x, jr.key(0)))(x)
    return Model(apply, weights, (inputs(steps, batch, width),), batch_major=True)
