"""Comparison with Flax's linen: same weights and inputs, same numbers and gradients.

Where Flax is wrong, a test asserts the result of Flax, and that our result is right.
"""

import functools

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_like

import eqx_rnn

TIME = 5
close = {"rtol": 1e-12, "atol": 1e-12, "equal_nan": False, "strict": True}
assert_close = functools.partial(np.testing.assert_allclose, **close)


def flax_carry(tree):
    """Replaces each `LSTMCarry` in a tree by Flax's `(cell, hidden)`."""
    is_carry = lambda node: isinstance(node, eqx_rnn.LSTMCarry)
    swap = lambda node: (node.cell, node.hidden) if is_carry(node) else node
    return jax.tree.map(swap, tree, is_leaf=is_carry)


class Pair:
    """One of our cells, and Flax's."""

    def __init__(self, make, flax, *kernel, features=(3,), hidden_size=4, **options):
        make = functools.partial(make, features[-1], hidden_size, *kernel, **options)
        self.shapes = eqx.filter_eval_shape(make, key=jax.random.key(0))
        self.flax = flax(hidden_size, *kernel, **options, param_dtype=jnp.float64)
        self.params = functools.partial(eqx_rnn.interop.to_flax, flax_cell=flax.__name__)
        self.features = features

    def arguments(self, *batch, time_major=False, seed=0):
        """Weights, inputs and carry, all random."""
        leading = (TIME, *batch) if time_major else (*batch, TIME)
        x, xs = (jax.ShapeDtypeStruct((*n, *self.features), jnp.float64) for n in (batch, leading))
        carry = eqx.filter_eval_shape(lambda cell: cell.initialize_carry(None, x), self.shapes)
        weights = random_like(self.shapes, seed, scale=0.5)
        return weights, random_like(xs, seed + 1), random_like(carry, seed + 2)


conv_lstm = functools.partial(Pair, eqx_rnn.ConvLSTMCell, nn.ConvLSTMCell)
PAIRS = {
    "simple": Pair(eqx_rnn.SimpleCell, nn.SimpleCell),
    "simple-residual": Pair(eqx_rnn.SimpleCell, nn.SimpleCell, residual=True),
    "lstm": Pair(eqx_rnn.LSTMCell, nn.LSTMCell),
    "lstm-optimized": Pair(eqx_rnn.LSTMCell, nn.OptimizedLSTMCell),
    "gru": Pair(eqx_rnn.GRUCell, nn.GRUCell),
    "mgu": Pair(eqx_rnn.MGUCell, nn.MGUCell),
    "mgu-no-reset": Pair(eqx_rnn.MGUCell, nn.MGUCell, reset_gate=False),
    "conv-lstm-1d": conv_lstm((3,), features=(6, 2), hidden_size=3),
    "conv-lstm-2d": conv_lstm((3, 2), features=(4, 5, 2), hidden_size=3),
}
LSTM, SIMPLE = PAIRS["lstm-optimized"], PAIRS["simple"]
LENGTHS = {(3,): np.array([2, TIME, 1]), (2, 3): np.array([[4, 1, 3], [TIME, 2, 1]])}
both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def with_gradients(run):
    """`run`, and the gradients of a randomly weighted sum of its results, for all arguments."""

    def loss(args):
        out = run(*args)
        weighted = jax.tree.map(jnp.vdot, out, random_like(out, seed=9))
        return sum(jax.tree.leaves(weighted)), out

    return eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))


def assert_same(ours, flax, args):
    jax.tree.map(assert_close, with_gradients(ours)(args), with_gradients(flax)(args))


def where_valid(lengths, xs, otherwise, time_major=False):
    """`xs` where sequences have not ended. (Flax's outputs after the end are not comparable.)"""
    valid = np.arange(TIME) < lengths[..., None]
    valid = np.moveaxis(valid, -1, 0) if time_major else valid
    return jnp.where(valid.reshape(valid.shape + (xs.ndim - valid.ndim) * (1,)), xs, otherwise)


def functions(make_ours, flax, params, lengths, return_carry):
    """Our model and Flax's: both take our weights and our carry, and return Flax's carry."""
    call = {"seq_lengths": lengths, "return_carry": return_carry}

    def run_ours(weights, xs, carry):
        out = make_ours(weights)(xs, initial_carry=carry, **call)
        return flax_carry(out if return_carry else (None, out))

    def run_flax(weights, xs, carry):
        out = flax.apply({"params": params(weights)}, xs, initial_carry=flax_carry(carry), **call)
        carry, ys = out if return_carry else (None, out)
        return carry, ys if lengths is None else where_valid(lengths, ys, 0, flax.time_major)

    return run_ours, run_flax


def rnns(pair, lengths=None, return_carry=True, **options):
    ours = lambda cell: eqx_rnn.RNN(cell, **options)
    params = lambda cell: {"cell": pair.params(cell)}
    return functions(ours, nn.RNN(pair.flax, **options), params, lengths, return_carry)


def bidirectionals(lengths, return_carry=True, time_major=False):
    our_rnn = lambda cell: eqx_rnn.RNN(cell, time_major=time_major)
    ours = lambda cells: eqx_rnn.Bidirectional(*map(our_rnn, cells))
    flax = nn.Bidirectional(nn.RNN(LSTM.flax), nn.RNN(SIMPLE.flax), time_major=time_major)
    params = lambda cells: {
        "forward_rnn": {"cell": LSTM.params(cells[0])},
        "backward_rnn": {"cell": SIMPLE.params(cells[1])},
    }
    return functions(ours, flax, params, lengths, return_carry)


