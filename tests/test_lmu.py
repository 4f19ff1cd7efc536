"""Legendre memory units: their linear system, and what the memory holds."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers import FLOAT, random_like
from oracles_lmu import discrete

import eqx_rnn
from eqx_rnn import RNN
from eqx_rnn._cells.legendre import expm, legendre_delay, legendre_step

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("order", "theta"), [(1, 1.0), (6, 1000.0), (32, 16.0), (64, 4.0), (256, 784.0)]
)
def test_the_exponential(order, theta):
    a, _ = legendre_delay(order, theta)
    np.testing.assert_allclose(expm(a), scipy.linalg.expm(a), rtol=0, atol=1e-12)


def test_the_exponential_of_zero():
    np.testing.assert_array_equal(expm(np.zeros((3, 3))), np.eye(3))


@pytest.mark.parametrize(("order", "theta"), [(1, 1.0), (6, 50.0), (24, 784.0)])
def test_the_step(order, theta):
    a, b = discrete(order, theta)
    change, ours = legendre_step(order, theta)
    np.testing.assert_allclose(change + np.eye(order), a, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours, b, rtol=0, atol=1e-12)
    assert np.max(np.abs(np.linalg.eigvals(a))) < 1  # so the memory stays finite


@pytest.mark.parametrize(("order", "error"), [(6, 0.2), (12, 0.01)])
def test_the_memory_holds_the_last_steps(order, error):
    """Its Legendre series is the input of the last theta steps."""
    theta, steps = 100, 400
    signal = lambda t: np.sin(2 * np.pi * t / 90) + 0.5 * np.cos(2 * np.pi * t / 140)
    inputs = np.stack([signal(np.arange(steps) + 0.5), signal(np.arange(steps) - 20.0)], -1)
    cell = eqx_rnn.LegendreMemoryCell(2, order=order, theta=theta)
    y = RNN(cell)(jnp.asarray(inputs, FLOAT))
    assert y.shape == (steps, 2 * order)
    memory = np.asarray(y[-1]).reshape(2, order)
    ago = np.linspace(0, 1, 50)  # in windows
    series = np.polynomial.legendre.legval(2 * ago - 1, memory.T)
    wanted = np.stack([signal(steps - theta * ago), signal(steps - 20.5 - theta * ago)])
    assert np.max(np.abs(series - wanted)) < error


def test_a_constant_input_is_one_coefficient():
    cell = eqx_rnn.LegendreMemoryCell(1, order=5, theta=10)
    y = RNN(cell)(jnp.ones((300, 1), FLOAT))
    np.testing.assert_allclose(y[-1], [1, 0, 0, 0, 0], atol=1e-9)


def test_the_memory_of_a_cell_is_the_linear_memory():
    """With the encoder of the inputs only."""
    cell = eqx_rnn.LMUCell(3, 4, order=5, theta=8, dtype=FLOAT, key=KEY)
    cell = eqx.tree_at(lambda c: c.encoder_h, cell, jnp.zeros(4, FLOAT))
    x = random_like(jax.ShapeDtypeStruct((7, 3), FLOAT), 0)
    carry, _ = RNN(cell)(x, return_carry=True)
    alone = eqx_rnn.LegendreMemoryCell(1, order=5, theta=8)
    y = RNN(alone)((x @ cell.encoder_i)[:, None])
    np.testing.assert_allclose(carry.memory, y[-1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_initial_weights_give_outputs_of_sensible_size(dtype):
    """The paper's initial weights, over 1,000 steps."""
    cell = eqx_rnn.LMUCell(6, 24, order=32, theta=300, dtype=dtype, key=KEY)
    assert not np.any(cell.encoder_m)
    assert np.max(np.abs(cell.encoder_i.astype(float))) <= np.sqrt(3 / 6) + 1e-2
    x = random_like(jax.ShapeDtypeStruct((1000, 6), dtype), 0)
    loss = lambda cell, x: jnp.mean(RNN(cell)(x).astype(jnp.float32) ** 2)
    value, gradient = eqx.filter_jit(eqx.filter_value_and_grad(loss))(cell, x)
    assert 1e-2 < value < 1
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(np.asarray(leaf, np.float64)))


def test_an_associative_scan_is_an_error():
    cell = eqx_rnn.LegendreMemoryCell(1, order=2, theta=3)
    with pytest.raises(ValueError, match='`scan` must be "auto" or "sequential" for this cell'):
        RNN(cell, scan="associative")(jnp.zeros((4, 1)))


@pytest.mark.parametrize("theta", [0, -1.0, float("nan")])
def test_a_wrong_window(theta):
    with pytest.raises(ValueError, match="LMUCell: `theta` must be a finite number, positive"):
        eqx_rnn.LMUCell(3, 4, order=5, theta=theta, key=KEY)
    with pytest.raises(ValueError, match="LegendreMemoryCell: `theta` must be a finite number"):
        eqx_rnn.LegendreMemoryCell(3, order=5, theta=theta)
