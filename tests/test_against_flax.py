"""Side by side with Flax's linen: same weights and inputs, same numbers and gradients.

Where Flax is wrong, a test says so: it asserts what Flax does, and that we do the right thing.
"""

import functools

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import random_like

import eqx_rnn

TIME = 5

close = {"rtol": 1e-12, "atol": 1e-12, "equal_nan": False, "strict": True}
assert_close = functools.partial(np.testing.assert_allclose, **close)


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

    rows = np.arange(4 * cell.hidden_size).reshape(4, -1)[[0, 2, 1, 3]].ravel()
    kernel = lambda weight: jnp.moveaxis(weight[rows], (0, 1), (-1, -2))
    bias = (cell.bias - jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), cell.hidden_size))[rows]
    apart = random_like(bias, seed=7)
    return {  # the bias's gradient comes from both
        "ih": {"kernel": kernel(cell.weight_ih), "bias": bias / 3 + apart},
        "hh": {"kernel": kernel(cell.weight_hh), "bias": 2 * bias / 3 - apart},
    }


def translate(carry):
    """From `LSTMCarry(hidden, cell)` to Flax's `(cell, hidden)`, or back."""
    if isinstance(carry, eqx_rnn.LSTMCarry):
        return carry.cell, carry.hidden
    return eqx_rnn.LSTMCarry(*carry[::-1]) if isinstance(carry, tuple) else carry


class Pair:
    """One of our cells, and Flax's."""

    def __init__(self, make, flax, params, *kernel, features=(3,), hidden_size=4, **options):
        make = functools.partial(make, features[-1], hidden_size, *kernel, **options)
        self.shapes = eqx.filter_eval_shape(make, key=jax.random.key(0))
        self.flax = flax(hidden_size, *kernel, **options, param_dtype=jnp.float64)
        self.params, self.features = params, features

    def cell(self, seed=0):
        return random_like(self.shapes, seed, scale=0.5)

    def inputs(self, *leading):
        return random_like(jax.ShapeDtypeStruct((*leading, *self.features), jnp.float64), seed=1)

    def carry(self, *batch, seed=2):
        make = lambda cell, x: cell.initialize_carry(None, x)
        return random_like(eqx.filter_eval_shape(make, self.shapes, self.inputs(*batch)), seed)


mgu_params = functools.partial(gru_params, gates="fn")
conv_lstm = functools.partial(Pair, eqx_rnn.ConvLSTMCell, nn.ConvLSTMCell, conv_lstm_params)
PAIRS = {
    "simple": Pair(eqx_rnn.SimpleCell, nn.SimpleCell, simple_params),
    "simple-residual": Pair(eqx_rnn.SimpleCell, nn.SimpleCell, simple_params, residual=True),
    "lstm": Pair(eqx_rnn.LSTMCell, nn.LSTMCell, lstm_params),
    "lstm-optimized": Pair(eqx_rnn.LSTMCell, nn.OptimizedLSTMCell, lstm_params),
    "gru": Pair(eqx_rnn.GRUCell, nn.GRUCell, gru_params),
    "mgu": Pair(eqx_rnn.MGUCell, nn.MGUCell, mgu_params),
    "mgu-no-reset": Pair(eqx_rnn.MGUCell, nn.MGUCell, mgu_params, reset_gate=False),
    "conv-lstm-1d": conv_lstm((3,), features=(6, 2), hidden_size=3),
    "conv-lstm-2d": conv_lstm((3, 2), features=(4, 5, 2), hidden_size=3),
}
LSTM, GRU = PAIRS["lstm"], PAIRS["gru"]
every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def with_gradients(run):
    """`run`, and the gradients of a randomly weighted sum of all it returns, for all arguments.

    Functions of Flax take our weights too, so that gradients are compared leaf by leaf.
    """

    @eqx.filter_jit
    @functools.partial(eqx.filter_value_and_grad, has_aux=True)
    def call(args):
        out = run(*args)
        weighted = jax.tree.map(jnp.vdot, out, random_like(out, seed=3))
        return sum(jax.tree.leaves(weighted)), out

    return call


def assert_same(ours, flax, *args):
    jax.tree.map(assert_close, with_gradients(ours)(args), with_gradients(flax)(args))


