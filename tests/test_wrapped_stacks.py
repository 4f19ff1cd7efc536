"""Wrappers around stacks. The cells still run one after another, each over all steps."""

import collections

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import INNER
from helpers import EXACT, assert_close
from jax.extend.core import jaxprs_in_params
from test_quick import BATCH, LENGTHS, TIME, loop, value_and_gradients

import eqx_rnn
from eqx_rnn import (
    RNN,
    DropConnect,
    LearnedCarry,
    LSTMCarry,
    RecurrentDropout,
    Residual,
    StackedCell,
    Zoneout,
)

LSTM, GRU, _, PLAIN = INNER
KEY = jax.random.key(1)
XS = LSTM.inputs(BATCH, TIME)
MASK = np.random.default_rng(2).random((BATCH, TIME)) < 0.6
RESETS = np.random.default_rng(3).random((BATCH, TIME)) < 0.3


def stack(seed=0):
    return StackedCell([LSTM.cell(seed=seed), GRU.cell(seed=seed + 1)])


SAMPLE = jax.ShapeDtypeStruct((3,), float)
# Inner cell, wrapped cell, and how often the wrappers add the inputs.
RESIDUAL = {
    "cell": (LSTM.cell(), Residual, 1),
    "user's cell": (PLAIN.cell(), Residual, 1),
    "stack": (stack(), Residual, 1),
    "twice": (stack(), lambda cell: Residual(Residual(cell)), 2),
    "learned": (stack(), lambda cell: Residual(LearnedCarry(cell)), 1),
    "wrapped stack": (
        StackedCell([Zoneout(LSTM.cell(), 0.2), GRU.cell()]),
        lambda cell: LearnedCarry(Residual(cell)),
        1,
    ),
    "stack of stacks": (
        StackedCell([stack(), GRU.cell(seed=4)]),
        lambda cell: StackedCell([Residual(cell.cells[0]), Residual(cell.cells[1])]),
        2,
    ),
    "dropout at inference": (
        stack(),
        lambda cell: Residual(RecurrentDropout(cell, 0.1, 0.2, inference=True)),
        1,
    ),
    "no dropped weights": (stack(), lambda cell: Residual(DropConnect(cell, 0.0)), 1),
}


def primitives(jaxpr):
    """How often each primitive occurs, including in called functions."""
    found = collections.Counter()
    for equation in jaxpr.eqns:
        found[equation.primitive.name] += 1
        for inner in jaxprs_in_params(equation.params):
            found += primitives(inner)
    return found


@pytest.mark.parametrize("name", RESIDUAL)
def test_only_the_sum_is_added_to_what_the_inner_cell_runs(name):
    """The sum is computed once for all steps. The run of the inner cell does not change."""
    inner, wrap, times = RESIDUAL[name]
    ran = [
        primitives(jax.make_jaxpr(lambda xs, cell=cell: RNN(cell)(xs, key=KEY))(XS).jaxpr)
        for cell in (inner, wrap(inner))
    ]
    assert ran[1]["add"] == ran[0]["add"] + times
    assert ran[0]["scan"] > 0
    for name in ("scan", "custom_jvp_call", "dot_general", "mul", "tanh", "logistic", "select_n"):
        assert ran[1][name] == ran[0][name]


OPTIONS = {
    "all steps": ({}, {}),
    "lengths, resets": ({}, {"seq_lengths": LENGTHS, "resets": RESETS}),
    "mask, reverse": ({"reverse": True, "keep_order": True}, {"mask": MASK}),
    "truncate": ({"truncate": 2}, {"resets": RESETS}),
    "checkpoint": ({"checkpoint": 2}, {"mask": MASK}),
}


@pytest.mark.parametrize(
    ("name", "option"),
    [("stack of stacks", option) for option in OPTIONS]
    + [("user's cell", "mask, reverse"), ("twice", "lengths, resets"), ("twice", "truncate")],
)
def test_residual_equals_single_steps(name, option):
    """Values and gradients."""
    inner, wrap, _ = RESIDUAL[name]
    options, steps = OPTIONS[option]
    run = lambda cell, xs: RNN(cell, **options)(xs, key=KEY, return_carry=True, **steps)
    by_hand = {k: v for k, v in options.items() if k in ("reverse", "truncate")}
    hand = lambda cell, xs: loop(cell, xs, key=KEY, **by_hand, **steps)
    cell = wrap(inner)
    assert_close(value_and_gradients(run, cell, XS), value_and_gradients(hand, cell, XS))


def test_padding_of_a_residual_stack():
    """NaN in the padding has no effect on outputs and gradients."""
    valid = np.arange(TIME) < LENGTHS[:, None]
    padded = jnp.where(valid[..., None], XS, jnp.nan)
    run = lambda cell, xs: RNN(cell)(xs, seq_lengths=LENGTHS)
    cell = Residual(stack())
    (_, ys), gradients = value_and_gradients(run, cell, padded)
    (_, expected), expected_gradients = value_and_gradients(run, cell, XS)
    np.testing.assert_array_equal(ys, expected)
    np.testing.assert_array_equal(ys[~valid], 0)
    assert_close(gradients, expected_gradients)


