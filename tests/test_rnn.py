"""`RNN` against a loop in NumPy, over the whole table of cases, and each rule of its semantics."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from cases import CASES, EACH_CLASS, FEW_CASES
from helpers import EXACT, random_like
from jax.test_util import check_grads

import eqx_rnn

few_cases = pytest.mark.parametrize("case", FEW_CASES, ids=lambda case: case.name)
BY_NAME = {case.name: case for case in CASES}
LSTM = BY_NAME["lstm"]

LENGTHS = np.array([4, 0, 6])
RESETS = np.random.default_rng(5).random((3, 6)) < 0.4
HOLES = np.random.default_rng(6).random((3, 6)) < 0.6


def assert_result(result, expected):
    carry, outputs = result
    expected_carry, expected_outputs = expected
    np.testing.assert_allclose(outputs, expected_outputs, **EXACT)
    for leaf, value in zip(jax.tree.leaves(carry), expected_carry, strict=True):
        np.testing.assert_allclose(leaf, value, **EXACT)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reversed"])
@few_cases
def test_equals_a_loop(case, reverse):
    """With lengths, resets and a given carry, and without options from the cell's own carry."""
    cell = case.cell()
    rnn = eqx.filter_jit(eqx_rnn.RNN(cell, reverse=reverse))
    xs, carry = case.inputs(3, 6), case.carry(cell, 3)
    options = {"seq_lengths": LENGTHS, "resets": RESETS}
    result = rnn(xs, initial_carry=carry, return_carry=True, **options)
    assert_result(result, reference.run(case, cell, xs, carry=carry, reverse=reverse, **options))
    assert_result(rnn(xs, return_carry=True), reference.run(case, cell, xs, reverse=reverse))


@pytest.mark.parametrize("case", EACH_CLASS, ids=lambda case: case.name)
def test_equals_a_loop_over_the_valid_steps(case):
    cell = case.cell()
    xs, carry = case.inputs(3, 6), case.carry(cell, 3)
    rnn = eqx.filter_jit(eqx_rnn.RNN(cell))
    result = rnn(xs, initial_carry=carry, seq_lengths=LENGTHS, return_carry=True)
    assert_result(result, reference.run(case, cell, xs, carry=carry, seq_lengths=LENGTHS))


@few_cases
def test_pieces_equal_the_whole(case):
    """The carry of one call starts the next; resets mean the cell's own carry in each piece."""
    cell = case.cell()
    rnn = eqx.filter_jit(eqx_rnn.RNN(cell))
    xs = case.inputs(3, 6)
    whole_carry, whole = rnn(xs, resets=RESETS, return_carry=True)
    carry, pieces = None, []
    for piece in (slice(0, 1), slice(1, 1), slice(1, 6)):
        carry, ys = rnn(
            xs[:, piece], initial_carry=carry, resets=RESETS[:, piece], return_carry=True
        )
        pieces.append(ys)
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, **EXACT)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), carry, whole_carry)


@few_cases
def test_batch_axes_vmap_and_time_major(case):
    cell = case.cell()
    xs = case.inputs(2, 1, 2, 4)
    lengths = np.array([[[4, 0]], [[2, 3]]])
    expected = reference.run(case, cell, xs, seq_lengths=lengths)
    rnn = eqx_rnn.RNN(cell)
    run = lambda x, n: rnn(x, seq_lengths=n, return_carry=True)
    assert_result(jax.jit(run)(xs, lengths), expected)
    assert_result(jax.jit(jax.vmap(jax.vmap(jax.vmap(run))))(xs, lengths), expected)
    carry, outputs = eqx.filter_jit(eqx_rnn.RNN(cell, time_major=True))(
        jnp.moveaxis(xs, 3, 0), seq_lengths=lengths, return_carry=True
    )
    assert_result((carry, jnp.moveaxis(outputs, 0, 3)), expected)


@few_cases
def test_nan_in_the_padding_changes_nothing(case):
    cell = case.cell()
    xs, carry = case.inputs(3, 6), case.carry(cell, 3)
    padding = np.arange(6) >= LENGTHS[:, None]
    spoilt = jnp.asarray(np.where(padding.reshape(3, 6, *[1] * len(case.features)), np.nan, xs))

    @eqx.filter_jit
    def value_and_gradients(cell, xs, carry):
        def loss(args):
            cell, xs, carry = args
            carry, ys = eqx_rnn.RNN(cell)(
                xs, initial_carry=carry, seq_lengths=LENGTHS, return_carry=True
            )
            return sum(jnp.sum(jnp.sin(leaf)).real for leaf in jax.tree.leaves((carry, ys)))

        return eqx.filter_value_and_grad(loss)((cell, xs, carry))

    clean, dirty = (value_and_gradients(cell, x, carry) for x in (xs, spoilt))
    assert eqx.tree_equal(clean, dirty)
    gradient = np.asarray(dirty[1][1])
    assert np.all(gradient[padding] == 0)
    assert np.all(np.any(gradient[~padding].reshape((~padding).sum(), -1) != 0, axis=1))