def where_valid(lengths, xs, otherwise, time_major=False):
    """`xs` where sequences have not ended. (What Flax puts out after that compares to nothing.)"""
    if lengths is None:
        return xs
    valid = jnp.arange(TIME) < jnp.expand_dims(lengths, -1)
    valid = jnp.moveaxis(valid, -1, 0) if time_major else valid
    return jnp.where(jnp.expand_dims(valid, tuple(range(valid.ndim - xs.ndim, 0))), xs, otherwise)


def rnns(pair, lengths=None, return_carry=True, time_major=False, **options):
    """Our `RNN` and Flax's, as functions of our weights, inputs and our carry."""
    call = {"seq_lengths": lengths, "return_carry": return_carry}

    def ours(cell, xs, carry):
        rnn = eqx_rnn.RNN(cell, time_major=time_major, **options)
        out = rnn(xs, initial_carry=carry, **call)
        return out if return_carry else (None, out)

    def flax(cell, xs, carry):
        variables = {"params": {"cell": pair.params(cell)}}
        rnn = nn.RNN(pair.flax, time_major=time_major, **options)
        out = rnn.apply(variables, xs, initial_carry=translate(carry), **call)
        carry, ys = out if return_carry else (None, out)
        return translate(carry), where_valid(lengths, ys, 0, time_major)

    return ours, flax


def bidirectionals(lengths, return_carry=True, time_major=False):
    """The same for `Bidirectional`, of an LSTM and a GRU: functions of pairs."""
    call = {"seq_lengths": lengths, "return_carry": return_carry}

    def ours(cells, xs, carries):
        rnns = (eqx_rnn.RNN(cell, time_major=time_major) for cell in cells)
        return eqx_rnn.Bidirectional(*rnns)(xs, initial_carry=carries, **call)

    def flax(cells, xs, carries):
        lstm, gru = {"cell": LSTM.params(cells[0])}, {"cell": GRU.params(cells[1])}
        variables = {"params": {"forward_rnn": lstm, "backward_rnn": gru}}
        model = nn.Bidirectional(nn.RNN(LSTM.flax), nn.RNN(GRU.flax), time_major=time_major)
        carries = tuple(map(translate, carries))
        carries, ys = model.apply(variables, xs, initial_carry=carries, **call)
        return tuple(map(translate, carries)), where_valid(lengths, ys, 0, time_major)

    return ours, flax


@every_pair
def test_step(pair):
    def flax(cell, carry, x):
        carry, y = pair.flax.apply({"params": pair.params(cell)}, translate(carry), x)
        return translate(carry), y

    cell, carry, x = pair.cell(), pair.carry(2, 3), pair.inputs(2, 3)
    flax_variables = jax.eval_shape(pair.flax.init, jax.random.key(0), translate(carry), x)
    assert jax.eval_shape(pair.params, cell) == flax_variables["params"]
    assert_same(lambda cell, *args: cell(*args), flax, cell, carry, x)


@pytest.mark.parametrize(
    ("name", "batch", "lengths", "options"),
    [
        ("gru", (), None, "reverse keep_order"),
        ("simple", (2, 3), None, "reverse"),
        ("conv-lstm-1d", (2, 3), None, "time_major"),
        ("lstm", (4,), L4, ""),
        ("lstm-optimized", (4,), L4, "reverse"),
        ("lstm-optimized", (4,), L4, "time_major reverse keep_order"),
        ("conv-lstm-2d", (3,), L3, "time_major reverse"),
        # With two batch axes and lengths Flax's outputs are right, its carry is not: see below.
        ("gru", (2, 3), L23, "time_major"),
        ("mgu", (2, 3), L23, "reverse keep_order"),
        ("mgu", (2, 3), L23, "time_major reverse"),
    ],
)
def test_rnn(name, batch, lengths, options):
    pair, options = PAIRS[name], dict.fromkeys(options.split(), True)
    xs = pair.inputs(TIME, *batch) if "time_major" in options else pair.inputs(*batch, TIME)
    run = rnns(pair, lengths, lengths is None or len(batch) == 1, **options)
    assert_same(*run, pair.cell(), xs, pair.carry(*batch))


@pytest.mark.parametrize(("lengths", "time_major"), [(None, False), (L3, True)])
def test_bidirectional(lengths, time_major):
    xs = LSTM.inputs(TIME, 3) if time_major else LSTM.inputs(3, TIME)
    run = bidirectionals(lengths, time_major=time_major)
    assert_same(*run, (LSTM.cell(), GRU.cell(5)), xs, (LSTM.carry(3), GRU.carry(3, seed=4)))


