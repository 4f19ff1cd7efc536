import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from cases import CASES
from helpers import EXACT

import eqx_rnn

BY_NAME = {case.name: case for case in CASES}
LSTM = BY_NAME["lstm"]
LENGTHS = np.array([4, 0, 6])
RESETS = np.random.default_rng(5).random((3, 6)) < 0.4
HOLES = np.random.default_rng(6).random((3, 6)) < 0.6


def make(case, merge="concat", **options):
    cells = case.cell(seed=10), case.cell(seed=20)
    rnns = (eqx_rnn.RNN(cell, **options) for cell in cells)
    return eqx_rnn.Bidirectional(*rnns, merge), cells


@pytest.mark.parametrize("name", ["lstm", "gru", "conv-lstm-2d"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_equals_two_loops(name, lengths):
    case = BY_NAME[name]
    module, (forward, backward) = make(case)
    xs = case.inputs(3, 6)
    start = case.carry(forward, 3, seed=1), case.carry(backward, 3, seed=2)
    carry, ys = module(xs, initial_carry=start, seq_lengths=lengths, return_carry=True)
    ahead = reference.run(case, forward, xs, carry=start[0], seq_lengths=lengths)
    back = reference.run(
        case, backward, xs, carry=start[1], seq_lengths=lengths, reverse=True, keep_order=True
    )
    np.testing.assert_allclose(ys, np.concatenate([ahead[1], back[1]], -1), **EXACT)
    for leaf, value in zip(jax.tree.leaves(carry), ahead[0] + back[0], strict=True):
        np.testing.assert_allclose(leaf, value, **EXACT)


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        ("concat", lambda a, b: np.concatenate([a, b], -1)),
        ("sum", np.add),
        ("mul", np.multiply),
        ("ave", lambda a, b: 0.5 * a + 0.5 * b),
        (jnp.maximum, np.maximum),
    ],
)
def test_merge(merge, expected):
    xs = LSTM.inputs(3, 6)
    forward, backward = make(LSTM, None)[0](xs)
    np.testing.assert_allclose(make(LSTM, merge)[0](xs), expected(forward, backward), **EXACT)


@pytest.mark.parametrize("steps", ["full", "lengths", "holes"])
def test_resets_bound_both_directions(steps):
    """The outputs of an episode do not depend on the rest of the sequence."""
    module, _ = make(LSTM)
    xs = LSTM.inputs(3, 6)
    options = {"full": {}, "lengths": {"seq_lengths": LENGTHS}, "holes": {"mask": HOLES}}[steps]
    valid = {
        "full": np.ones((3, 6), bool),
        "lengths": np.arange(6) < LENGTHS[:, None],
        "holes": HOLES,
    }[steps]
    ys = module(xs, resets=RESETS, **options)
    expected = np.zeros(ys.shape)
    for b in range(3):
        for episode in reference.episodes(RESETS[b], valid[b]):
            expected[b, episode] = module(xs[b, episode])
    np.testing.assert_allclose(ys, expected, **EXACT)


def test_resets_keep_the_given_carry_of_the_first_and_last_episode():
    module, (forward, backward) = make(LSTM)
    xs = LSTM.inputs(3, 6)
    start = LSTM.carry(forward, 3, seed=1), LSTM.carry(backward, 3, seed=2)
    resets = np.zeros((3, 6), bool)
    resets[:, 3] = True
    ys = module(xs, initial_carry=start, resets=resets)
    ahead = eqx_rnn.RNN(forward)(xs[:, :3], initial_carry=start[0])
    back = eqx_rnn.RNN(backward, reverse=True, keep_order=True)(xs[:, 3:], initial_carry=start[1])
    np.testing.assert_allclose(ys[:, :3, :4], ahead, **EXACT)
    np.testing.assert_allclose(ys[:, 3:, 4:], back, **EXACT)


def test_time_major_vmap_and_jit():
    xs = LSTM.inputs(3, 6)
    module, _ = make(LSTM)
    expected = module(xs, seq_lengths=LENGTHS, resets=RESETS)
    major, _ = make(LSTM, time_major=True)
    ys = major(jnp.moveaxis(xs, 1, 0), seq_lengths=LENGTHS, resets=RESETS.T)
    np.testing.assert_allclose(jnp.moveaxis(ys, 0, 1), expected, **EXACT)
    single = lambda x, n, r: module(x, seq_lengths=n, resets=r)
    np.testing.assert_allclose(jax.vmap(single)(xs, LENGTHS, RESETS), expected, **EXACT)
    jitted = eqx.filter_jit(module)(xs, seq_lengths=LENGTHS, resets=RESETS)
    np.testing.assert_allclose(jitted, expected, **EXACT)


def test_sequential_and_key():
    module, _ = make(LSTM)
    model = eqx.nn.Sequential([module])
    xs = LSTM.inputs(3, 6)
    np.testing.assert_allclose(model(xs, key=jax.random.key(0)), module(xs), **EXACT)


def test_an_already_reversed_backward_rnn_is_the_same():
    module, (forward, backward) = make(LSTM)
    same = eqx_rnn.Bidirectional(eqx_rnn.RNN(forward), eqx_rnn.RNN(backward, reverse=True))
    xs = LSTM.inputs(3, 6)
    np.testing.assert_array_equal(same(xs), module(xs))