@pytest.mark.parametrize("name", ["lstm", "gru", "conv-lstm-1d"])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_with_lengths_and_resets(name, reverse):
    """Against finite differences, for the weights, the inputs and the carry."""
    case = BY_NAME[name]
    params, static = eqx.partition(case.cell(), eqx.is_array)

    @jax.jit
    def run(params, xs, carry):
        rnn = eqx_rnn.RNN(eqx.combine(params, static), reverse=reverse)
        return rnn(xs, initial_carry=carry, seq_lengths=LENGTHS, resets=RESETS, return_carry=True)

    args = params, case.inputs(3, 6), case.carry(case.cell(), 3)
    check_grads(run, args, order=1, modes=("fwd", "rev"), eps=1e-5, rtol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("keep_order", [False, True])
def test_order_of_outputs(reverse, keep_order):
    cell, xs = LSTM.cell(), LSTM.inputs(3, 6)
    rnn = eqx_rnn.RNN(cell, reverse=reverse, keep_order=keep_order)
    for steps in ({}, {"seq_lengths": LENGTHS}, {"mask": HOLES}):
        expected = reference.run(LSTM, cell, xs, reverse=reverse, keep_order=keep_order, **steps)
        assert_result(rnn(xs, return_carry=True, **steps), expected)


def test_reverse_is_forward_on_flipped_sequences():
    cell, xs = LSTM.cell(), LSTM.inputs(3, 6)
    flipped = eqx_rnn.flip_sequences(xs, LENGTHS)
    forward = eqx_rnn.RNN(cell)(flipped, seq_lengths=LENGTHS, return_carry=True)
    backward = eqx_rnn.RNN(cell, reverse=True)(xs, seq_lengths=LENGTHS, return_carry=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), forward, backward)


@pytest.mark.parametrize("reverse", [False, True])
def test_mask_with_holes(reverse):
    cell, xs = LSTM.cell(), LSTM.inputs(3, 6)
    rnn = eqx_rnn.RNN(cell, reverse=reverse)
    result = rnn(xs, mask=HOLES, resets=RESETS, return_carry=True)
    expected = reference.run(LSTM, cell, xs, mask=HOLES, resets=RESETS, reverse=reverse)
    assert_result(result, expected)
    prefix = np.arange(6) < LENGTHS[:, None]
    by_mask, by_lengths = rnn(xs, mask=prefix), rnn(xs, seq_lengths=LENGTHS)
    np.testing.assert_allclose(by_mask, by_lengths, rtol=0)


def test_full_lengths_equal_none():
    rnn, xs = eqx_rnn.RNN(LSTM.cell()), LSTM.inputs(3, 6)
    full = rnn(xs, seq_lengths=np.full(3, 6), return_carry=True)
    none = rnn(xs, return_carry=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), full, none)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_lengths_of_any_integer_dtype(dtype):
    rnn, xs = eqx_rnn.RNN(LSTM.cell()), LSTM.inputs(3, 6)
    expected = reference.run(LSTM, rnn.cell, xs, seq_lengths=LENGTHS)
    assert_result(rnn(xs, seq_lengths=LENGTHS.astype(dtype), return_carry=True), expected)


def test_short_integers_and_long_sequences():
    """The lengths fit in eight bits, but the number of steps, 300, does not."""
    rnn, xs = eqx_rnn.RNN(LSTM.cell()), LSTM.inputs(2, 300)
    ys = rnn(xs, seq_lengths=np.array([200, 5], np.uint8))
    np.testing.assert_array_equal(np.any(ys != 0, -1).sum(1), [200, 5])
    with pytest.raises(eqx.EquinoxRuntimeError, match="between 0 and 300"):
        rnn(xs, seq_lengths=np.array([301, 5], np.int16))


def test_one_sequence_without_batch():
    cell, xs = LSTM.cell(), LSTM.inputs(6)
    for length in (0, 1, 6):
        result = eqx_rnn.RNN(cell)(xs, seq_lengths=np.asarray(length), return_carry=True)
        assert_result(result, reference.run(LSTM, cell, xs, seq_lengths=np.asarray(length)))


@pytest.mark.parametrize("reverse", [False, True])
def test_empty_time_axis(reverse):
    cell, carry = LSTM.cell(), LSTM.carry(LSTM.cell(), 3)
    rnn = eqx_rnn.RNN(cell, reverse=reverse)
    empty = dict(seq_lengths=np.zeros(3, int), resets=np.zeros((3, 0), bool))
    for options in ({}, empty, {"mask": np.zeros((3, 0), bool)}):
        final, ys = rnn(LSTM.inputs(3, 0), initial_carry=carry, return_carry=True, **options)
        assert ys.shape == (3, 0, 4)
        jax.tree.map(np.testing.assert_array_equal, final, carry)
    final, _ = rnn(LSTM.inputs(3, 0), return_carry=True)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(final))


def test_empty_batch():
    carry, ys = eqx_rnn.RNN(LSTM.cell())(LSTM.inputs(0, 5), return_carry=True)
    assert ys.shape == (0, 5, 4)
    assert carry.cell.shape == (0, 4)


