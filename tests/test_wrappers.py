"""Wrappers in training. The table of cases has them at inference."""

import cases
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles_wrappers
import pytest
from cases import weights
from helpers import EXACT, assert_close, random_like
from plain_cell import PlainCell
from test_engine import OPTIONS, fast_scan

import eqx_rnn
from eqx_rnn import (
    DropConnect,
    LearnedCarry,
    LSTMCarry,
    RecurrentDropout,
    Residual,
    Zoneout,
)
from eqx_rnn._scan import Steps, plain

INNER = {case.name: case for case in cases.INNER}
LSTM = INNER["lstm"]
KEY = jax.random.key(1)
LENGTHS = np.array([4, 0, 6])
RESETS = np.random.default_rng(5).random((3, 6)) < 0.4

all_inner = pytest.mark.parametrize("inner", INNER)


def start(cell, case, *batch, seed=3):
    """The first carry in training. Its masks are drawn, and its other leaves are random."""
    sample = jax.ShapeDtypeStruct((*batch, *case.features), float)
    carry = cell.initialize_carry(KEY, sample)
    is_float = lambda leaf: eqx.is_inexact_array(leaf)
    floats, others = eqx.partition(carry, is_float)
    return eqx.combine(random_like(floats, seed), others)


@all_inner
def test_one_mask_a_sequence(inner):
    """Compares with the oracle, given the masks in the carry, with lengths and resets."""
    case = INNER[inner]
    cell = RecurrentDropout(case.cell(), 0.4, 0.5)
    xs, carry = case.inputs(3, 6), start(cell, case, 3)
    m_x, m_h = (jax.tree.leaves(tree)[0] for tree in carry.masks)
    assert m_x.shape == (3, *case.features)
    assert m_h.shape == jax.tree.leaves(carry.carry)[0].shape
    assert 0 < np.mean(m_x) < 1
    assert 0 < np.mean(m_h) < 1
    steps = dict(seq_lengths=LENGTHS, resets=RESETS)
    rnn = eqx.filter_jit(eqx_rnn.RNN(cell))
    final, ys = rnn(xs, initial_carry=carry, key=KEY, return_carry=True, **steps)
    assert_close(final.masks, carry.masks)
    step = oracles_wrappers.dropout
    if inner in ("conv-lstm", "plain"):
        step = oracles_wrappers.dropout_of_carry
    for b in range(3):
        state = [np.asarray(leaf[b]) for leaf in jax.tree.leaves(carry.carry)]
        for t in range(LENGTHS[b]):
            if RESETS[b, t]:
                state = [np.zeros_like(leaf) for leaf in state]
            masks = np.asarray(m_x[b]) / 0.6, np.asarray(m_h[b]) / 0.5
            x = np.asarray(xs[b, t])
            state, y = step(case.oracle, weights(cell.cell), state, x, *masks)
            np.testing.assert_allclose(ys[b, t], y, **EXACT)
        for leaf, value in zip(jax.tree.leaves(final.carry), state, strict=True):
            np.testing.assert_allclose(leaf[b], value, **EXACT)


@all_inner
def test_zoneout_keeps_old_units_anew_at_each_step(inner):
    """Each unit is the old one or the new one of the inner cell, with the right frequencies."""
    case, batch = INNER[inner], 60
    cell = case.cell()
    xs, carry = case.inputs(batch, 6), case.carry(cell, batch)
    zoneout = eqx_rnn.RNN(Zoneout(cell, 0.3))
    states, ys = zoneout(xs, initial_carry=carry, key=KEY, return_carry="all")
    before = jax.tree.map(lambda c, s: jnp.concatenate([c[:, None], s[:, :-1]], 1), carry, states)
    new, own_ys = jax.jit(jax.vmap(cell, 1, 1))(before, xs)
    kept = []
    for old, fresh, zoned in zip(*map(jax.tree.leaves, (before, new, states)), strict=True):
        is_old = np.asarray(old == zoned)
        np.testing.assert_allclose(zoned, np.where(is_old, old, fresh), **EXACT)
        kept.append(is_old)
        assert abs(is_old.mean() - 0.3) < 5 * (0.3 * 0.7 / is_old.size) ** 0.5
        assert not np.any(np.all(is_old[:, 1:] == is_old[:, :-1], (0, *range(2, is_old.ndim))))
    if len(kept) == 2:
        assert abs(np.corrcoef(*map(np.ravel, kept))[0, 1]) < 0.2
    # The plain cell returns a difference, which does not follow from the new carry.
    expected = own_ys if inner == "plain" else jax.tree.leaves(states)[0]
    np.testing.assert_allclose(ys, expected, **EXACT)


