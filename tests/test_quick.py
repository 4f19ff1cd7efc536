"""Every class and every kind of run. `.ci/modes` runs these tests in each mode of JAX."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from cases import CASES, CELLS, FEW_CASES
from helpers import EXACT, FLOAT, assert_close, random_like

import eqx_rnn
from eqx_rnn import interop

pytestmark = pytest.mark.quick

LAST_OF_CLASS = {type(case.cell()): case for case in CELLS}
CELLS_AND_WRAPPERS = [*LAST_OF_CLASS.values(), *(c for c in FEW_CASES if c not in CELLS)]
BY_NAME = {case.name: case for case in CASES}
LSTM = BY_NAME["lstm"]
BATCH, TIME = 3, 3
LENGTHS = np.array([3, 0, 2])
RESETS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 1]], bool)
MASK = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1]], bool)
KEY = jax.random.key(1)


def is_valid(seq_lengths=None, mask=None):
    if seq_lengths is not None:
        return np.arange(TIME) < seq_lengths[:, None]
    return np.ones((BATCH, TIME), bool) if mask is None else mask


def choose(rows, new, old):
    """The new leaves in some rows of the batch, the old ones in the others."""
    where = lambda a, b: jnp.where(rows.reshape(BATCH, *(a.ndim - 1) * (1,)), a, b)
    return jax.tree.map(where, new, old)


def loop(cell, xs, *, key=None, resets=None, reverse=False, truncate=None, **steps):
    """`(final carry, outputs)` by single steps, in the order of the inputs."""
    carry_key, step_key, begin_key = 3 * (None,) if key is None else jax.random.split(key, 3)
    sample = jax.ShapeDtypeStruct((BATCH, *xs.shape[2:]), xs.dtype)
    carry = cell.initialize_carry(carry_key, sample)
    cell, carry, finish = cell.begin(carry, key=begin_key)
    initial = cell.initialize_carry(carry_key, sample)
    keys = TIME * [None] if key is None else jax.random.split(step_key, TIME)
    outputs = TIME * [None]
    for k, t in enumerate(range(TIME)[:: -1 if reverse else 1]):
        if k > 0 and truncate is not None and k % truncate == 0:
            carry = jax.lax.stop_gradient(carry)
        valid, start = is_valid(**steps)[:, t], carry
        if resets is not None:
            start = choose(resets[:, t] & valid, initial, carry)
        new, y = cell(start, xs[:, t], key=keys[t])
        carry = choose(valid, new, carry)
        outputs[t] = choose(valid, y, jnp.zeros_like(y))
    return finish(carry), jnp.stack(outputs, 1)


def value_and_gradients(run, *arguments):
    """Results of `run(*arguments)`, and gradients of a sum of all of them."""

    def loss(arguments):
        results = run(*arguments)
        floats = [leaf for leaf in jax.tree.leaves(results) if eqx.is_inexact_array(leaf)]
        return sum(jnp.sum(jnp.sin(leaf)).real for leaf in floats), results

    return eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))(arguments)


@pytest.mark.parametrize("case", CELLS_AND_WRAPPERS, ids=lambda case: case.name)
def test_all_cells(case):
    """Compares values with the paper's equations in NumPy, and gradients with a loop of steps."""
    cell, xs, steps = (
        case.cell(),
        case.inputs(BATCH, TIME),
        dict(seq_lengths=LENGTHS, resets=RESETS),
    )
    run = lambda cell, xs: eqx_rnn.RNN(cell)(xs, return_carry=True, **steps)
    (_, (carry, ys)), gradients = value_and_gradients(run, cell, xs)
    final, outputs = reference.run(case, cell, xs, **steps)
    for leaf, value in zip([*jax.tree.leaves(carry), ys], [*final, outputs], strict=True):
        np.testing.assert_allclose(leaf, value, **EXACT)
    _, expected = value_and_gradients(lambda cell, xs: loop(cell, xs, **steps), cell, xs)
    assert_close(gradients, expected)


@pytest.mark.parametrize("name", ["lstm", "learned-carry-plain"])
@pytest.mark.parametrize(
    "options",
    [{}, {"reverse": True, "keep_order": True}, {"checkpoint": True}, {"truncate": 2}],
    ids=str,
)
def test_options(name, options):
    case = BY_NAME[name]
    cell, xs = case.cell(), case.inputs(BATCH, TIME)
    rnn = lambda cell, xs: eqx_rnn.RNN(cell, **options)(xs, mask=MASK, return_carry=True)
    order = {name: options[name] for name in ("reverse", "truncate") if name in options}
    expected = value_and_gradients(lambda cell, xs: loop(cell, xs, mask=MASK, **order), cell, xs)
    assert_close(value_and_gradients(rnn, cell, xs), expected)


