"""A key gives the same weights in all versions. The tests derive them again, from the key alone."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import eqx_rnn

NORMAL = jax.nn.initializers.normal(1.0)
KEYS = {
    "threefry": lambda: jr.key(7),
    "rbg": lambda: jr.key(7, impl="rbg"),
    "unsafe_rbg": lambda: jr.key(7, impl="unsafe_rbg"),
    "raw": lambda: jr.PRNGKey(7),
}


def matrix(key, gates, rows, columns, *kernel, init=NORMAL):
    """One draw per gate in float32, stacked along the rows, outputs first."""
    drawn = [
        np.asarray(init(k, (*kernel, columns, rows), jnp.float32)) for k in jr.split(key, gates)
    ]
    return np.concatenate([np.moveaxis(gate, (-1, -2), (0, 1)) for gate in drawn])


def vector(key, size):
    return np.array(NORMAL(key, (size,), jnp.float32))


def forgetful(key):
    """The biases of four gates. The second bias is raised by 1."""
    return vector(key, 16) + np.repeat(np.float32([0, 1, 0, 0]), 4)


def lstm(key):
    ih, hh, hr, b = jr.split(key, 4)
    return [matrix(ih, 4, 4, 3), matrix(hh, 4, 4, 2), matrix(hr, 1, 2, 4), forgetful(b)]


def lstm_without_projection(key):
    ih, hh, _, b = jr.split(key, 4)
    return [matrix(ih, 4, 4, 3), matrix(hh, 4, 4, 4), forgetful(b)]


def gru_reset_before(key):
    ih, hh, b, _ = jr.split(key, 4)
    return [matrix(ih, 3, 4, 3), matrix(hh, 3, 4, 4), vector(b, 12)]


def conv_gru(key):
    ih, hh, b, b_n = jr.split(key, 4)
    weights = [matrix(ih, 3, 3, 2, 2, 3), matrix(hh, 3, 3, 3, 2, 3)]
    return [*weights, vector(b, 9), vector(b_n, 3)]


def janet(key):
    ih, hh, b = jr.split(key, 3)
    bias = vector(b, 8)
    bias[:4] += jnp.log(jr.uniform(jr.fold_in(b, 0), (4,), jnp.float32, 1.0, 19.0))
    return [matrix(ih, 2, 4, 3), matrix(hh, 2, 4, 4), bias]


def layer_norm_lstm(key):
    ih, hh, *gains, b, b_c = jr.split(key, 7)
    gains = [vector(k, size) for k, size in zip(gains, (16, 16, 4), strict=True)]
    return [matrix(ih, 4, 4, 3), matrix(hh, 4, 4, 4), *gains, forgetful(b), vector(b_c, 4)]


def ind_rnn(key):
    ih, hh, b = jr.split(key, 3)
    return [matrix(ih, 1, 4, 3), vector(hh, 4), vector(b, 4)]


def slstm(key):
    ih, hh, b = jr.split(key, 3)
    heads = np.stack([matrix(head, 4, 2, 2).T for head in jr.split(hh, 2)])
    return [matrix(ih, 4, 4, 3), heads, forgetful(b)]


CASES = {
    "lstm": (eqx_rnn.LSTMCell, (3, 4), {"proj_size": 2}, lstm),
    "lstm, no projection": (eqx_rnn.LSTMCell, (3, 4), {}, lstm_without_projection),
    "gru": (eqx_rnn.GRUCell, (3, 4), {"reset_after": False}, gru_reset_before),
    "conv-gru": (eqx_rnn.ConvGRUCell, (2, 3, (2, 3)), {}, conv_gru),
    "janet": (eqx_rnn.JANETCell, (3, 4), {"forget_bias": eqx_rnn.chrono(20)}, janet),
    "layer-norm-lstm": (eqx_rnn.LayerNormLSTMCell, (3, 4), {"gain_init": NORMAL}, layer_norm_lstm),
    "ind-rnn": (eqx_rnn.IndRNNCell, (3, 4), {}, ind_rnn),
    "slstm": (eqx_rnn.SLSTMCell, (3, 4), {"num_heads": 2}, slstm),
}


def drawn(name, key, **others):
    cell_type, sizes, options, derive = CASES[name]
    inits = dict.fromkeys(("weight_init", "recurrent_weight_init", "bias_init"), NORMAL)
    cell = cell_type(*sizes, **(inits | options | others), key=key)
    return jax.tree.leaves(cell), derive(key)


@pytest.mark.parametrize("name", CASES)
def test_weights_of_a_key(name):
    for leaf, expected in zip(*drawn(name, jr.key(7), dtype=jnp.float32), strict=True):
        np.testing.assert_array_equal(leaf, expected)


@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_of_key(kind):
    for leaf, expected in zip(*drawn("lstm", KEYS[kind](), dtype=jnp.float32), strict=True):
        np.testing.assert_array_equal(leaf, expected)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_rounded_float32(dtype):
    options = {"dtype": dtype, "forget_bias": 0.0}
    leaves, expected = drawn("lstm, no projection", jr.key(7), **options)
    expected[-1][4:8] = vector(jr.split(jr.key(7), 4)[3], 16)[4:8]
    for leaf, wide in zip(leaves, expected, strict=True):
        np.testing.assert_array_equal(leaf, wide.astype(dtype))


def test_the_default_initialisers():
    """`lecun_normal` per gate, and an orthogonal matrix per gate."""
    cell = eqx_rnn.UGRNNCell(3, 4, dtype=jnp.float32, key=jr.key(7))
    ih, hh, _ = jr.split(jr.key(7), 3)
    lecun, orthogonal = jax.nn.initializers.lecun_normal(), jax.nn.initializers.orthogonal()
    np.testing.assert_array_equal(cell.weight_ih, matrix(ih, 2, 4, 3, init=lecun))
    np.testing.assert_array_equal(cell.weight_hh, matrix(hh, 2, 4, 4, init=orthogonal))
    np.testing.assert_array_equal(cell.bias, np.repeat([1.0, 0.0], 4))