def linear(key):
    identity = lambda a: a
    return eqx_rnn.SimpleCell(3, 4, activation=identity, dtype=jnp.float64, key=key)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda cell: RecurrentDropout(cell, 0.3, 0.6),
        lambda cell: Zoneout(cell, 0.3),
        lambda cell: DropConnect(cell, 0.4),
        lambda cell: DropConnect(cell, 0.4, "weight_ih"),
    ],
)
def test_inference_is_the_expectation(wrap):
    """Of one step of a linear cell, over many keys."""
    cell = wrap(linear(jax.random.key(0)))
    x, hidden = random_like([jax.ShapeDtypeStruct((n,), float) for n in (3, 4)], 0)

    @jax.jit
    @jax.vmap
    def outputs(key):
        carry = cell.initialize_carry(key, x)
        carry = carry._replace(carry=hidden) if isinstance(cell, RecurrentDropout) else hidden
        begun, carry, _ = cell.begin(carry, key=key)
        return begun(carry, x, key=key)[1]

    draws = np.asarray(outputs(jax.random.split(KEY, 4000)))
    inference = eqx.nn.inference_mode(cell)
    carry = inference.initialize_carry(None, x)
    carry = carry._replace(carry=hidden) if isinstance(cell, RecurrentDropout) else hidden
    error = draws.std(0) / 4000**0.5
    assert np.all(error > 0)
    assert np.all(np.abs(draws.mean(0) - inference(carry, x)[1]) < 5 * error)


@all_inner
def test_drop_connect_drops_the_same_weights_at_all_steps(inner):
    """A weight that is dropped at all steps and in the whole batch has a gradient of zero."""
    case = INNER[inner]
    rnn, xs = eqx_rnn.RNN(DropConnect(case.cell(), 0.4)), case.inputs(3, 6)

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(rnn, key):
        return jnp.sum(jnp.sin(rnn(xs, key=key)))

    first, again, other = (
        np.asarray(gradient(rnn, jax.random.key(seed)).cell.cell.weight_hh) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any((first == 0) != (other == 0))
    dropped = np.mean(np.concatenate([first, other]) == 0)
    assert abs(dropped - 0.4) < 5 * (0.4 * 0.6 / (2 * first.size)) ** 0.5

    cell = rnn.cell.cell
    begun, carry, finish = rnn.cell.begin(case.carry(cell, 3), key=KEY)
    kept = np.asarray(begun.weight_hh != 0)
    masked = jnp.where(kept, cell.weight_hh / 0.6, 0)
    by_hand = eqx_rnn.RNN(eqx.tree_at(lambda c: c.weight_hh, cell, masked))
    expected = by_hand(xs, initial_carry=carry, return_carry=True)
    final, ys = eqx_rnn.RNN(begun)(xs, initial_carry=carry, return_carry=True)
    assert_close((finish(final), ys), expected)


def nested(cell, key=KEY):
    """All wrappers at once, from the innermost to the outermost."""
    cell = RecurrentDropout(Zoneout(DropConnect(cell, 0.3), 0.2), 0.3, 0.4)
    sample = None if cell.num_feature_dims == 1 else jax.ShapeDtypeStruct((4, 2), float)
    if isinstance(cell.cell.cell.cell, PlainCell):
        sample = jax.ShapeDtypeStruct((3,), float)
    return Residual(LearnedCarry(cell, sample, key=key))


@all_inner
def test_inference_and_a_rate_of_zero_need_no_key(inner):
    case = INNER[inner]
    cell, xs = case.cell(), case.inputs(3, 6)
    bare = eqx_rnn.RNN(cell)(xs, seq_lengths=LENGTHS)
    wrapped = (
        eqx.nn.inference_mode(DropConnect(RecurrentDropout(cell, 0.3, 0.4), 0.2)),
        DropConnect(RecurrentDropout(Zoneout(cell, np.float32(0)), 0, 0.0), 0),
    )
    for cell in wrapped:
        np.testing.assert_allclose(eqx_rnn.RNN(cell)(xs, seq_lengths=LENGTHS), bare, **EXACT)


def test_training_mode_again():
    rnn, xs = eqx_rnn.RNN(nested(LSTM.cell())), LSTM.inputs(3, 6)
    inference = eqx.nn.inference_mode(rnn)
    assert_close(inference(xs), inference(xs, key=KEY))
    again = eqx.nn.inference_mode(inference, value=False)
    assert_close(again(xs, key=KEY), rnn(xs, key=KEY))
    assert np.all(rnn(xs, key=KEY) != inference(xs))


@all_inner
def test_engine_equals_plain_scan(inner):
    """Values and gradients of all wrappers at once, with the same keys."""
    case = INNER[inner]
    cell = nested(case.cell())
    carry = start(cell, case, 3)
    xs = case.inputs(6, 3)
    keys = jax.random.split(KEY, 6)
    valid = jnp.asarray(np.arange(6)[:, None] < LENGTHS)
    steps = Steps(valid, jnp.asarray(RESETS.T), keys)

    def value_and_gradients(scan):
        @eqx.filter_jit
        @eqx.filter_value_and_grad
        def loss(args):
            cell, xs, carry = args
            begun, carry, finish = cell.begin(carry, key=KEY)
            initial = begun.initialize_carry(KEY, xs[0])
            final, (_, ys) = scan(begun, carry, xs, initial, steps, **OPTIONS)
            floats = eqx.filter((finish(final), ys), eqx.is_inexact_array)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(floats))

        return loss((cell, xs, carry))

    fast, slow = value_and_gradients(fast_scan), value_and_gradients(plain.scan)
    assert_close(fast, slow)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(fast[1][0]))