def test_reset_ends_a_nan_carry():
    cell, xs = LSTM.cell(), LSTM.inputs(3, 6)
    dead = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), LSTM.carry(cell, 3))
    resets = np.zeros((3, 6), bool)
    resets[:, 0] = True

    def loss(cell, carry):
        return jnp.sum(jnp.sin(eqx_rnn.RNN(cell)(xs, initial_carry=carry, resets=resets)))

    def clean_loss(cell):
        return jnp.sum(jnp.sin(eqx_rnn.RNN(cell)(xs)))

    value, gradient = eqx.filter_value_and_grad(loss)(cell, dead)
    clean_value, clean_gradient = eqx.filter_value_and_grad(clean_loss)(cell)
    np.testing.assert_allclose(value, clean_value, **EXACT)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), gradient, clean_gradient)


@pytest.mark.parametrize("unroll", [2, 4, 100])
def test_unroll_changes_nothing(unroll):
    cell, xs = LSTM.cell(), LSTM.inputs(3, 6)
    result = eqx_rnn.RNN(cell, unroll=unroll)(xs, seq_lengths=LENGTHS, return_carry=True)
    assert_result(result, reference.run(LSTM, cell, xs, seq_lengths=LENGTHS))


def test_wider_initial_carry_is_kept():
    """A float32 carry of a bfloat16 cell stays float32: nothing is rounded away."""
    cell, xs = LSTM.cell(jnp.bfloat16), LSTM.inputs(3, 6, dtype=jnp.bfloat16)
    carry = random_like(
        jax.tree.map(lambda c: jax.ShapeDtypeStruct(c.shape, jnp.float32), LSTM.carry(cell, 3)), 4
    )
    final, ys = eqx_rnn.RNN(cell)(xs, initial_carry=carry, return_carry=True)
    assert ys.dtype == final.cell.dtype == jnp.float32
    same, _ = eqx_rnn.RNN(cell)(xs[:, :0], initial_carry=carry, return_carry=True)
    jax.tree.map(np.testing.assert_array_equal, same, carry)


def test_random_initial_carry_is_drawn_from_the_key():
    init = jax.nn.initializers.normal(1.0)
    cell = eqx_rnn.GRUCell(3, 4, carry_init=init, dtype=jnp.float64, key=jax.random.key(0))
    rnn, xs = eqx_rnn.RNN(cell), LSTM.inputs(2, 0)
    first, _ = rnn(xs, return_carry=True, key=jax.random.key(1))
    again, _ = rnn(xs, return_carry=True, key=jax.random.key(1))
    other, _ = rnn(xs, return_carry=True, key=jax.random.key(2))
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)


def test_sequential():
    keys = jax.random.split(jax.random.key(0), 3)
    model = eqx.nn.Sequential(
        [
            eqx_rnn.RNN(eqx_rnn.GRUCell(3, 5, key=keys[0])),
            eqx.nn.Lambda(jax.nn.relu),
            eqx_rnn.RNN(eqx_rnn.SimpleCell(5, 2, key=keys[1])),
        ]
    )
    xs = LSTM.inputs(2, 4)
    expected = model[2](jax.nn.relu(model[0](xs)))
    np.testing.assert_allclose(model(xs), expected, **EXACT)
    np.testing.assert_allclose(model(xs, key=keys[2]), expected, **EXACT)


def test_only_shapes_make_it_compile_again():
    traces = []

    @eqx.filter_jit
    def run(rnn, xs, carry, seq_lengths, resets):
        traces.append(None)
        return rnn(xs, initial_carry=carry, seq_lengths=seq_lengths, resets=resets)

    for seed in range(3):
        cell = LSTM.cell(seed=seed)
        rng = np.random.default_rng(seed)
        lengths, resets = rng.integers(0, 7, 3), rng.random((3, 6)) < 0.5
        carry = LSTM.carry(cell, 3, seed=seed)
        run(eqx_rnn.RNN(cell), LSTM.inputs(3, 6, seed=seed), carry, lengths, resets)
    assert len(traces) == 1


def test_eager_calls_compile_once():
    """A plain `lax.scan` over a closure would compile at each call."""
    traces = []

    class Counting(eqx_rnn.RNNCellBase):
        inner: eqx_rnn.LSTMCell
        num_feature_dims = property(lambda self: 1)

        def initialize_carry(self, key, sample_input):
            return self.inner.initialize_carry(key, sample_input)

        def __call__(self, carry, inputs, *, key=None):
            traces.append(None)
            return self.inner(carry, inputs)

    for seed in range(3):
        eqx_rnn.RNN(Counting(LSTM.cell(seed=seed)))(LSTM.inputs(3, 6, seed=seed))
    assert len(traces) == 1


def test_default_precision():
    """Without 64-bit mode, everything is float32, even for float64 inputs, as in JAX."""
    with jax.enable_x64(False):
        cell = eqx_rnn.LSTMCell(3, 4, key=jax.random.key(0))
        carry, ys = eqx_rnn.RNN(cell)(np.ones((2, 5, 3)), return_carry=True)
        assert {leaf.dtype for leaf in jax.tree.leaves((cell, carry, ys))} == {jnp.dtype("float32")}
