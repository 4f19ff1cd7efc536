"""Side by side with Flax's linen: same weights and inputs, same numbers and gradients.

Where Flax is wrong, a test says so: it asserts what Flax does, and that we do the right thing.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import random_like

import eqx_rnn

TIME = 5

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-12, atol=1e-12, equal_nan=False, strict=True
)


# Our weights as Flax's parameters. Flax's kernels are (*kernel, in, out), ours (out, in, *kernel).


def split(cell, gates):
    """Rows of `weight_ih`, `weight_hh` and `bias` by gate."""
    stacks = cell.weight_ih, cell.weight_hh, cell.bias
    return (dict(zip(gates, jnp.split(stack, len(gates)), strict=True)) for stack in stacks)


def dense(weight, bias=None):
    return {"kernel": weight.T} | ({} if bias is None else {"bias": bias})


def simple_params(cell):
    return {"i": dense(cell.weight_ih, cell.bias), "h": dense(cell.weight_hh)}


def lstm_params(cell):
    ih, hh, bias = split(cell, "ifgo")  # the bias is the hidden product's
    return {f"i{g}": dense(ih[g]) for g in ih} | {f"h{g}": dense(hh[g], bias[g]) for g in hh}


def gru_params(cell, gates="rzn"):
    ih, hh, bias = split(cell, gates)  # the bias is the input product's, but for a second b_n
    hidden_bias = {"n": cell.bias_n}
    inputs = {f"i{g}": dense(ih[g], bias[g]) for g in gates}
    return inputs | {f"h{g}": dense(hh[g], hidden_bias.get(g)) for g in gates}


def conv_lstm_params(cell):
    """Gates i, g, f, o; a bias for each convolution; Flax adds 1 to f in every step."""

    def reorder(rows):
        i, f, g, o = jnp.split(rows, 4)
        return jnp.concatenate([i, g, f, o])

    def kernel(weight):
        return jnp.moveaxis(reorder(weight), (0, 1), (-1, -2))

    bias = reorder(cell.bias - jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), cell.hidden_size)) / 2
    apart = random_like(bias, seed=7)
    return {
        "ih": {"kernel": kernel(cell.weight_ih), "bias": bias + apart},
        "hh": {"kernel": kernel(cell.weight_hh), "bias": bias - apart},
    }


def carry_to_flax(carry):
    return (carry.cell, carry.hidden) if isinstance(carry, eqx_rnn.LSTMCarry) else carry


def carry_from_flax(carry):
    return eqx_rnn.LSTMCarry(carry[1], carry[0]) if isinstance(carry, tuple) else carry


@dataclasses.dataclass(frozen=True)
class Pair:
    """One of our cells, and Flax's."""

    make: Callable[..., eqx_rnn.RNNCellBase]
    flax: nn.RNNCellBase
    params: Callable[[Any], dict]
    features: tuple[int, ...] = (3,)

    def cell(self, seed=0):
        return random_like(eqx.filter_eval_shape(self.make, key=jax.random.key(0)), seed, 0.5)

    def inputs(self, *leading):
        return random_like(jax.ShapeDtypeStruct((*leading, *self.features), jnp.float64), 1)

    def carry(self, *batch, seed=2):
        sample = jax.ShapeDtypeStruct((*batch, *self.features), jnp.float64)
        return random_like(jax.eval_shape(self.cell().initialize_carry, None, sample), seed)


def pair(make, flax_cell, params, *sizes, features=(3,), hidden_size=4, **options):
    ours = functools.partial(make, features[-1], hidden_size, *sizes, **options)
    kernel = {"kernel_size": sizes[0]} if sizes else {}
    theirs = flax_cell(hidden_size, **kernel, **options, param_dtype=jnp.float64)
    return Pair(ours, theirs, params, features)


