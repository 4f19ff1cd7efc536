"""`Time.matrix` in blocks gives the numbers of its definition, step by step."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_like
from test_chunk_cells import BATCH, MASKS, STEPS, assert_same, in_chunks, step_by_step, with_gradients

import eqx_rnn
from eqx_rnn import RNN

HEADS, K, V = 2, 3, 2
NAN = float("nan")


class Memory(eqx_rnn.ChunkCell):
    """A matrix state, with all arguments given by the inputs."""

    per_channel: bool = eqx.field(static=True)
    erases: bool = eqx.field(static=True)
    read: str = eqx.field(static=True)
    weight: jax.Array

    num_feature_dims = 1
    size = HEADS * (5 * K + V)

    def initialize_carry(self, key, sample_input):
        return jnp.zeros((*sample_input.shape[:-1], HEADS, K, V))

    def chunk(self, carry, inputs, time):
        heads = (self.weight * inputs).reshape(*inputs.shape[:-1], HEADS, -1)
        q, k, v, g, a, b = jnp.split(heads, np.cumsum([K, K, V, K, K]), axis=-1)
        g = -jax.nn.softplus(g if self.per_channel else g[..., :1])
        erase = (a, b) if self.erases else None
        new, y = time.matrix(carry, q, k, v, g, erase, self.read)
        return new, y.reshape(*y.shape[:-2], -1)


def memory(per_channel=False, erases=False, read="after", scale=0.5):
    weight = random_like(jax.ShapeDtypeStruct((Memory.size,), float), 4, scale)
    return Memory(per_channel, erases, read, weight)


CELLS = {
    "head": memory(),
    "channel": memory(per_channel=True),
    "head erase": memory(erases=True),
    "channel erase before": memory(per_channel=True, erases=True, read="before"),
    "head before": memory(read="before"),
}


def arguments(cell):
    cell = eqx_rnn.LearnedCarry(cell, jax.ShapeDtypeStruct((cell.size,), float))
    cell = eqx.tree_at(lambda c: c.initial, cell, random_like(cell.initial, 7, 0.5))
    x = random_like(jax.ShapeDtypeStruct((STEPS, BATCH, Memory.size), float), 2)
    carry = random_like(jax.eval_shape(lambda: cell.initialize_carry(None, x[0])), 9, 0.5)
    return cell, carry, x


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("block", [4, 64])
def test_blocks_and_steps_agree(name, block, monkeypatch):
    monkeypatch.setattr("eqx_rnn._time.matrix.BLOCK", block)
    monkeypatch.setattr("eqx_rnn._time.matrix.CHANNEL_BLOCK", block)
    args = arguments(CELLS[name])
    for reverse in (False, True):
        definition = with_gradients(functools.partial(step_by_step, reverse=reverse))
        chunks = with_gradients(functools.partial(in_chunks, reverse=reverse))
        for key, (mask, resets) in MASKS.items():
            wanted = definition(*args, mask, resets)
            assert_same(chunks(*args, mask, resets), wanted)
            in_steps = eqx.filter_jit(functools.partial(in_chunks, reverse=reverse))
            assert_same(in_steps(*args, mask, resets), wanted[0][1])