def bidirectional_arguments(*batch, time_major=False):
    lstm, xs, lstm_carry = LSTM.arguments(*batch, time_major=time_major)
    simple, _, simple_carry = SIMPLE.arguments(*batch, seed=3)
    return (lstm, simple), xs, (lstm_carry, simple_carry)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_step(pair):
    def flax(cell, x, carry):
        return pair.flax.apply({"params": pair.params(cell)}, flax_carry(carry), x)

    cell, (x, *_), carry = pair.arguments(2, 3, time_major=True)
    variables = jax.eval_shape(pair.flax.init, jax.random.key(0), flax_carry(carry), x)
    assert jax.eval_shape(pair.params, cell) == variables["params"]
    assert_same(lambda cell, x, carry: flax_carry(cell(carry, x)), flax, (cell, x, carry))


@pytest.mark.parametrize(
    ("name", "batch", "with_lengths", "options"),
    [
        ("gru", (), False, "reverse keep_order"),
        ("simple", (2, 3), False, "time_major reverse"),
        ("lstm", (3,), True, ""),
        ("lstm-optimized", (3,), True, "time_major reverse keep_order"),
        ("conv-lstm-2d", (3,), True, "time_major reverse"),
        # With two batch axes and lengths, Flax's outputs are right but its carry is not: see below.
        ("gru", (2, 3), True, "reverse keep_order"),
        ("mgu", (2, 3), True, "time_major"),
    ],
)
def test_rnn(name, batch, with_lengths, options):
    pair, options = PAIRS[name], dict.fromkeys(options.split(), True)
    lengths, return_carry = (LENGTHS[batch], len(batch) == 1) if with_lengths else (None, True)
    arguments = pair.arguments(*batch, time_major="time_major" in options)
    assert_same(*rnns(pair, lengths, return_carry, **options), arguments)


@pytest.mark.parametrize(("lengths", "time_major"), [(None, False), (LENGTHS[3,], True)])
def test_bidirectional(lengths, time_major):
    arguments = bidirectional_arguments(3, time_major=time_major)
    assert_same(*bidirectionals(lengths, time_major=time_major), arguments)


@both_directions
def test_flax_is_wrong_about_length_0(reverse):
    """Flax's final carry has run through all the padding. Ours is the initial carry."""
    args = LSTM.arguments(2)
    runs = (*rnns(LSTM, np.array([0, 2]), reverse=reverse), rnns(LSTM, reverse=reverse)[1])
    ours, flax, flax_in_full = (jax.tree.map(lambda leaf: leaf[0], run(*args)) for run in runs)
    initial = jax.tree.map(lambda leaf: leaf[0], flax_carry(args[-1]))
    jax.tree.map(np.testing.assert_array_equal, ours, (initial, np.zeros((TIME, 4))))
    jax.tree.map(assert_close, flax[0], flax_in_full[0])
    assert (jnp.abs(flax[0][1] - initial[1]) > 0.01).any()


@pytest.mark.parametrize(
    ("models", "arguments", "return_carry"),
    [
        (functools.partial(rnns, LSTM), LSTM.arguments, True),
        (functools.partial(rnns, LSTM, reverse=True), LSTM.arguments, True),
        (bidirectionals, bidirectional_arguments, False),  # fails even if the carry is not returned
    ],
    ids=["forward", "reverse", "bidirectional"],
)
def test_flax_is_wrong_about_lengths_with_two_batch_axes(models, arguments, return_carry):
    """Flax raises an error, or returns a carry of a wrong shape. Ours equals a flattened batch."""
    lengths, (weights, *args) = LENGTHS[2, 3], arguments(2, 3)
    with pytest.raises(ValueError, match="Incompatible shapes for broadcasting"):
        jax.eval_shape(models(lengths, return_carry=return_carry)[1], weights, *args)
    carry, _ = jax.eval_shape(models(lengths[:, :2])[1], *arguments(2, 2))
    assert {leaf.shape for leaf in jax.tree.leaves(carry)} == {(2, 2, 2, 4)}

    flatten = lambda leaf: leaf.reshape(6, *leaf.shape[2:])
    ours = jax.tree.map(flatten, models(lengths)[0](weights, *args))
    flax = models(flatten(lengths))[1](weights, *jax.tree.map(flatten, args))
    jax.tree.map(assert_close, ours, flax)


@both_directions
def test_flax_is_wrong_about_nan_padding(reverse):
    """Flax's values at valid steps are right, its gradients are NaN. Ours ignore the padding."""
    ours, flax = map(with_gradients, rnns(SIMPLE, LENGTHS[3,], reverse=reverse, keep_order=True))
    cell, xs, carry = SIMPLE.arguments(3)
    padded = cell, where_valid(LENGTHS[3,], xs, jnp.nan), carry
    expected = flax((cell, xs, carry))
    jax.tree.map(assert_close, ours(padded), expected)
    values, (of_weights, *of_batch) = flax(padded)
    jax.tree.map(assert_close, values, expected[0])
    assert all(jnp.isnan(gradient).all() for gradient in jax.tree.leaves(of_weights))
    for gradient in of_batch:  # only the second sequence has no padding
        assert jnp.isnan(gradient).reshape(3, -1).any(axis=1).tolist() == [True, False, True]
