"""Matrix memories and selective recurrences at the edges of what users pass."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import eqx_rnn
from eqx_rnn import RNN

KEY = jr.key(0)


@pytest.mark.parametrize("size", [1e-30, 1e-14, 60.0])
def test_keys_of_any_length_have_finite_gradients(size):
    """In float32, where the square of a short key underflows."""
    cell = eqx_rnn.GatedDeltaNetCell(8, 8, num_heads=2, key_size=2, dtype=jnp.float32, key=KEY)
    x = size * jr.normal(KEY, (4, 20, 8), jnp.float32)
    gradient = eqx.filter_grad(lambda cell: jnp.mean(RNN(cell)(x) ** 2))(cell)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


WIDE = {
    "linear attention": lambda **o: eqx_rnn.LinearAttentionCell(3, 4, num_heads=2, **o),
    "mLSTM": lambda **o: eqx_rnn.MLSTMCell(3, 8, num_heads=2, **o),
    "RWKV-4": lambda **o: eqx_rnn.RWKV4Cell(3, 4, **o),
    "Mamba": lambda **o: eqx_rnn.MambaCell(3, 4, **o),
}


@pytest.mark.parametrize("name", WIDE)
def test_long_sums_in_bfloat16(name):
    """The state is float32, so that it grows, and values need no derivative to be right."""
    cell = WIDE[name](dtype=jnp.bfloat16, key=KEY)
    wide = jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, cell)
    x = jr.normal(jr.key(1), (1, 500, 3), jnp.bfloat16)
    carry, y = eqx.filter_jit(RNN(cell))(x, return_carry=True)
    expected = eqx.filter_jit(RNN(wide))(x.astype(jnp.float32))[:, -50:]
    assert y.dtype == jnp.bfloat16
    assert jax.tree.leaves(carry)[0].dtype == jnp.float32
    error = np.asarray(y, np.float32)[:, -50:] - expected
    assert np.sqrt(np.mean(error**2) / np.mean(expected**2)) < 0.03


def test_trained_lower_bounds_stay_fractions():
    cell = eqx_rnn.HGRN2Cell(3, 4, lower_bound=(0.0, 0.3, 0.5, 0.9), dtype=float, key=KEY)
    x = jr.normal(KEY, (2, 9, 3))
    loss = lambda cell: jnp.sum(RNN(cell)(x) ** 2)
    assert np.all(eqx.filter_grad(loss)(cell).lower_bounds != 0)
    outside = eqx.tree_at(lambda c: c.lower_bounds, cell, jnp.array([-0.5, 0.3, 0.5, 2.0]))
    limited = eqx.tree_at(lambda c: c.lower_bounds, cell, jnp.array([0.0, 0.3, 0.5, 0.999]))
    np.testing.assert_allclose(loss(outside), loss(limited))


def test_a_learned_carry_of_a_core_without_weights():
    cell = eqx_rnn.LearnedCarry(eqx_rnn.GLACoreCell(2, 3, 2))
    assert cell.initial.shape == (2, 3, 2)


def test_many_heads_of_retention():
    """The decay of the last heads is rounded to 1."""
    cell = eqx_rnn.RetentionCell(4, 120, num_heads=60, dtype=float, key=KEY)
    assert np.all(np.isfinite(RNN(cell)(jnp.ones((1, 3, 4)))))


REFUSED = [
    eqx_rnn.LinearAttentionCell(3, 4, key=KEY),
    eqx_rnn.MLSTMCell(3, 8, key=KEY),
    eqx_rnn.RWKV4Cell(3, 4, key=KEY),
]


@pytest.mark.parametrize("cell", REFUSED, ids=lambda cell: type(cell).__name__)
def test_dropped_or_kept_parts_that_only_have_a_meaning_together(cell):
    x = jnp.ones((2, 5, 3))
    with pytest.raises(ValueError, match="RecurrentDropout: `hidden_rate` must be 0"):
        RNN(eqx_rnn.RecurrentDropout(cell, hidden_rate=0.5))(x, key=KEY)
    with pytest.raises(ValueError, match="Zoneout: `rate` must be 0"):
        RNN(eqx_rnn.Zoneout(cell, 0.5))(x, key=KEY)


def test_the_error_of_zoneout_names_the_part():
    cell, x = eqx_rnn.MambaCell(3, 4, key=KEY), jnp.ones((2, 5, 3))
    with pytest.raises(ValueError, match="must be 0 for the part `window` of the carry"):
        RNN(eqx_rnn.Zoneout(cell, 0.5))(x, key=KEY)
    rates = eqx_rnn.MambaCarry(state=0.5, window=0.0)
    assert RNN(eqx_rnn.Zoneout(cell, rates))(x, key=KEY).shape == (2, 5, 3)


def test_numbers_that_are_not_finite():
    with pytest.raises(ValueError, match="`scale` must be a finite number"):
        eqx_rnn.GLACoreCell(2, 3, 2, scale=float("nan"))
    with pytest.raises(ValueError, match="`eps` must be a finite number"):
        eqx_rnn.GLACell(3, 4, eps=-1.0, key=KEY)


def test_the_repr_of_a_core_shows_what_it_was_built_with():
    assert repr(eqx_rnn.SSDCell(2, 4, 8, num_groups=1)) == "SSDCell(2, 4, 8, num_groups=1)"
    assert repr(eqx_rnn.GLACoreCell(2, 3, 4, decay="head")) == "GLACoreCell(2, 3, 4, decay='head')"
