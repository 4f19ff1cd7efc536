"""Long sequences: all carries, recomputation, truncated gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from cases import CASES

import eqx_rnn

BY_NAME = {case.name: case for case in CASES}
LSTM = BY_NAME["lstm"]
EXACT = dict(rtol=1e-10, atol=1e-10)
LENGTHS = np.array([9, 0, 11])


class Plain(eqx_rnn.RNNCellBase):
    """The same cell as an `RNNCellBase` only, which runs by the plain scan."""

    cell: eqx_rnn.FactoredCell
    num_feature_dims = property(lambda self: self.cell.num_feature_dims)

    def initialize_carry(self, key, sample_input):
        return self.cell.initialize_carry(key, sample_input)

    def __call__(self, carry, inputs, *, key=None):
        return self.cell(carry, inputs, key=key)


@pytest.fixture(params=["fast", "plain"])
def cell(request):
    return LSTM.cell() if request.param == "fast" else Plain(LSTM.cell())


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("time_major", [False, True])
def test_all_carries(cell, reverse, time_major):
    """The carry after step t is the final carry of the first t + 1 processed steps."""
    xs = LSTM.inputs(3, 5)
    layout = lambda x: jnp.moveaxis(x, 1, 0) if time_major else x
    rnn = eqx_rnn.RNN(cell, reverse=reverse, time_major=time_major)
    carries, ys = rnn(layout(xs), return_carry="all")
    np.testing.assert_array_equal(ys, rnn(layout(xs)))
    for t in range(5):
        piece = xs[:, 4 - t :] if reverse else xs[:, : t + 1]
        expected, _ = reference.run(LSTM, LSTM.cell(), piece, reverse=reverse)
        for leaf, value in zip(jax.tree.leaves(carries), expected, strict=True):
            np.testing.assert_allclose(layout(leaf)[:, t], value, **EXACT)


def test_all_carries_are_held_past_the_end():
    rnn, xs = eqx_rnn.RNN(LSTM.cell()), LSTM.inputs(3, 11)
    carries, _ = rnn(xs, seq_lengths=LENGTHS, return_carry="all")
    final, _ = rnn(xs, seq_lengths=LENGTHS, return_carry=True)
    for leaf, value in zip(carries, final, strict=True):
        np.testing.assert_allclose(leaf[:, -1], value, **EXACT)
        np.testing.assert_array_equal(leaf[0, 8:], np.tile(leaf[0, 8], (3, 1)))
    both = eqx_rnn.Bidirectional(rnn, eqx_rnn.RNN(LSTM.cell(seed=9)))
    (ahead, back), _ = both(xs, seq_lengths=LENGTHS, return_carry="all")
    np.testing.assert_allclose(ahead.cell, carries.cell, **EXACT)
    assert back.cell.shape == carries.cell.shape


@pytest.mark.parametrize("checkpoint", [True, 1, 4, 100])
def test_checkpoint_changes_nothing(cell, checkpoint):
    xs = LSTM.inputs(3, 11)

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def run(rnn):
        carry, ys = rnn(xs, seq_lengths=LENGTHS, return_carry=True)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(carry.cell)

    value, gradient = run(eqx_rnn.RNN(cell))
    again, again_gradient = run(eqx_rnn.RNN(cell, checkpoint=checkpoint))
    np.testing.assert_allclose(again, value, **EXACT)
    leaves = jax.tree.leaves(gradient), jax.tree.leaves(again_gradient)
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_allclose(b, a, **EXACT)


def test_checkpoint_saves_memory():
    """Temporary memory, in bytes, of a training step with 100,000 steps of 64 units, batch 8."""
    cell = eqx_rnn.LSTMCell(4, 64, dtype=jnp.float32, key=jax.random.key(0))
    xs = jax.ShapeDtypeStruct((100_000, 8, 4), jnp.float32)

    def temporary(**options):
        rnn = eqx_rnn.RNN(cell, time_major=True, **options)
        weights, static = eqx.partition(rnn, eqx.is_array)
        loss = lambda weights, xs: jnp.sum(eqx.combine(weights, static)(xs)[-1])
        compiled = jax.jit(jax.grad(loss)).lower(weights, xs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    everything, checkpointed = temporary(), temporary(checkpoint=True)
    assert checkpointed < 1e9
    assert checkpointed < 0.5 * everything


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("truncate", [1, 4, 11])
def test_truncate_cuts_gradients(cell, truncate, reverse):
    """Gradients equal those of a loop over pieces with `stop_gradient` between them."""
    xs, carry = LSTM.inputs(3, 11), LSTM.carry(LSTM.cell(), 3)

    def by_hand(cell, carry):
        rnn, total = eqx_rnn.RNN(cell, reverse=reverse, keep_order=True), 0.0
        starts = range(0, 11, truncate)
        for start in starts:
            stop = min(start + truncate, 11)
            piece = xs[:, 11 - stop : 11 - start] if reverse else xs[:, start:stop]
            carry, ys = rnn(piece, initial_carry=carry, return_carry=True)
            total += jnp.sum(jnp.sin(ys))
            if stop < 11:
                carry = jax.lax.stop_gradient(carry)
        return total + jnp.sum(carry.cell)

    def truncated(cell, carry):
        rnn = eqx_rnn.RNN(cell, truncate=truncate, reverse=reverse, keep_order=True)
        carry, ys = rnn(xs, initial_carry=carry, return_carry=True)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(carry.cell)

    def value_and_gradients(loss):
        both = lambda arguments: loss(*arguments)
        return eqx.filter_jit(eqx.filter_value_and_grad(both))((cell, carry))

    results = map(value_and_gradients, (by_hand, truncated))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, **EXACT)
