"""Options of the gated and normalised cells, and cells that equal each other."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_cell, random_like

import eqx_rnn
from eqx_rnn._cells.norms import normalize

CELLS = [
    eqx_rnn.LayerNormLSTMCell,
    eqx_rnn.LayerNormGRUCell,
    eqx_rnn.PeepholeLSTMCell,
    eqx_rnn.IndRNNCell,
    eqx_rnn.UGRNNCell,
    eqx_rnn.JANETCell,
]
X = random_like(jax.ShapeDtypeStruct((2, 3), jnp.float64), seed=2)
assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-14, atol=1e-14)


def build(make, seed=0, **options):
    """A cell with random distinct weights, including biases, and a carry."""
    cell = random_cell(make, 3, 4, seed=seed, dtype=None, **options)
    return cell, random_like(jax.eval_shape(lambda: cell.initialize_carry(None, X)), seed=3)


def with_leaves_of(cell, target):
    return eqx.tree_at(jax.tree.leaves, target, jax.tree.leaves(cell))


@pytest.mark.parametrize("make", CELLS)
def test_no_bias_is_a_bias_of_zero(make):
    without, carry = build(make, use_bias=False)
    biases = lambda cell: [v for name, v in vars(cell).items() if name.startswith("bias")]
    assert biases(without) == [None] * len(biases(without))
    arrays = {name: v for name, v in vars(without).items() if eqx.is_array(v)}
    having, _ = build(make, seed=1)
    zeroed = eqx.tree_at(biases, having, replace_fn=jnp.zeros_like)
    same = eqx.tree_at(lambda cell: [getattr(cell, n) for n in arrays], zeroed, [*arrays.values()])
    jax.tree.map(assert_close, without(carry, X), same(carry, X))
    same = eqx.tree_at(lambda cell: [getattr(cell, n) for n in arrays], having, [*arrays.values()])
    assert not np.allclose(without(carry, X)[1], same(carry, X)[1])


def test_other_activations():
    """A UGRNN applies the right function to each part of its stacked gates."""
    cell, h = build(eqx_rnn.UGRNNCell, activation=jax.nn.relu, gate_activation=jax.nn.hard_sigmoid)
    a_g, a_n = np.split(X @ cell.weight_ih.T + h @ cell.weight_hh.T + cell.bias, 2, axis=-1)
    g, n = np.clip(a_g / 6 + 0.5, 0, 1), np.maximum(a_n, 0)
    assert_close(cell(h, X)[1], g * h + (1 - g) * n)


def test_one_gate_cells_agree():
    """A UGRNN is a JANET with `beta` 0, and an MGU whose gate does not reset."""
    ugrnn, carry = build(eqx_rnn.UGRNNCell)
    janet, _ = build(eqx_rnn.JANETCell, beta=0.0)
    mgu, _ = build(eqx_rnn.MGUCell, reset_gate=False)
    for other in (janet, mgu):
        assert_close(with_leaves_of(ugrnn, other)(carry, X)[1], ugrnn(carry, X)[1])
    shifted, _ = build(eqx_rnn.JANETCell)
    assert not np.allclose(with_leaves_of(ugrnn, shifted)(carry, X)[1], ugrnn(carry, X)[1])


def test_a_peephole_lstm_starts_as_an_lstm():
    make = eqx_rnn.PeepholeLSTMCell
    assert np.all(make(3, 4, key=jax.random.key(0)).weight_ph == 0)
    cell, carry = build(make)
    shut = eqx.tree_at(lambda c: c.weight_ph, cell, jnp.zeros(12))
    lstm = eqx.tree_at(
        lambda c: (c.weight_ih, c.weight_hh, c.bias),
        build(eqx_rnn.LSTMCell, seed=1)[0],
        (cell.weight_ih, cell.weight_hh, cell.bias),
    )
    jax.tree.map(assert_close, shut(carry, X), lstm(carry, X))
    drawn = make(3, 4, peephole_init=jax.nn.initializers.normal(), key=jax.random.key(0))
    assert len(np.unique(drawn.weight_ph)) == 12


@pytest.mark.parametrize("make", [eqx_rnn.LayerNormLSTMCell, eqx_rnn.LayerNormGRUCell])
def test_layer_normalisation_sees_no_scale_and_starts_from_its_gains(make):
    cell, carry = build(make, eps=0.0)
    scaled = eqx.tree_at(
        lambda c: (c.weight_ih, c.weight_hh), cell, (7 * cell.weight_ih, 0.3 * cell.weight_hh)
    )
    jax.tree.map(functools.partial(assert_close, rtol=1e-12), scaled(carry, X), cell(carry, X))
    drawn = make(3, 4, gain_init=jax.nn.initializers.uniform(), key=jax.random.key(0))
    for name in (name for name in vars(drawn) if name.startswith("gain")):
        values = np.asarray(getattr(drawn, name))
        assert len(np.unique(values)) == values.size
        assert np.all(getattr(make(3, 4, key=jax.random.key(0)), name) == 1)


def test_layer_normalisation_in_half_precision():
    """Differences survive beside a large mean, because statistics are computed in float32."""
    x = (100 + 4 * random_like(jax.ShapeDtypeStruct((3, 16), jnp.float64), 0)).astype(jnp.bfloat16)
    exact = normalize(x.astype(jnp.float64), 1e-5)
    assert normalize(x, 1e-5).dtype == jnp.bfloat16
    np.testing.assert_allclose(normalize(x, 1e-5).astype(jnp.float64), exact, atol=0.01)
    np.testing.assert_allclose(exact.mean(axis=-1), 0, atol=1e-14)
    np.testing.assert_allclose(exact.var(axis=-1), 1, rtol=1e-5)


def test_initial_recurrent_weights_of_an_ind_rnn():
    cell = eqx_rnn.IndRNNCell(3, 500, key=jax.random.key(0))
    u = np.sort(cell.weight_hh)
    assert 0 <= u[0] < u[-1] <= 1
    np.testing.assert_allclose(u, np.linspace(0, 1, 500), atol=0.08)  # Kolmogorov and Smirnov


def test_chrono_forget_bias():
    """`exp` of the bias is uniform from 1 to `max_steps - 1`. The candidate's does not change."""
    init = jax.nn.initializers.constant(4.0)
    make = functools.partial(eqx_rnn.JANETCell, 3, 500, bias_init=init, key=jax.random.key(0))
    s, n = np.split(np.asarray(make(forget_bias=eqx_rnn.chrono(101), dtype=float).bias), 2)
    np.testing.assert_allclose(np.sort(np.exp(s - 4)), np.linspace(1, 100, 500), atol=8)
    assert np.all(n == 4)
    s, n = np.split(np.asarray(make(forget_bias=2.0).bias), 2)
    assert np.all(s == 6)
    assert np.all(n == 4)