@pytest.mark.parametrize("options", [{}, {"checkpoint": True}, {"truncate": 2}], ids=str)
def test_no_steps(options):
    cell = LSTM.cell()
    carry, ys = eqx_rnn.RNN(cell, **options)(LSTM.inputs(BATCH, 0), return_carry=True)
    assert ys.shape == (BATCH, 0, 4)
    assert_close(carry, cell.initialize_carry(None, LSTM.inputs(BATCH)))


def test_time_major_all_carries_in_pieces():
    cell, xs = LSTM.cell(), LSTM.inputs(BATCH, TIME)
    rnn, first = eqx_rnn.RNN(cell, time_major=True), jnp.moveaxis(xs, 1, 0)
    carries, ys = rnn(first, return_carry="all")
    carry, head = rnn(first[:2], return_carry=True)
    assert_close(jax.tree.map(lambda leaf: leaf[1], carries), carry)
    assert_close(jnp.concatenate([head, rnn(first[2:], initial_carry=carry)]), ys)
    np.testing.assert_allclose(jnp.moveaxis(ys, 0, 1), reference.run(LSTM, cell, xs)[1], **EXACT)


def test_both_directions_and_layers():
    cells, xs = [LSTM.cell(seed=seed) for seed in range(2)], LSTM.inputs(BATCH, TIME)
    both = eqx_rnn.Bidirectional(*map(eqx_rnn.RNN, cells))
    ys = eqx.filter_jit(both)(xs, seq_lengths=LENGTHS)
    ahead, back = (
        reference.run(LSTM, cell, xs, seq_lengths=LENGTHS, reverse=reverse, keep_order=True)[1]
        for cell, reverse in zip(cells, (False, True), strict=True)
    )
    np.testing.assert_allclose(ys, np.concatenate([ahead, back], -1), **EXACT)

    inner = BY_NAME["residual-gru"]
    cells = [inner.cell(seed=seed) for seed in range(2)]
    expected = np.asarray(inner.inputs(BATCH, TIME))
    for cell in cells:
        _, expected = reference.run(inner, cell, expected, seq_lengths=LENGTHS)
    in_one = eqx_rnn.RNN(eqx_rnn.StackedCell(cells))
    for stack in (eqx_rnn.Stacked([eqx_rnn.RNN(cell) for cell in cells]), in_one):
        run = lambda stack, xs: stack(xs, seq_lengths=LENGTHS)
        (_, ys), _ = value_and_gradients(run, stack, inner.inputs(BATCH, TIME))
        np.testing.assert_allclose(ys, expected, **EXACT)