mgu_params = functools.partial(gru_params, gates="fn")
conv_lstm = functools.partial(pair, eqx_rnn.ConvLSTMCell, nn.ConvLSTMCell, conv_lstm_params)
PAIRS = {
    "simple": pair(eqx_rnn.SimpleCell, nn.SimpleCell, simple_params),
    "simple-residual": pair(eqx_rnn.SimpleCell, nn.SimpleCell, simple_params, residual=True),
    "lstm": pair(eqx_rnn.LSTMCell, nn.LSTMCell, lstm_params),
    "lstm-optimized": pair(eqx_rnn.LSTMCell, nn.OptimizedLSTMCell, lstm_params),
    "gru": pair(eqx_rnn.GRUCell, nn.GRUCell, gru_params),
    "mgu": pair(eqx_rnn.MGUCell, nn.MGUCell, mgu_params),
    "mgu-no-reset": pair(eqx_rnn.MGUCell, nn.MGUCell, mgu_params, reset_gate=False),
    "conv-lstm-1d": conv_lstm((3,), features=(6, 2), hidden_size=3),
    "conv-lstm-2d": conv_lstm((3, 2), features=(4, 5, 2), hidden_size=3),
}
LSTM, GRU = PAIRS["lstm"], PAIRS["gru"]
every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def with_gradients(run):
    """`run`, with the gradients of a randomly weighted sum of all it returns, for all arguments.

    Functions of Flax take our weights too, so that gradients are compared leaf by leaf.
    """

    def loss(args):
        out = run(*args)
        weighted = jax.tree.map(jnp.vdot, out, random_like(out, seed=3))
        return sum(jax.tree.leaves(weighted)), out

    def call(*args):
        (_, out), gradients = grad(args)
        return out, gradients

    grad = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))
    return call


def assert_same(ours, flax, *args):
    jax.tree.map(assert_close, with_gradients(flax)(*args), with_gradients(ours)(*args))


def zero_padding(ys, lengths, time_major=False):
    """Flax's outputs in the padding are no numbers to compare, so zeros replace them."""
    valid = jnp.arange(TIME) < lengths[..., None]
    valid = jnp.moveaxis(valid, -1, 0) if time_major else valid
    return jnp.where(jnp.expand_dims(valid, tuple(range(valid.ndim - ys.ndim, 0))), ys, 0)


def runners(pair, lengths=None, return_carry=True, **options):
    """Our `RNN` and Flax's, as functions of our weights, inputs and our carry."""
    call = {"seq_lengths": lengths, "return_carry": return_carry}

    def ours(cell, xs, carry):
        return eqx_rnn.RNN(cell, **options)(xs, initial_carry=carry, **call)

    def flax(cell, xs, carry):
        variables = {"params": {"cell": pair.params(cell)}}
        rnn = nn.RNN(pair.flax, **options)
        out = rnn.apply(variables, xs, initial_carry=carry_to_flax(carry), **call)
        carry, ys = out if return_carry else (None, out)
        if lengths is not None:
            ys = zero_padding(ys, lengths, rnn.time_major)
        return (carry_from_flax(carry), ys) if return_carry else ys

    return ours, flax


@every_pair
def test_each_of_flax_s_parameters_comes_from_ours(pair):
    carry, xs = carry_to_flax(pair.carry(2)), pair.inputs(2)
    wanted = jax.eval_shape(pair.flax.init, jax.random.key(0), carry, xs)["params"]
    assert jax.eval_shape(pair.params, pair.cell()) == wanted


@every_pair
def test_step(pair):
    def flax(cell, carry, x):
        variables = {"params": pair.params(cell)}
        carry, y = pair.flax.apply(variables, carry_to_flax(carry), x)
        return carry_from_flax(carry), y

    cell = pair.cell()
    assert_same(lambda cell, *args: cell(*args), flax, cell, pair.carry(2, 3), pair.inputs(2, 3))


@every_pair
def test_rnn_with_every_cell(pair):
    """One setting in which a mistake about the feature axes shows."""
    run = runners(pair, jnp.array([3, TIME, 1]), time_major=True, reverse=True, keep_order=True)
    assert_same(*run, pair.cell(), pair.inputs(TIME, 3), pair.carry(3))