def test_carries_reversed_outputs_and_vmap():
    cell = Residual(StackedCell([Residual(stack()), PLAIN.cell()]))
    rnn = RNN(cell, reverse=True)
    carry, ys = rnn(XS, seq_lengths=LENGTHS, return_carry=True)
    flipped = eqx_rnn.flip_sequences(XS, LENGTHS)
    expected = RNN(cell)(flipped, seq_lengths=LENGTHS, return_carry=True)
    assert_close((carry, ys), expected)
    carries, _ = RNN(cell)(flipped, seq_lengths=LENGTHS, return_carry="all")
    assert_close(jax.tree.map(lambda a: a[:, -1], carries), carry)
    mapped = jax.vmap(lambda x, n: rnn(x, seq_lengths=n))(XS, LENGTHS)
    np.testing.assert_allclose(mapped, ys, **EXACT)
    carry, first = RNN(cell)(XS[:, :2], return_carry=True)
    rest = RNN(cell)(XS[:, 2:], initial_carry=carry)
    np.testing.assert_allclose(np.concatenate([first, rest], 1), RNN(cell)(XS), **EXACT)
    assert RNN(cell)(XS[:, :0]).shape == (BATCH, 0, 3)


RATES = (LSTMCarry(0.2, 0.4), 0.3)
AROUND_A_STACK = {
    "dropout": lambda cell: RecurrentDropout(cell, 0.3, RATES),
    "dropout of inputs": lambda cell: RecurrentDropout(Residual(cell), 0.3),
    "dropout, residual": lambda cell: RecurrentDropout(Residual(cell), 0.3, 0.4),
    "drop-connect": lambda cell: DropConnect(LearnedCarry(cell, SAMPLE), 0.4),
    "zoneout": lambda cell: Zoneout(cell, 0.3),
    "everything": lambda cell: LearnedCarry(
        DropConnect(RecurrentDropout(cell, 0.2, 0.3), 0.4), SAMPLE, key=KEY
    ),
}


@pytest.mark.parametrize("name", AROUND_A_STACK)
def test_wrappers_around_a_stack_in_training(name):
    """A loop of single steps draws the same random numbers."""
    cell = AROUND_A_STACK[name](StackedCell([LSTM.cell(), stack().cells[1]]))
    steps = {"seq_lengths": LENGTHS, "resets": RESETS}
    run = lambda cell, xs: RNN(cell)(xs, key=KEY, return_carry=True, **steps)
    hand = lambda cell, xs: loop(cell, xs, key=KEY, **steps)
    assert_close(value_and_gradients(run, cell, XS), value_and_gradients(hand, cell, XS))


def test_masks_of_a_stack_are_those_of_its_whole_carry():
    """One step by hand: each cell sees its masked carry, and the first cell the masked inputs."""
    inner = stack()
    cell = RecurrentDropout(inner, 0.3, 0.4)
    carry = cell.initialize_carry(KEY, XS[:, 0])
    state = jax.tree.map(lambda a: a + 0.5, carry.carry)
    carry = carry._replace(carry=state)
    masked = jax.tree.map(lambda a, m: np.where(m, a / 0.6, 0), state, carry.masks.hidden)
    expected, y = inner(masked, np.where(carry.masks.inputs, XS[:, 0] / 0.7, 0))
    final, ys = RNN(cell)(XS[:, :1], initial_carry=carry, return_carry=True)
    np.testing.assert_allclose(ys[:, 0], y, **EXACT)
    assert_close(final.carry, expected)


@pytest.mark.parametrize("name", [name for name in AROUND_A_STACK if name != "zoneout"])
def test_the_loops_of_a_wrapped_stack_are_those_of_its_cells(name):
    """There is one loop per cell, as without the wrapper."""
    loops = [
        primitives(jax.make_jaxpr(lambda xs, cell=cell: RNN(cell)(xs, key=KEY))(XS).jaxpr)["scan"]
        for cell in (stack(), AROUND_A_STACK[name](stack()), Zoneout(stack()))
    ]
    assert loops[0] == loops[1] > loops[2]


def test_drop_connect_around_a_stack_drops_in_each_cell():
    key = jax.random.key(5)
    outside = DropConnect(stack(), 0.4)
    inside = StackedCell([DropConnect(cell, 0.4) for cell in stack().cells])
    carry = stack().initialize_carry(None, XS[:, 0])
    begun, expected = (cell.begin(carry, key=key)[0] for cell in (outside, inside))
    assert_close(begun, expected)
    first, second = (np.asarray(cell.weight_hh) for cell in begun.cells)
    assert 0 < np.mean(first == 0) < 1
    assert 0 < np.mean(second == 0) < 1
    assert np.any((first[:3] == 0) != (second[:3] == 0))


def test_drop_connect_around_a_stack_needs_the_field_in_each_cell():
    lacking = eqx_rnn.IndRNNCell(3, 3, key=KEY)
    with pytest.raises(ValueError, match=r"DropConnect: `name` must be .* of IndRNNCell"):
        DropConnect(StackedCell([GRU.cell(), lacking]), 0.1, "bias_n")


def test_a_learned_carry_around_a_stack_needs_no_sample():
    cell = LearnedCarry(stack())
    assert_close(cell.initial, stack().initialize_carry(None, SAMPLE))
    with pytest.raises(ValueError, match="LearnedCarry: `sample_input` must be one time step"):
        LearnedCarry(StackedCell([PLAIN.cell(), GRU.cell()]))


def test_inference_around_a_stack():
    inner = stack()
    wrapped = Residual(DropConnect(RecurrentDropout(LearnedCarry(inner), 0.3, 0.4), 0.2))
    ys = RNN(eqx.nn.inference_mode(wrapped))(XS, seq_lengths=LENGTHS)
    expected = RNN(Residual(inner))(XS, seq_lengths=LENGTHS)
    np.testing.assert_allclose(ys, expected, **EXACT)