@all_inner
def test_pieces_keep_their_masks(inner):
    """Without randomness in the step, later pieces need no key, and another key has no effect."""
    case = INNER[inner]
    cell = Residual(RecurrentDropout(case.cell(), 0.3, 0.4))
    rnn, xs = eqx_rnn.RNN(cell), case.inputs(3, 6)
    final, whole = rnn(xs, resets=RESETS, key=KEY, return_carry=True)
    carry, first = rnn(xs[:, :1], resets=RESETS[:, :1], key=KEY, return_carry=True)
    carry, second = rnn(xs[:, 1:3], initial_carry=carry, resets=RESETS[:, 1:3], return_carry=True)
    carry, third = rnn(
        xs[:, 3:],
        initial_carry=carry,
        resets=RESETS[:, 3:],
        return_carry=True,
        key=jax.random.key(9),
    )
    np.testing.assert_allclose(np.concatenate([first, second, third], 1), whole, **EXACT)
    assert_close(carry, final)
    other = rnn(xs, resets=RESETS, key=jax.random.key(9))
    assert np.mean(other == whole) < 0.1


@all_inner
def test_stepping_by_hand(inner):
    case = INNER[inner]
    cell, xs = RecurrentDropout(case.cell(), 0.3, 0.4), case.inputs(3, 6)
    carry = start(cell, case, 3)
    carries, ys = eqx_rnn.RNN(cell)(xs, initial_carry=carry, return_carry="all")
    for t in range(6):
        carry, y = cell(carry, xs[:, t])
        np.testing.assert_allclose(y, ys[:, t], **EXACT)
        assert_close(carry, jax.tree.map(lambda leaf, t=t: leaf[:, t], carries))


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"checkpoint": 2}, {"truncate": 2}])
def test_jit_and_options_of_rnn(options):
    """All options use the same masks. A reversed run is a run over reversed sequences."""
    cell, xs = RecurrentDropout(LSTM.cell(), 0.3, 0.4), LSTM.inputs(3, 6)
    ys = eqx.filter_jit(eqx_rnn.RNN(cell, **options))(xs, seq_lengths=LENGTHS, key=KEY)
    flipped = eqx_rnn.flip_sequences(xs, LENGTHS) if "reverse" in options else xs
    expected = eqx_rnn.RNN(cell)(flipped, seq_lengths=LENGTHS, key=KEY)
    np.testing.assert_allclose(ys, expected, **EXACT)