WRAPPERS = {
    "dropout": lambda cell: eqx_rnn.RecurrentDropout(cell, 0.4, 0.5),
    "zoneout": lambda cell: eqx_rnn.Zoneout(cell, 0.3),
    "drop-connect": lambda cell: eqx_rnn.DropConnect(cell, 0.4),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_in_training(wrap):
    """A loop of single steps draws the same random numbers."""
    cell, xs = wrap(LSTM.cell()), LSTM.inputs(BATCH, TIME)
    run = lambda cell, xs: eqx_rnn.RNN(cell)(xs, key=KEY, seq_lengths=LENGTHS, return_carry=True)
    by_hand = lambda cell, xs: loop(cell, xs, key=KEY, seq_lengths=LENGTHS)
    expected = value_and_gradients(by_hand, cell, xs)
    assert_close(value_and_gradients(run, cell, xs), expected)


def test_stack_with_all_between_its_layers():
    make = dict(num_layers=2, dropout=0.5, layer_norm=True, residual=True, dtype=FLOAT)
    stack = eqx_rnn.Stacked.create(eqx_rnn.GRUCell, 3, 3, bidirectional=False, **make, key=KEY)
    xs = LSTM.inputs(BATCH, TIME)
    (loss, ys), gradients = value_and_gradients(lambda stack, xs: stack(xs, key=KEY), stack, xs)
    assert ys.shape == (BATCH, TIME, 3)
    assert all(np.isfinite(leaf).all() for leaf in [loss, *jax.tree.leaves(gradients)])
    assert_close(eqx.nn.inference_mode(stack)(xs[:1]), eqx.nn.inference_mode(stack)(xs)[:1])


def test_vmap_and_forward_mode():
    """Over the batch, over an ensemble, and along a tangent."""
    cell, xs = LSTM.cell(), LSTM.inputs(BATCH, TIME)
    run = lambda cell, xs: eqx_rnn.RNN(cell)(xs)
    mapped = lambda cell, xs: jax.vmap(eqx_rnn.RNN(cell))(xs)
    expected = value_and_gradients(run, cell, xs)
    assert_close(value_and_gradients(mapped, cell, xs), expected)

    pair = jax.tree.map(lambda a, b: jnp.stack([a, b]), cell, LSTM.cell(seed=1))
    ensemble = eqx.filter_jit(eqx.filter_vmap(run, in_axes=(eqx.if_array(0), None)))(pair, xs)
    _, other = reference.run(LSTM, LSTM.cell(seed=1), xs)
    np.testing.assert_allclose(ensemble, np.stack([expected[0][1], other]), **EXACT)

    tangents = random_like((cell, xs), seed=7)
    loss = lambda cell, xs: jnp.sum(jnp.sin(run(cell, xs)))
    _, slope = jax.jit(lambda *args: jax.jvp(loss, args, tangents))(cell, xs)
    products = jax.tree.map(jnp.vdot, expected[1], tangents)
    np.testing.assert_allclose(slope, sum(jax.tree.leaves(products)), **EXACT)


@pytest.mark.parametrize("framework", ["torch", "keras", "equinox"])
def test_interop(framework):
    """A round trip."""
    read = getattr(interop, f"from_{framework}")
    cell = eqx_rnn.GRUCell(3, 4, dtype=FLOAT, key=KEY)
    module = eqx_rnn.Stacked([eqx_rnn.RNN(cell)]) if framework == "torch" else cell
    weights = getattr(interop, f"to_{framework}")(module)
    back = read(weights, "GRU") if framework == "keras" else read(weights)
    assert_close(jax.tree.leaves(back), jax.tree.leaves(module))


def test_flip_sequences():
    xs = np.asarray(LSTM.inputs(BATCH, TIME))
    flipped = np.asarray(eqx.filter_jit(eqx_rnn.flip_sequences)(xs, LENGTHS))
    for row, of_row, end in zip(flipped, xs, LENGTHS, strict=True):
        np.testing.assert_array_equal(row[:end], of_row[:end][::-1])
        np.testing.assert_array_equal(row[end:], of_row[end:])


def test_sequences_in_one_array():
    """The last output of each sequence is that of the sequence alone."""
    cell, xs = LSTM.cell(), np.asarray(LSTM.inputs(BATCH, TIME))
    padded, lengths = eqx_rnn.pad_sequences([x[:n] for x, n in zip(xs, LENGTHS, strict=True)])
    np.testing.assert_array_equal(lengths, LENGTHS)
    np.testing.assert_array_equal(
        eqx_rnn.lengths_to_mask(lengths, TIME), is_valid(seq_lengths=LENGTHS)
    )
    last = eqx_rnn.last_valid(eqx_rnn.RNN(cell)(padded, seq_lengths=lengths), seq_lengths=lengths)
    for row, x, end in zip(last, xs, LENGTHS, strict=True):
        _, alone = reference.run(LSTM, cell, x[None, :end])
        np.testing.assert_allclose(row, alone[0, -1] if end else 0 * row, **EXACT)


def test_a_stack_steps_as_it_runs():
    inner = BY_NAME["residual-gru"]
    layers = [eqx_rnn.RNN(inner.cell(seed=seed)) for seed in range(2)]
    stack, xs = eqx_rnn.Stacked(layers, residual=True), inner.inputs(BATCH, TIME)
    carry, ys = loop(stack.as_cell(), xs)
    assert_close(stack(xs, return_carry=True), (carry, ys))


def test_errors():
    """Errors are raised, not asserted."""
    rnn, xs = eqx_rnn.RNN(LSTM.cell()), LSTM.inputs(BATCH, TIME)
    with pytest.raises(ValueError, match="`mask` must be a bool array"):
        rnn(xs, mask=MASK[:2])
    with pytest.raises(RuntimeError, match="between 0 and 3"):
        eqx.filter_jit(rnn)(xs, seq_lengths=LENGTHS + 1)
    with pytest.raises(ValueError, match="`unroll` must be"):
        eqx_rnn.RNN(LSTM.cell(), unroll=0)


@pytest.mark.nan
@pytest.mark.parametrize("name", ["lstm", "learned-carry-plain"])
def test_nan_in_the_padding(name):
    case = BY_NAME[name]
    cell, xs = case.cell(), case.inputs(BATCH, TIME)
    padded = jnp.where(is_valid(mask=MASK)[..., None], xs, jnp.nan)
    run = lambda cell, xs: eqx_rnn.RNN(cell)(xs, mask=MASK, return_carry=True)
    assert_close(value_and_gradients(run, cell, padded), value_and_gradients(run, cell, xs))
