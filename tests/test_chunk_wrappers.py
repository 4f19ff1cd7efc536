"""Wrappers and layers around cells that run in chunks."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from cases_linear import LINEAR
from helpers import assert_close, random_like

import eqx_rnn
from eqx_rnn import RNN, Bidirectional, DropConnect, RecurrentDropout, Residual, Zoneout

BY_NAME = {case.name: case for case in LINEAR}
LRU, HAWK, MIN_GRU = (BY_NAME[name] for name in ("lru", "hawk", "min-gru"))
KEY = jr.key(5)


def by_steps(cell, x, key=None):
    """`(carry, outputs)` of a loop over steps, with the keys that `RNN` gives them."""
    keys = [None] * x.shape[1] if key is None else jr.split(jr.split(key, 3)[1], x.shape[1])
    carry, ys = cell.initialize_carry(None, x[:, 0]), []
    step = eqx.filter_jit(cell)
    for t in range(x.shape[1]):
        carry, y = step(carry, x[:, t], key=keys[t])
        ys.append(y)
    return carry, jnp.stack(ys, 1)


@pytest.mark.parametrize("case", [LRU, MIN_GRU], ids=lambda case: case.name)
@pytest.mark.parametrize("inference", [False, True])
def test_zoneout_in_chunks_and_steps(case, inference):
    cell = Zoneout(case.cell(), 0.3, inference=inference)
    x, key = case.inputs(2, 9), None if inference else KEY
    whole = RNN(cell, chunk_size=4)(x, key=key, return_carry=True)
    assert_close(whole, by_steps(cell, x, key), rtol=1e-11)
    assert "in chunks" in RNN(cell).explain(x[:, 0])


def test_zoneout_keeps_or_mixes_units():
    inner = LRU.cell()
    x, start = LRU.inputs(2, 50), LRU.carry(inner, 2, 50)
    after, _ = inner(start, x)
    zoned, _ = Zoneout(inner, 0.3)(start, x, key=KEY)
    kept = np.asarray(zoned == start)
    np.testing.assert_allclose(zoned, np.where(kept, start, after), rtol=1e-12)
    assert 0.2 < kept.mean() < 0.4
    mean, y = Zoneout(inner, 0.3, inference=True)(start, x)
    np.testing.assert_allclose(mean, 0.3 * start + 0.7 * after, rtol=1e-12)
    np.testing.assert_allclose(y, inner.readout(mean, x), rtol=1e-12)  # of the mixed state
    with pytest.raises(RuntimeError, match="Zoneout: `key` must be a random key"):
        Zoneout(inner, 0.3)(start, x)


def test_zoneout_of_last_inputs_is_an_error():
    cell, x = HAWK.cell(), HAWK.inputs(2, 6)
    with pytest.raises(ValueError, match="Zoneout: `rate` must be 0 for the part `window`"):
        RNN(Zoneout(cell, 0.1))(x, key=KEY)
    rate = eqx_rnn.HawkCarry(eqx_rnn.RGLRUCarry(0.1, 0.0), 0.0)
    zoned = Zoneout(cell, rate)
    result = RNN(zoned, chunk_size=4)(x, key=KEY, return_carry=True)
    assert_close(result, by_steps(zoned, x, KEY), rtol=1e-11)
    assert not np.allclose(result[1], RNN(cell)(x))


def test_residual_and_bidirectional():
    cell, x = LRU.cell(), LRU.inputs(2, 9)
    np.testing.assert_allclose(RNN(Residual(cell))(x), RNN(cell)(x) + x)
    both = Bidirectional(RNN(cell, chunk_size=4), RNN(LRU.cell(seed=1), chunk_size=2))
    lengths = jnp.array([9, 5])
    y = both(x, seq_lengths=lengths)
    forward = RNN(cell)(x, seq_lengths=lengths)
    backward = RNN(LRU.cell(seed=1), reverse=True, keep_order=True)(x, seq_lengths=lengths)
    np.testing.assert_allclose(y, jnp.concatenate([forward, backward], -1), rtol=1e-11)


def test_recurrent_dropout():
    cell, x = LRU.cell(), LRU.inputs(2, 9)
    of_inputs = RecurrentDropout(cell, input_rate=0.5)
    assert "LRUCell runs in chunks" in RNN(of_inputs).explain(x[:, 0])
    carry, y = RNN(of_inputs)(x, key=KEY, return_carry=True)
    masked = jnp.where(carry.masks.inputs[:, None], 2 * x, 0)
    np.testing.assert_allclose(y, RNN(cell)(masked), rtol=1e-11)
    of_state = RecurrentDropout(cell, hidden_rate=0.5)
    assert "plain scan" in RNN(of_state).explain(x[:, 0])
    carry, y = RNN(of_state)(x, key=KEY, return_carry=True)
    mask, h = carry.masks.hidden, jnp.zeros((2, 4), complex)
    for t in range(9):
        h, out = cell(jnp.where(mask, 2 * h, 0), x[:, t])
        np.testing.assert_allclose(y[:, t], out, rtol=1e-11)


def test_drop_connect_of_a_named_weight():
    cell, x = LRU.cell(), LRU.inputs(2, 9)
    dropped = DropConnect(cell, 0.5, name="weight_b")
    begun, _, _ = dropped.begin(dropped.initialize_carry(None, x[:, 0]), key=KEY)
    is_zero = np.asarray(begun.weight_b == 0)
    assert 0 < is_zero.mean() < 1
    np.testing.assert_allclose(begun.weight_b[~is_zero], 2 * cell.weight_b[~is_zero])
    with pytest.raises(ValueError, match="DropConnect: `name` must be"):
        DropConnect(cell, 0.5)


def test_the_plain_scan_gives_the_same_numbers(monkeypatch):
    x = HAWK.inputs(2, 9)
    rnn = RNN(HAWK.cell(), chunk_size=4)
    mask = jnp.asarray(np.random.default_rng(0).random((2, 9)) < 0.6)
    run = lambda: rnn(x, mask=mask, resets=~mask, return_carry="all")
    chunks = run()
    monkeypatch.setenv("EQX_RNN_ENGINE", "plain")
    assert "plain scan" in rnn.explain(x[:, 0])
    assert_close(run(), chunks, rtol=1e-11)


def test_bfloat16_weights_and_a_float32_state():
    cell = LRU.cell(jnp.bfloat16)
    x = LRU.inputs(2, 9, dtype=jnp.bfloat16)
    carry, y = RNN(cell, chunk_size=4)(x, return_carry=True)
    assert (carry.dtype, y.dtype) == (jnp.complex64, jnp.bfloat16)
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), cell)
    expected = RNN(wide)(x.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), expected, atol=0.1)


def test_export_with_symbolic_sizes():
    rnn = RNN(random_like(LRU.cell(jnp.float32), 1, 0.5), time_major=True, check_lengths=False)
    sizes = jax.export.symbolic_shape("time, batch, 3")
    struct = jax.ShapeDtypeStruct(sizes, jnp.float32)
    lengths = jax.ShapeDtypeStruct(sizes[1:2], jnp.int32)
    run = jax.jit(lambda x, n: rnn(x, seq_lengths=n))
    exported = jax.export.export(run)(struct, lengths)
    x, n = LRU.inputs(7, 3, dtype=jnp.float32), jnp.array([7, 0, 4], jnp.int32)
    np.testing.assert_allclose(exported.call(x, n), run(x, n), atol=1e-5)


def test_a_complex_first_carry_is_learned_as_real_arrays():
    """Gradient descent works. JAX's gradient of a complex array is conjugated."""
    cell = eqx_rnn.LearnedCarry(LRU.cell())
    target, x = LRU.inputs(6, seed=9), jnp.zeros((6, 3))

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def loss(initial, cell):
        model = eqx.tree_at(lambda c: c.initial, cell, initial)
        return jnp.mean((RNN(model)(x) - target) ** 2)

    first, initial = None, cell.initial
    for _ in range(100):
        value, gradient = loss(initial, cell)
        first = value if first is None else first
        initial = jax.tree.map(lambda a, d: a - 0.05 * d, initial, gradient)
    assert loss(initial, cell)[0] < 0.99 * first  # and not above it