@pytest.mark.parametrize("time_major", [False, True], ids=["batch-major", "time-major"])
@pytest.mark.parametrize(
    "order",
    [{}, {"reverse": True}, {"reverse": True, "keep_order": True}],
    ids=["forward", "reverse", "keep-order"],
)
@pytest.mark.parametrize(
    ("batch", "lengths"),
    [((), None), ((2, 3), None), ((4,), [2, TIME, 1, 3]), ((2, 3), [[2, TIME, 1], [3, 4, 2]])],
    ids=["no-batch", "two-batch-axes", "lengths", "lengths-two-batch-axes"],
)
def test_rnn(batch, lengths, order, time_major):
    lengths = None if lengths is None else jnp.array(lengths)
    # With two batch axes Flax does not find the last carry: see below.
    return_carry = lengths is None or lengths.ndim == 1
    run = runners(LSTM, lengths, return_carry, time_major=time_major, **order)
    leading = (TIME, *batch) if time_major else (*batch, TIME)
    assert_same(*run, LSTM.cell(), LSTM.inputs(*leading), LSTM.carry(*batch))


@pytest.mark.parametrize("lengths", [None, [2, TIME, 1]], ids=["full", "lengths"])
@pytest.mark.parametrize("time_major", [False, True], ids=["batch-major", "time-major"])
@pytest.mark.parametrize(
    ("merge", "flax_merge"),
    [({}, {}), ({"merge": "mul"}, {"merge_fn": jnp.multiply})],
    ids=["concat", "mul"],
)
def test_bidirectional(merge, flax_merge, time_major, lengths):
    """An LSTM forward, a GRU backward."""
    lengths = None if lengths is None else jnp.array(lengths)

    def ours(cells, xs, carries):
        rnns = (eqx_rnn.RNN(cell, time_major=time_major) for cell in cells)
        both = eqx_rnn.Bidirectional(*rnns, **merge)
        return both(xs, initial_carry=carries, seq_lengths=lengths, return_carry=True)

    def flax(cells, xs, carries):
        both = nn.Bidirectional(
            nn.RNN(LSTM.flax), nn.RNN(GRU.flax), time_major=time_major, **flax_merge
        )
        params = {
            "forward_rnn": {"cell": LSTM.params(cells[0])},
            "backward_rnn": {"cell": GRU.params(cells[1])},
        }
        carries, ys = both.apply(
            {"params": params},
            xs,
            initial_carry=tuple(map(carry_to_flax, carries)),
            seq_lengths=lengths,
            return_carry=True,
        )
        ys = ys if lengths is None else zero_padding(ys, lengths, time_major)
        return tuple(map(carry_from_flax, carries)), ys

    xs = LSTM.inputs(TIME, 3) if time_major else LSTM.inputs(3, TIME)
    carries = LSTM.carry(3), GRU.carry(3, seed=4)
    assert_same(ours, flax, (LSTM.cell(), GRU.cell(seed=5)), xs, carries)


@both_directions
def test_flax_is_wrong_about_length_0(reverse):
    """Its final carry has run through all the padding; ours is the initial one."""
    lengths = jnp.array([0, 2])
    ours, flax = runners(LSTM, lengths, reverse=reverse)
    _, flax_in_full = runners(LSTM, reverse=reverse)
    args = LSTM.cell(), LSTM.inputs(2, TIME), LSTM.carry(2)
    ours, flax, flax_in_full = (
        [leaf[0] for leaf in jax.tree.leaves(run(*args)[0])] for run in (ours, flax, flax_in_full)
    )
    initial = [leaf[0] for leaf in jax.tree.leaves(args[-1])]
    jax.tree.map(np.testing.assert_array_equal, ours, initial)
    jax.tree.map(assert_close, flax, flax_in_full)
    assert all(np.abs(a - b).max() > 0.01 for a, b in zip(flax, initial, strict=True))


