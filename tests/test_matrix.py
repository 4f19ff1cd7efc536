"""`Time.matrix` in blocks gives the numbers of its definition, step by step."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_chunk_cells as chunks
from helpers import random_like
from test_chunk_cells import BATCH, CLOSE, MASKS, STEPS, assert_same

import eqx_rnn
from eqx_rnn import RNN
from eqx_rnn._time.inverse import inverse

HEADS, K, V = 2, 3, 2
SIZES = [K, K, V, K, K]


class Memory(eqx_rnn.ChunkCell):
    """A matrix state. Its inputs are all arguments of the verb, joined per head."""

    per_channel: bool = eqx.field(static=True, default=False)
    erases: bool = eqx.field(static=True, default=False)
    read: str = eqx.field(static=True, default="after")
    weight: jax.Array = eqx.field(default=1.0, converter=jnp.asarray)

    num_feature_dims = 1
    size = HEADS * (sum(SIZES) + K)

    def initialize_carry(self, key, sample_input):
        return jnp.zeros((*sample_input.shape[:-1], HEADS, K, V), sample_input.dtype)

    def chunk(self, carry, inputs, time):
        heads = (self.weight * inputs).reshape(*inputs.shape[:-1], HEADS, -1)
        q, k, v, g, a, b = jnp.split(heads, np.cumsum(SIZES), axis=-1)
        g = -jnp.abs(g if self.per_channel else g[..., :1])
        erase = (a, b) if self.erases else None
        new, y = time.matrix(carry, q, k, v, g, erase, self.read)
        return new, y.reshape(*y.shape[:-2], -1)


VARIANTS = {
    "head": dict(),
    "head-erase-before": dict(erases=True, read="before"),
    "channel-erase": dict(per_channel=True, erases=True),
}


def inputs(*leading, seed=2, dtype=float):
    return random_like(jax.ShapeDtypeStruct((*leading, Memory.size), dtype), seed)


def by_definition(cell, x, state=None):
    """NumPy, in float64, one sequence."""
    state = np.zeros((HEADS, K, V)) if state is None else state
    outputs = []
    for row in np.asarray(x, np.float64):
        q, k, v, g, a, b = np.split(row.reshape(HEADS, -1), np.cumsum(SIZES), axis=-1)
        decay = np.exp(-np.abs(g if cell.per_channel else g[:, :1]))
        old, new = state, []
        for h in range(HEADS):
            erased = np.outer(b[h], a[h] @ old[h]) if cell.erases else 0
            new.append(decay[h][:, None] * old[h] + np.outer(k[h], v[h]) - erased)
        state = np.stack(new)
        read = old if cell.read == "before" else state
        outputs.append(np.concatenate([q[h] @ read[h] for h in range(HEADS)]))
    return state, np.stack(outputs)


@pytest.mark.parametrize("name", VARIANTS)
def test_blocks_and_steps_agree(name, monkeypatch):
    """In several blocks per chunk, with a remainder; values and all gradients."""
    monkeypatch.setattr("eqx_rnn._time.matrix.BLOCK", 4)
    monkeypatch.setattr("eqx_rnn._time.matrix.CHANNEL_BLOCK", 4)
    weight = random_like(jax.ShapeDtypeStruct((Memory.size,), float), 4, 0.5)
    cell = Memory(**VARIANTS[name], weight=weight)
    cell = eqx_rnn.LearnedCarry(cell, jax.ShapeDtypeStruct((cell.size,), float))
    cell = eqx.tree_at(lambda c: c.initial, cell, random_like(cell.initial, 7, 0.5))
    x = inputs(STEPS, BATCH)
    carry = random_like(jax.eval_shape(lambda: cell.initialize_carry(None, x[0])), 9, 0.5)
    for reverse in (False, True):
        definition = chunks.with_gradients(functools.partial(chunks.step_by_step, reverse=reverse))
        ours = functools.partial(chunks.in_chunks, reverse=reverse)
        blocks, steps = chunks.with_gradients(ours), eqx.filter_jit(ours)
        for masks in MASKS.values():
            wanted = definition(cell, carry, x, *masks)
            assert_same(blocks(cell, carry, x, *masks), wanted)
            assert_same(steps(cell, carry, x, *masks), wanted[0][1])


@pytest.mark.parametrize("name", VARIANTS)
def test_steps_are_the_definition(name):
    cell = Memory(**VARIANTS[name])
    x = inputs(STEPS)
    state, outputs = by_definition(cell, x)
    for scan in ("sequential", "associative"):
        carry, y = RNN(cell, scan=scan)(x, return_carry=True)
        np.testing.assert_allclose(carry, state, **CLOSE)
        np.testing.assert_allclose(y, outputs, **CLOSE)


@pytest.mark.parametrize("scale", [0.0, 30.0, np.inf])
@pytest.mark.parametrize("per_channel", [False, True])
def test_decays_of_any_strength(per_channel, scale):
    """In float32, where sums of large logarithms would be inexact."""
    cell = Memory(per_channel, erases=True)
    x = np.array(0.3 * inputs(100), np.float32)
    gates = slice(sum(SIZES[:3]), sum(SIZES[:3]) + K)
    strong = np.random.default_rng(1).random((100, 1, 1)) < 0.5
    by_head = x.reshape(100, HEADS, -1)
    by_head[..., gates] = np.where(strong, scale, 0.01)
    _, outputs = by_definition(cell, x)
    rnn = RNN(cell, scan="associative")
    np.testing.assert_allclose(rnn(jnp.asarray(x)), outputs, rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda x: jnp.sum(rnn(x) ** 2))(jnp.asarray(x))
    rest = np.delete(np.asarray(gradient).reshape(100, HEADS, -1), gates, axis=-1)
    assert np.all(np.isfinite(rest))


@pytest.mark.nan
@pytest.mark.parametrize("name", VARIANTS)
def test_nan_moves_forward_only_and_ends_at_a_reset(name):
    cell, x = Memory(**VARIANTS[name]), inputs(STEPS)
    resets = jnp.zeros(STEPS, bool).at[9].set(True)
    run = lambda x, **options: RNN(cell, **options)(x, resets=resets, return_carry=True)
    carry, clean = run(x)
    spoiled = x.at[4].set(jnp.nan)
    for scan in ("sequential", "associative"):
        final, y = run(spoiled, scan=scan)
        assert np.all(np.isnan(y[5:9]))
        for part in (slice(0, 4), slice(9, None)):
            np.testing.assert_allclose(y[part], clean[part], **CLOSE)
        np.testing.assert_allclose(final, carry, **CLOSE)
    only_query = x.reshape(STEPS, HEADS, -1).at[4, :, :K].set(jnp.nan).reshape(x.shape)
    _, y = run(only_query, scan="associative")
    assert np.all(np.isnan(y[4]))
    np.testing.assert_allclose(np.delete(y, 4, 0), np.delete(clean, 4, 0), **CLOSE)


class Own(eqx_rnn.ChunkCell):
    """A cell that passes arguments of other shapes."""

    function: object = eqx.field(static=True)
    shape: tuple = eqx.field(static=True)

    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return jnp.zeros((*sample_input.shape[:-1], *self.shape), sample_input.dtype)

    def chunk(self, carry, inputs, time):
        return self.function(carry, inputs, time)


@pytest.mark.parametrize("heads", [(), (2,), (2, 3)])
def test_any_number_of_heads_and_constant_arguments(heads):
    x = inputs(2, 9)[..., :3]
    key = random_like(jax.ShapeDtypeStruct((*heads, 3), float), 1)
    shared = (1,) * len(heads)

    def function(carry, inputs, time):
        by_head = inputs.reshape(*inputs.shape[:-1], *shared, 3)
        return time.matrix(carry, by_head, key, by_head[..., :2], -0.1)

    def explicit(carry, inputs, time):
        full = jnp.broadcast_to(
            inputs.reshape(*inputs.shape[:-1], *shared, 3), (*inputs.shape[:-1], *heads, 3)
        )
        keys = jnp.broadcast_to(key, full.shape)
        return time.matrix(carry, full, keys, full[..., :2], jnp.full_like(full[..., :1], -0.1))

    for scan in ("sequential", "associative"):
        y = RNN(Own(function, (*heads, 3, 2)), scan=scan, chunk_size=4)(x)
        assert y.shape == (2, 9, *heads, 2)
        expected = RNN(Own(explicit, (*heads, 3, 2)), chunk_size=1)(x)
        np.testing.assert_allclose(y, expected, **CLOSE)


MISTAKES = {
    "key": (lambda s, x, time: time.matrix(s, x, x[..., :2], x, 0.0), "`key` must be"),
    "value": (lambda s, x, time: time.matrix(s, x, x, x, 0.0), "`value` must be"),
    "log_decay": (
        lambda s, x, time: time.matrix(s, x, x, x[..., :2], jnp.zeros((5, 1, 1))),
        "`log_decay` must be",
    ),
    "erase": (
        lambda s, x, time: time.matrix(s, x, x, x[..., :2], 0.0, (x, x[:2])),
        r"`erase\[1\]` must be",
    ),
    "pair": (lambda s, x, time: time.matrix(s, x, x, x[..., :2], 0.0, x), "`erase` must be"),
    "complex": (lambda s, x, time: time.matrix(s, x, 1j * x, x[..., :2], 0.0), "must be real"),
    "state": (lambda s, x, time: time.matrix(x, x, x, x, 0.0), "must be a part of the carry"),
    "read": (
        lambda s, x, time: time.matrix(s, x, x, x[..., :2], 0.0, read="first"),
        "`read` must be",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    function, text = MISTAKES[name]
    with pytest.raises((TypeError, ValueError), match=text):
        RNN(Own(function, (3, 2)), time_major=True)(inputs(7, 2)[..., :3])


def test_a_state_without_axes_for_keys_and_values():
    rnn = RNN(Own(lambda s, x, time: time.matrix(s, x, x, x, 0.0), (3,)), time_major=True)
    with pytest.raises(ValueError, match="`state` must be floating-point"):
        rnn(inputs(7, 2)[..., :3])


def test_all_states_and_the_states_before():
    def function(carry, x, time):
        new, y = time.matrix(carry, x, x, x[..., :2], -0.1)
        return new, jnp.concatenate([time.before(new).reshape(*x.shape[:-1], -1), y], -1)

    x = inputs(9, 2)[..., :3]
    carries, y = RNN(Own(function, (3, 2)), time_major=True, chunk_size=4)(x, return_carry="all")
    before = y[..., :6].reshape(9, 2, 3, 2)
    assert not np.any(before[0])
    np.testing.assert_allclose(before[1:], carries[:-1], **CLOSE)
    read = jnp.einsum("...k,...kv->...v", x, carries)
    np.testing.assert_allclose(y[..., 6:], read, **CLOSE)


@pytest.mark.parametrize("inference", [False, True])
def test_zoneout_of_matrices(inference):
    cell, x, key = eqx_rnn.Zoneout(Memory(erases=True), 0.4), inputs(2, 9), jax.random.key(5)
    cell = eqx.nn.inference_mode(cell, inference)
    final, y = RNN(cell, chunk_size=4)(x, key=key, return_carry=True)
    keys = jax.random.split(jax.random.split(key, 3)[1], 9)
    carry = cell.initialize_carry(None, x[:, 0])
    for t in range(9):
        carry, out = cell(carry, x[:, t], key=keys[t])
        np.testing.assert_allclose(y[:, t], out, **CLOSE)
    np.testing.assert_allclose(final, carry, **CLOSE)


def test_the_form_depends_on_the_platform_and_on_derivatives():
    """On a GPU, and for gradients, there is no loop over single steps."""
    rnn, x = RNN(Memory(), time_major=True), inputs(40, 2, dtype=jnp.float32)
    functions = {"values": lambda x: rnn(x), "gradients": jax.grad(lambda x: jnp.sum(rnn(x) ** 2))}
    loops = {
        (name, platform): jax.export.export(jax.jit(function), platforms=[platform])(x)
        .mlir_module()
        .count("stablehlo.while")
        for name, function in functions.items()
        for platform in ("cpu", "cuda")
    }
    assert loops.pop(("values", "cpu")) == 1
    assert set(loops.values()) == {0}


def test_export_with_a_symbolic_time_axis():
    rnn = RNN(Memory(erases=True), time_major=True)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(rnn(x) ** 2)))
    shape = jax.export.symbolic_shape(f"time, 2, {Memory.size}")
    exported = jax.export.export(gradient)(jax.ShapeDtypeStruct(shape, jnp.float32))
    x = 0.3 * inputs(6, 2, dtype=jnp.float32)
    np.testing.assert_allclose(exported.call(x), gradient(x), rtol=1e-4, atol=1e-5)


def test_arrays_of_different_ranks_are_not_combined():
    rnn, x = RNN(Memory(per_channel=True, erases=True)), inputs(3, 9)
    resets = jnp.zeros((3, 9), bool).at[0, 3].set(True)
    loss = lambda x: jnp.sum(rnn(x, seq_lengths=jnp.array([9, 4, 0]), resets=resets) ** 2)
    with jax.numpy_rank_promotion("raise"):
        assert np.any(jax.jit(jax.grad(loss))(x))


@pytest.mark.parametrize("size", [1, 5, 12])
def test_the_inverse_of_a_triangular_matrix(size):
    """Also if its powers are large, as for equal keys."""
    random = np.tril(np.random.default_rng(0).normal(size=(2, size, size)), -1) / np.sqrt(size)
    equal = np.tril(np.ones((1, size, size)), -1)
    lower = jnp.asarray(np.concatenate([random, equal]), jnp.float32)
    wanted = np.linalg.inv(np.eye(size) + np.asarray(lower, np.float64))
    np.testing.assert_allclose(inverse(lower), wanted, atol=2e-5)
    product = lambda a: jnp.sum(inverse(jnp.tril(a, -1)) ** 2)
    solved = lambda a: jnp.sum(jnp.linalg.inv(jnp.eye(size) + jnp.tril(a, -1)) ** 2)
    a = jnp.asarray(random)
    gradient = lambda function: jax.jit(jax.grad(function))(a)
    np.testing.assert_allclose(gradient(product), gradient(solved), **CLOSE)