def test_zoneout_around_a_stack_of_cells_with_chunks():
    inner = LRU.cell()
    stack = eqx_rnn.StackedCell([inner, eqx_rnn.Pointwise(jnp.tanh), LRU.cell(seed=1)])
    zoned, x = Zoneout(stack, 0.2), LRU.inputs(2, 9)
    result = RNN(zoned, chunk_size=4)(x, key=KEY, return_carry=True)
    assert_close(result, by_steps(zoned, x, KEY), rtol=1e-11)


class Counters(eqx_rnn.ChunkCell):
    """Two equal counters, whose difference only has a meaning if both are kept."""

    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return Both(jnp.zeros(sample_input.shape), jnp.zeros(sample_input.shape))

    def chunk(self, carry, inputs, time):
        one = jnp.ones_like(inputs)
        (a, x), (b, y) = (time.linear(part, 1.0, one) for part in carry)
        return Both(a, b), x - y


class Both(NamedTuple):
    a: Any
    b: Any

    def mix(self, other, share):
        return jax.tree.map(lambda x, y: share * x + (1 - share) * y, self, other)


def test_zoneout_keeps_a_mixable_part_as_a_whole():
    cell = Zoneout(Counters(), 0.5)
    x = jnp.zeros((2, 9, 3))
    carry, y = RNN(cell)(x, key=KEY, return_carry=True)
    assert not np.any(y)
    assert 0 < np.min(carry.a) < 9
    with pytest.raises(ValueError, match="Zoneout: `rate` must be 0 at inference"):
        RNN(eqx.nn.inference_mode(cell))(x)


@pytest.mark.parametrize("options", [{}, {"truncate": 2}], ids=str)
def test_export_of_gradients_with_a_symbolic_time_axis(options):
    rnn = RNN(random_like(HAWK.cell(jnp.float32), 1, 0.5), time_major=True, **options)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(rnn(x) ** 2)))
    struct = jax.ShapeDtypeStruct(jax.export.symbolic_shape("time, 2, 3"), jnp.float32)
    x = HAWK.inputs(6, 2, dtype=jnp.float32)
    exported = jax.export.export(gradient)(struct)
    np.testing.assert_allclose(exported.call(x), gradient(x), rtol=1e-4, atol=1e-5)