def test_vmap_over_keys_and_both_directions():
    xs = LSTM.inputs(6)
    cells = nested(LSTM.cell(seed=1)), nested(LSTM.cell(seed=2))
    module = eqx_rnn.Bidirectional(*map(eqx_rnn.RNN, cells))
    keys = jax.random.split(KEY, 3)
    ys = jax.vmap(lambda key: module(xs, key=key))(keys)
    for y, key in zip(ys, keys, strict=True):
        np.testing.assert_allclose(y, module(xs, key=key), **EXACT)
    assert np.mean(ys[0] == ys[1]) < 0.2


def test_rates_by_leaf():
    """A leaf with rate 0 stays as it is and needs no mask."""
    cell, xs = LSTM.cell(), LSTM.inputs(3, 6)
    rates = LSTMCarry(0.0, 0.5)
    carry = RecurrentDropout(cell, 0.0, rates).initialize_carry(KEY, xs[:, 0])
    assert carry.masks.inputs is carry.masks.hidden.hidden is None
    assert carry.masks.hidden.cell.shape == (3, 3)
    # The recurrent product of an LSTM does not see its cell.
    ys = eqx_rnn.RNN(RecurrentDropout(cell, 0.0, rates))(xs, key=KEY)
    np.testing.assert_allclose(ys, eqx_rnn.RNN(cell)(xs), **EXACT)
    before = LSTM.carry(cell, 3)
    after, y = Zoneout(cell, rates)(before, xs[:, 0], key=KEY)
    new, _ = cell(before, xs[:, 0])
    np.testing.assert_array_equal(after.hidden, new.hidden)
    np.testing.assert_array_equal(y, after.hidden)
    kept = np.asarray(after.cell == before.cell)
    assert 0 < kept.mean() < 1


@pytest.mark.parametrize("rate", [0.3, np.float64(0.3), jnp.float32(0.3)], ids=str)
@pytest.mark.parametrize("is_inference", [False, True], ids=["training", "inference"])
@pytest.mark.parametrize("make", [eqx_rnn.LSTMCell, eqx_rnn.SLSTMCell])
def test_rates_of_any_kind_keep_the_dtype(rate, is_inference, make):
    """Including rates that are wider than the state."""
    cell = Zoneout(make(3, 4, dtype=jnp.bfloat16, key=KEY), rate)
    cell = DropConnect(RecurrentDropout(cell, rate, rate), rate)
    rnn = eqx.nn.inference_mode(eqx_rnn.RNN(cell), value=is_inference)
    run = lambda x: rnn(x, key=KEY, return_carry=True)
    leaves = jax.tree.leaves(jax.eval_shape(run, jax.ShapeDtypeStruct((2, 5, 3), jnp.bfloat16)))
    assert {leaf.dtype for leaf in leaves} <= {jnp.dtype(bool), jnp.dtype(jnp.bfloat16)}


def test_rates_are_not_trained():
    """A number of JAX is a number; an array of rates is a leaf, and gets no gradient."""
    each, number = jnp.array([0.2, 0.3, 0.4]), jnp.array(0.3)
    cell = DropConnect(RecurrentDropout(Zoneout(LSTM.cell(), each), 0.1, each), number)
    assert cell.rate == float(number)
    xs = LSTM.inputs(3, 5)
    for rnn in (eqx_rnn.RNN(cell), eqx.nn.inference_mode(eqx_rnn.RNN(cell))):
        loss = lambda rnn: jnp.sum(rnn(xs, key=KEY) ** 2)
        gradient = eqx.filter_jit(eqx.filter_grad(loss))(rnn).cell
        assert np.any(gradient.cell.cell.cell.weight_hh != 0)
        np.testing.assert_array_equal(gradient.cell.hidden_rate, np.zeros(3))
        np.testing.assert_array_equal(gradient.cell.cell.rate, np.zeros(3))


