"""Properties of linear attention and its relatives beyond the table of cells."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_like

import eqx_rnn
from eqx_rnn import RNN, Zoneout

KEY = jax.random.key(0)
LAYERS = {
    "gla": lambda **o: eqx_rnn.GLACell(8, 8, num_heads=2, **o),
    "linear attention": lambda **o: eqx_rnn.LinearAttentionCell(8, 8, num_heads=2, **o),
    "retention": lambda **o: eqx_rnn.RetentionCell(8, 8, num_heads=2, **o),
    "hgrn2": lambda **o: eqx_rnn.HGRN2Cell(8, 8, num_heads=2, **o),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", LAYERS)
def test_initial_weights_give_outputs_of_sensible_size(name, dtype):
    """Over 1,000 steps, and with finite gradients, for random inputs and for zeros."""
    cell = LAYERS[name](dtype=dtype, key=KEY)
    x = random_like(jax.ShapeDtypeStruct((1000, 8), dtype), 0)

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def loss(cell, x):
        y = RNN(cell)(x)
        return jnp.sum(y.astype(jnp.float32) ** 2), y

    (_, y), gradients = loss(cell, x)
    sizes = np.sqrt(np.mean(np.asarray(y, np.float64) ** 2, axis=-1))
    assert np.all((sizes > 1e-3) & (sizes < 10))
    (_, of_zeros), gradients_of_zeros = loss(cell, jnp.zeros_like(x))
    for leaf in jax.tree.leaves((gradients, gradients_of_zeros, of_zeros)):
        assert np.all(np.isfinite(np.asarray(leaf, np.float64)))


def test_the_mean_of_equal_values_is_the_value():
    cell = eqx_rnn.LinearAttentionCoreCell(2, 3, 4, eps=0.0)
    x = random_like(jax.ShapeDtypeStruct((9, 12), float), 0)
    v = random_like(jax.ShapeDtypeStruct((8,), float), 1)
    y = RNN(cell)(jnp.concatenate([x, jnp.broadcast_to(v, (9, 8))], -1))
    np.testing.assert_allclose(y, np.broadcast_to(v, y.shape), rtol=1e-12)


def test_retention_depends_on_differences_of_positions():
    """The rotation is relative: with a memory of zeros, the position has no effect on products."""
    cell = eqx_rnn.RetentionCell(3, 4, num_heads=2, key_size=4, eps=1e-30, dtype=float, key=KEY)
    x = random_like(jax.ShapeDtypeStruct((5, 3), float), 0)
    first = cell.initialize_carry(None, x[0])
    later = first._replace(position=jnp.asarray(1000, jnp.int32))
    # Without `eps`, the norm removes the factor 1 / sqrt(n).
    np.testing.assert_allclose(RNN(cell)(x, initial_carry=later), RNN(cell)(x), rtol=1e-9)
    carry, _ = RNN(cell)(x, return_carry=True)
    assert carry.position == 5


def test_hgrn2_at_extreme_gates():
    """Both the forget gate and its complement keep their precision, with finite derivatives."""
    cell = eqx_rnn.HGRN2Cell(1, 2, lower_bound=(0.0, 0.3), dtype=jnp.float32, key=KEY)
    for size in (-200.0, -20.0, 20.0, 200.0):
        scaled = eqx.tree_at(lambda c: c.weight_ih, cell, jnp.full((6, 1), size, jnp.float32))
        run = lambda c: jnp.sum(RNN(c)(jnp.ones((6, 1), jnp.float32)) ** 2)
        value, gradient = eqx.filter_value_and_grad(run)(scaled)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((value, gradient)))


@pytest.mark.parametrize("name", LAYERS)
def test_in_wrappers(name):
    cell = LAYERS[name](dtype=float, key=KEY)
    x = random_like(jax.ShapeDtypeStruct((2, 6, 8), float), 0)
    wrapped = eqx_rnn.Residual(eqx_rnn.LearnedCarry(cell))
    np.testing.assert_allclose(RNN(wrapped)(x), RNN(cell)(x) + x, rtol=1e-12)
    rates = {} if name == "linear attention" else {"hidden_rate": 0.5}
    dropped = eqx_rnn.RecurrentDropout(cell, input_rate=0.5, **rates)
    assert np.all(np.isfinite(RNN(dropped)(x, key=KEY)))
    dropped = eqx_rnn.DropConnect(cell, 0.5, name="weight_ih")
    assert not np.allclose(RNN(dropped)(x, key=KEY), RNN(cell)(x))
    zoned = Zoneout(cell, 0.3)
    if name == "linear attention":
        with pytest.raises(ValueError, match="Zoneout: `rate` must be 0"):
            RNN(zoned)(x, key=KEY)
        zoned = Zoneout(LAYERS[name](normalize=False, dtype=float, key=KEY), 0.3)
    whole = RNN(zoned, chunk_size=4)(x, key=KEY)
    np.testing.assert_allclose(whole, RNN(zoned, chunk_size=6)(x, key=KEY), rtol=1e-11)
    assert not np.allclose(whole, RNN(zoned.cell)(x))


MISTAKES = {
    "odd keys": (
        lambda: eqx_rnn.RetentionCell(3, 4, key_size=3, key=KEY),
        "RetentionCell: `key_size` must be even.*got 3",
    ),
    "a decay of 1": (
        lambda: eqx_rnn.RetentionCell(3, 4, decays=[1.0], key=KEY),
        "RetentionCell: `decays` must be 1 fractions between 0 and 1",
    ),
    "one decay for two heads": (
        lambda: eqx_rnn.RetentionCoreCell(2, 3, 4, decays=(0.5,)),
        "RetentionCoreCell: `decays` must be 2 fractions",
    ),
    "a bound of 1": (
        lambda: eqx_rnn.HGRN2Cell(3, 4, lower_bound=1.0, key=KEY),
        "HGRN2Cell: `lower_bound` must be a fraction",
    ),
    "a bound per head": (
        lambda: eqx_rnn.HGRN2Cell(3, 4, num_heads=2, lower_bound=(0.1, 0.2), key=KEY),
        "HGRN2Cell: `lower_bound` must be .*one per key, 4 in all",
    ),
    "heads that do not divide": (
        lambda: eqx_rnn.LinearAttentionCell(3, 4, num_heads=3, key=KEY),
        "LinearAttentionCell: `num_heads` must divide `hidden_size`",
    ),
    "no function": (
        lambda: eqx_rnn.LinearAttentionCoreCell(2, 3, 4, feature_map="elu"),
        "LinearAttentionCoreCell: `feature_map` must be a function",
    ),
    "a function of another shape": (
        lambda: RNN(eqx_rnn.LinearAttentionCoreCell(1, 1, 1, feature_map=jnp.sum))(
            jnp.zeros((2, 3))
        ),
        "an activation must return a floating-point array of the shape of its argument",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    make, message = MISTAKES[name]
    with pytest.raises((TypeError, ValueError), match=message):
        make()