@both_directions
@pytest.mark.parametrize("batch", [(2, 3), (2, 2)], ids=str)
def test_flax_is_wrong_about_lengths_with_two_batch_axes(batch, reverse):
    """It raises, or returns a carry of a wrong shape; ours is that of the flattened batch."""
    lengths = jnp.array([4, 1, 3, TIME, 2, 1])[: batch[0] * batch[1]]
    cell, xs, carry = LSTM.cell(), LSTM.inputs(*batch, TIME), LSTM.carry(*batch)
    ours, flax = runners(LSTM, lengths.reshape(batch), reverse=reverse)
    if batch == (2, 3):
        with pytest.raises(ValueError, match="Incompatible shapes for broadcasting"):
            flax(cell, xs, carry)
    else:
        assert flax(cell, xs, carry)[0].hidden.shape == (*batch, 2, 4)  # and not (*batch, 4)
    _, flax_on_one_axis = runners(LSTM, lengths, reverse=reverse)
    flat_xs = xs.reshape(-1, *xs.shape[2:])
    flat_carry = jax.tree.map(lambda leaf: leaf.reshape(-1, 4), carry)
    expected = flax_on_one_axis(cell, flat_xs, flat_carry)
    got = ours(cell, xs, carry)
    jax.tree.map(lambda a, b: assert_close(a.reshape(b.shape), b), got, expected)


def test_flax_s_bidirectional_is_wrong_about_lengths_with_two_batch_axes():
    """It raises even when nobody asks for the carry; ours is two `RNN`s."""
    lengths, xs = jnp.array([[4, 1, 3], [TIME, 2, 1]]), GRU.inputs(2, 3, TIME)
    cells = GRU.cell(), GRU.cell(seed=5)
    params = {
        f"{way}_rnn": {"cell": GRU.params(cell)}
        for way, cell in zip(("forward", "backward"), cells, strict=True)
    }
    both = nn.Bidirectional(nn.RNN(GRU.flax), nn.RNN(GRU.flax))
    with pytest.raises(ValueError, match="Incompatible shapes for broadcasting"):
        both.apply({"params": params}, xs, seq_lengths=lengths)
    expected = both.apply(
        {"params": params}, xs.reshape(6, TIME, 3), seq_lengths=lengths.reshape(6)
    )
    expected = zero_padding(expected.reshape(2, 3, TIME, 8), lengths)
    rnns = map(eqx_rnn.RNN, cells)
    assert_close(eqx_rnn.Bidirectional(*rnns)(xs, seq_lengths=lengths), expected)


@both_directions
def test_flax_is_wrong_about_nan_padding(reverse):
    """Its values at valid steps are right, its gradients are NaN; ours do not see the padding."""
    lengths = jnp.array([2, TIME, 1])
    ours, flax = map(with_gradients, runners(GRU, lengths, reverse=reverse, keep_order=True))
    cell, clean, carry = GRU.cell(), GRU.inputs(3, TIME), GRU.carry(3)
    padded = jnp.where(jnp.arange(TIME)[:, None] < lengths[:, None, None], clean, jnp.nan)

    expected = flax(cell, clean, carry)
    jax.tree.map(assert_close, ours(cell, padded, carry), expected)

    values, (weight_gradients, x_gradients, carry_gradients) = flax(cell, padded, carry)
    jax.tree.map(assert_close, values, expected[0])
    assert all(jnp.isnan(leaf).all() for leaf in jax.tree.leaves(weight_gradients))
    # By sequence: only the second has no padding.
    for gradients in (x_gradients, carry_gradients):
        spoilt = jnp.isnan(gradients).reshape(3, -1).any(axis=1)
        np.testing.assert_array_equal(spoilt, [True, False, True])


def test_flax_s_conv_lstm_cannot_change_the_space():
    """It strides over the state too, and starts from one of the inputs' size; ours does not."""
    options = {"kernel_size": (3,), "strides": (2,)}
    flax = nn.ConvLSTMCell(3, **options)
    x = jax.ShapeDtypeStruct((6, 2), jnp.float32)
    with pytest.raises(TypeError, match="incompatible shapes for broadcasting"):
        jax.eval_shape(nn.RNN(flax).init, jax.random.key(0), jnp.zeros((TIME, *x.shape)))
    ours = eqx_rnn.ConvLSTMCell(2, 3, **options, key=jax.random.key(0))
    assert ours.initialize_carry(None, x).hidden.shape == (3, 3)