def test_integers_are_left_alone():
    class Counting(eqx_rnn.RNNCellBase):
        num_feature_dims = property(lambda self: 1)

        def initialize_carry(self, key, sample_input):
            batch = sample_input.shape[:-1]
            return {"n": jnp.zeros(batch, int), "sum": jnp.zeros(batch)}

        def __call__(self, carry, inputs, *, key=None):
            total = carry["sum"] + inputs.sum(-1)
            return {"n": carry["n"] + 1, "sum": total}, total

    sample = jax.ShapeDtypeStruct((3,), float)
    cell = LearnedCarry(RecurrentDropout(Zoneout(Counting(), 0.5), 0.2, 0.5), sample, key=KEY)
    carry, ys = eqx_rnn.RNN(cell)(LSTM.inputs(3, 6), key=KEY, return_carry=True)
    np.testing.assert_array_equal(carry.carry["n"], 6)
    np.testing.assert_array_equal(carry.carry["sum"], ys[:, -1])
    assert jax.tree.leaves(cell.initial) == [0.0]


@all_inner
def test_the_carry_is_learned(inner):
    """It starts at the carry of the inner cell. Its gradient is that of the first carry."""
    case = INNER[inner]
    inside, xs = case.cell(), case.inputs(3, 6)
    cell = LearnedCarry(inside, jax.ShapeDtypeStruct(case.features, float))
    fresh = inside.initialize_carry(None, jax.ShapeDtypeStruct(case.features, float))
    assert_close(cell.initial, fresh)
    cell = eqx.tree_at(lambda c: c.initial, cell, random_like(fresh, 4))

    def loss(initial):
        learned = eqx.tree_at(lambda c: c.initial, cell, initial)
        return jnp.sum(jnp.sin(eqx_rnn.RNN(learned)(xs)))

    def loss_of_carry(initial):
        batch = jax.tree.map(lambda a: jnp.broadcast_to(a, (3, *a.shape)), initial)
        return jnp.sum(jnp.sin(eqx_rnn.RNN(inside)(xs, initial_carry=batch)))

    results = [jax.jit(jax.value_and_grad(f))(cell.initial) for f in (loss, loss_of_carry)]
    assert_close(*results)


@pytest.mark.parametrize(
    ("name", "call", "text"),
    [
        ("RecurrentDropout", lambda x: eqx_rnn.RNN(RecurrentDropout(LSTM.cell(), 0.1))(x), "RNN"),
        (
            "RecurrentDropout",
            lambda x: RecurrentDropout(LSTM.cell(), 0.0, 0.1).initialize_carry(None, x[:, 0]),
            "initialize_carry",
        ),
        ("Zoneout", lambda x: eqx_rnn.RNN(Zoneout(LSTM.cell()))(x), "each step"),
        ("Zoneout", lambda x: Zoneout(LSTM.cell())(LSTM.carry(LSTM.cell(), 3), x[:, 0]), "RNN"),
        ("DropConnect", lambda x: eqx_rnn.RNN(DropConnect(LSTM.cell()))(x), "RNN"),
        (
            "DropConnect",
            lambda x: DropConnect(LSTM.cell())(LSTM.carry(LSTM.cell(), 3), x[:, 0], key=KEY),
            "cell.begin",
        ),
    ],
)
def test_no_key_in_training(name, call, text):
    with pytest.raises(RuntimeError) as raised:
        call(LSTM.inputs(3, 6))
    wanted = [f"{name}: `key` must be", "got None", "jax.random.key(seed)", text, "inference_mode"]
    assert not [part for part in wanted if part not in str(raised.value)]


@pytest.mark.parametrize("between", [lambda cell: cell, LearnedCarry], ids=["", "learned-carry"])
def test_masks_have_no_masks(between):
    inner = between(RecurrentDropout(LSTM.cell(), 0.1, inference=True))
    with pytest.raises(ValueError, match="RecurrentDropout: `cell` must be without another"):
        RecurrentDropout(inner, 0.1)