@both_directions
def test_flax_is_wrong_about_length_0(reverse):
    """Its final carry has run through all the padding; ours is the initial one."""
    args = LSTM.cell(), LSTM.inputs(2, TIME), LSTM.carry(2)
    runs = (*rnns(LSTM, jnp.array([0, 2]), reverse=reverse), rnns(LSTM, reverse=reverse)[1])
    ours, flax, flax_in_full = (jax.tree.map(lambda leaf: leaf[0], run(*args)) for run in runs)
    initial = jax.tree.map(lambda leaf: leaf[0], args[-1])
    jax.tree.map(np.testing.assert_array_equal, ours, (initial, np.zeros((TIME, 4))))
    jax.tree.map(assert_close, flax[0], flax_in_full[0])
    assert jnp.abs(flax[0].hidden - initial.hidden).max() > 0.01


LENGTHS = np.array([[4, 1, 3], [TIME, 2, 1]])


def assert_same_flattened(models, cell, *args):
    """Ours with two batch axes and lengths equals Flax's with one."""
    flatten = lambda leaf: leaf.reshape(6, *leaf.shape[2:])
    ours = models(LENGTHS)[0](cell, *args)
    flax = models(flatten(LENGTHS))[1](cell, *jax.tree.map(flatten, args))
    jax.tree.map(assert_close, jax.tree.map(flatten, ours), flax)


@both_directions
def test_flax_is_wrong_about_lengths_with_two_batch_axes(reverse):
    """It raises, or returns a carry of a wrong shape."""
    models = functools.partial(rnns, LSTM, reverse=reverse)
    args = LSTM.cell(), LSTM.inputs(2, 3, TIME), LSTM.carry(2, 3)
    assert_same_flattened(models, *args)
    with pytest.raises(ValueError, match="Incompatible shapes for broadcasting"):
        jax.eval_shape(models(LENGTHS)[1], *args)
    square = LSTM.cell(), LSTM.inputs(2, 2, TIME), LSTM.carry(2, 2)
    assert jax.eval_shape(models(LENGTHS[:, :2])[1], *square)[0].hidden.shape == (2, 2, 2, 4)


def test_flax_s_bidirectional_is_wrong_about_lengths_with_two_batch_axes():
    """It raises even when nobody asks for the carry."""
    carries = LSTM.carry(2, 3), GRU.carry(2, 3, seed=4)
    args = (LSTM.cell(), GRU.cell(5)), LSTM.inputs(2, 3, TIME), carries
    assert_same_flattened(bidirectionals, *args)
    with pytest.raises(ValueError, match="Incompatible shapes for broadcasting"):
        jax.eval_shape(bidirectionals(LENGTHS, return_carry=False)[1], *args)


@both_directions
def test_flax_is_wrong_about_nan_padding(reverse):
    """Its values at valid steps are right, its gradients are NaN; ours do not see the padding."""
    lengths, clean = jnp.array(L3), GRU.inputs(3, TIME)
    ours, flax = map(with_gradients, rnns(GRU, lengths, reverse=reverse, keep_order=True))
    cell, carry, padded = GRU.cell(), GRU.carry(3), where_valid(lengths, clean, jnp.nan)
    expected = flax((cell, clean, carry))
    jax.tree.map(assert_close, ours((cell, padded, carry)), expected)

    values, (of_weights, *of_batch) = flax((cell, padded, carry))
    jax.tree.map(assert_close, values, expected[0])
    assert all(jnp.isnan(gradient).all() for gradient in jax.tree.leaves(of_weights))
    for gradient in of_batch:  # only the second sequence has no padding
        spoilt = jnp.isnan(gradient).reshape(3, -1).any(axis=1)
        np.testing.assert_array_equal(spoilt, [True, False, True])


def test_flax_s_conv_lstm_cannot_change_the_space():
    """It starts from a state of the inputs' size, and strides over it too."""
    options, key, x = {"kernel_size": (3,), "strides": (2,)}, jax.random.key(0), jnp.zeros((6, 2))
    flax = nn.ConvLSTMCell(3, **options)
    carry = flax.initialize_carry(key, x.shape)
    with pytest.raises(TypeError, match="incompatible shapes for broadcasting"):
        jax.eval_shape(flax.init, key, carry, x)
    make = lambda key: eqx_rnn.ConvLSTMCell(2, 3, **options, key=key).initialize_carry(None, x)
    assert eqx.filter_eval_shape(make, key).hidden.shape == (3, 3)
