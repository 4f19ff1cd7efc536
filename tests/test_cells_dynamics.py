"""Properties of single cells beyond the table: stability, first steps, units, options."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles_dynamics
import pytest
from cases import CASES, weights
from helpers import random_like

import eqx_rnn
from eqx_rnn._cells.slstm import SLSTMGates

BY_NAME = {case.name: case for case in CASES}
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("cell_type", "oracle"),
    [
        (eqx_rnn.MinimalRNNCell, oracles_dynamics.minimal_rnn),
        (eqx_rnn.CoRNNCell, oracles_dynamics.cornn),
        (eqx_rnn.LEMCell, oracles_dynamics.lem),
    ],
)
def test_without_bias(cell_type, oracle):
    cell = random_like(cell_type(3, 4, use_bias=False, key=KEY), 0)
    assert cell.bias is None
    carry = random_like(cell.initialize_carry(None, jnp.zeros(3)), 1)
    x = np.random.default_rng(2).standard_normal(3)
    _, y = cell(carry, x)
    expected = oracle(weights(cell), [np.asarray(leaf) for leaf in jax.tree.leaves(carry)], x)[1]
    np.testing.assert_allclose(y, expected, rtol=1e-12)


def test_antisymmetric_eigenvalues():
    cell = BY_NAME["antisymmetric-rnn-gated"].cell()
    matrix = np.asarray(cell.project_hidden(jnp.eye(4)).n).T
    eigenvalues = np.linalg.eigvals(matrix)
    np.testing.assert_allclose(eigenvalues.real, -cell.gamma, rtol=1e-12)
    assert np.all(eigenvalues.imag != 0)


@pytest.mark.parametrize("name", ["slstm", "slstm-exp-no-bias"])
def test_slstm_is_the_papers_unstabilised_one(name):
    """From zeros: c' = f c + i z, n' = f n + i, h' = o c' / n', without a stabiliser."""
    case = BY_NAME[name]
    cell, xs = case.cell(), case.inputs(6)
    ys = eqx_rnn.RNN(cell)(xs)
    h = c = n = np.zeros(4)
    for x, y in zip(xs, ys, strict=True):
        start = cell.initialize_carry(None, x)._replace(hidden=jnp.asarray(h))
        i, f, z, o = map(np.add, cell.project_input(x), cell.project_hidden(start))
        f = np.exp(f) if cell.forget_gate == "exp" else 1 / (1 + np.exp(-f))
        c, n = f * c + np.exp(i) * np.tanh(z), f * n + np.exp(i)
        h = c / n / (1 + np.exp(-o))
        np.testing.assert_allclose(y, h, rtol=1e-12)


@pytest.mark.parametrize("forget_gate", ["sigmoid", "exp"])
def test_slstm_extreme_gates(forget_gate):
    """No 0 / 0 and no overflow in values and gradients. The first step remembers only z."""
    cell = eqx_rnn.SLSTMCell(3, 9, forget_gate=forget_gate, dtype=jnp.float32, key=KEY)
    i, f = (g.ravel() for g in np.meshgrid([-1e3, 0.5, 1e3], [-1e3, -0.5, 1e3]))
    z, o = np.random.default_rng(0).standard_normal((2, 9))
    gates = SLSTMGates(*(jnp.asarray(g, jnp.float32) for g in (i, f, z, o)))
    zeros = cell.initialize_carry(None, jnp.zeros(3, jnp.float32))
    carry, y = cell.update(zeros, gates)
    np.testing.assert_allclose(y, np.tanh(z) / (1 + np.exp(-o)), rtol=1e-5)

    def three_steps(carry, gates):
        hidden = 0
        for step in (gates, jax.tree.map(lambda g: g[::-1], gates), gates):
            carry, y = cell.update(carry, step)
            hidden += jnp.sum(y)
        return hidden, carry

    gradients, carry = jax.grad(three_steps, argnums=(0, 1), has_aux=True)(zeros, gates)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((gradients, carry)))
    assert np.all(carry.memory.normaliser >= 1)
    assert np.any(gradients[1].z != 0)


def mean_memory(share, old, new):
    """The mean of c and n without a stabiliser. A part with n = 0 has no effect."""
    whole = [np.exp(m.stabiliser) * np.stack(m[:2]) for m in (old, new)]
    return share * np.where(old.normaliser == 0, 0, whole[0]) + (1 - share) * whole[1]


@pytest.mark.parametrize("name", ["slstm", "slstm-exp-no-bias"])
def test_slstm_zoned_out_at_inference(name):
    """The mean of c and n without a stabiliser, step by step from zeros."""
    case = BY_NAME[name]
    cell, xs = case.cell(), case.inputs(5, 2)
    rate = eqx_rnn.SLSTMCarry(0.1, memory=0.4)
    zoneout = eqx_rnn.Zoneout(cell, rate, inference=True)
    carry = cell.initialize_carry(None, xs[0])
    for x in xs:
        new, _ = cell(carry, x)
        c, n = mean_memory(0.4, carry.memory, new.memory)
        before, (carry, y) = carry, zoneout(carry, x)
        np.testing.assert_allclose(np.exp(carry.memory.stabiliser) * carry.memory.cell, c)
        np.testing.assert_allclose(np.exp(carry.memory.stabiliser) * carry.memory.normaliser, n)
        np.testing.assert_allclose(y, 0.1 * before.hidden + 0.9 * new.hidden)
        assert carry.hidden is y


def test_slstm_zoned_out_in_training():
    """Zoneout keeps or replaces c, n and m of a unit together, and h independently."""
    case = BY_NAME["slstm"]
    cell, xs, old = case.cell(), case.inputs(500), case.carry(case.cell(), 500)
    new, _ = cell(old, xs)
    zoned, _ = eqx_rnn.Zoneout(cell, 0.3)(old, xs, key=KEY)
    kept = jax.tree.map(
        lambda a, b, z: np.where(a == z, 1, np.where(b == z, 0, 9)), old, new, zoned
    )
    for leaf in kept.memory:
        np.testing.assert_array_equal(leaf, kept.memory.cell)
    for leaf in (kept.hidden, kept.memory.cell):
        assert abs(leaf.mean() - 0.3) < 5 * (0.3 * 0.7 / leaf.size) ** 0.5
    assert abs(np.corrcoef(kept.hidden.ravel(), kept.memory.cell.ravel())[0, 1]) < 0.1


def test_slstm_zoned_out_at_extreme_gates():
    """Over many steps of growing weight, normalisers and gradients stay finite."""
    cell = eqx_rnn.SLSTMCell(3, 4, forget_gate="exp", dtype=jnp.float32, key=KEY)
    cell = eqx.tree_at(lambda cell: cell.bias, cell, jnp.repeat(jnp.float32([0, 50, 0, 0]), 4))
    rnn = eqx_rnn.RNN(eqx_rnn.Zoneout(cell, 0.9, inference=True))
    xs = jnp.ones((300, 3), jnp.float32)
    gradient = jax.grad(lambda xs: jnp.sum(rnn(xs)))(xs)
    carry, ys = rnn(xs, return_carry=True)
    assert np.all(carry.memory.normaliser >= 1)
    assert all(np.all(np.isfinite(leaf)) for leaf in (ys, gradient, *carry.memory))


def test_slstm_heads_are_apart():
    cell = eqx_rnn.SLSTMCell(3, 4, num_heads=2, key=KEY)
    first, other = BY_NAME["slstm"].carry(cell), BY_NAME["slstm"].carry(cell, seed=5)
    mixed = first._replace(hidden=jnp.concatenate([first.hidden[:2], other.hidden[2:]]))
    for a, b in zip(cell.project_hidden(first), cell.project_hidden(mixed), strict=True):
        np.testing.assert_array_equal(a[:2], b[:2])
        assert np.all(a[2:] != b[2:])


@pytest.mark.parametrize(("forget_gate", "bias"), [("sigmoid", 1.0), ("exp", 0.0)])
def test_slstm_forget_bias(forget_gate, bias):
    cell = eqx_rnn.SLSTMCell(3, 4, forget_gate=forget_gate, key=KEY)
    np.testing.assert_array_equal(cell.bias, np.repeat([0.0, bias, 0.0, 0.0], 4))
    cell = eqx_rnn.SLSTMCell(3, 4, forget_gate=forget_gate, forget_bias=3, key=KEY)
    np.testing.assert_array_equal(cell.bias, np.repeat([0.0, 3.0, 0.0, 0.0], 4))


def test_ctrnn_time_constants():
    """The unit of time has no effect. One number for all units equals one number per unit."""
    milliseconds = eqx_rnn.CTRNNCell(3, 4, dt=20, tau=100, key=KEY)
    seconds = eqx_rnn.CTRNNCell(3, 4, dt=0.02, tau=np.full(4, 0.1), key=KEY)
    trained = eqx_rnn.CTRNNCell(3, 4, dt=20, tau=(100, 100, 100, 100), train_tau=True, key=KEY)
    h, x = np.random.default_rng(0).standard_normal((2, 12))
    h, x = h[:4], x[:3]
    expected = milliseconds(h, x)[1]
    np.testing.assert_allclose(seconds(h, x)[1], expected, rtol=1e-12)
    np.testing.assert_allclose(trained(h, x)[1], expected, rtol=1e-12)
    np.testing.assert_allclose(trained.tau, 100, rtol=1e-12)
    assert milliseconds.tau == 100
    assert len(jax.tree.leaves(eqx.filter(milliseconds, eqx.is_array))) == 3
    assert len(jax.tree.leaves(eqx.filter(trained, eqx.is_array))) == 4


def test_ctrnn_leaks_at_its_time_constant():
    """Without inputs and weights, a rate falls by a factor of e in the time tau."""
    cell = eqx_rnn.CTRNNCell(1, 2, dt=0.01, tau=(1.0, 2.0), key=KEY)
    cell = eqx.tree_at(lambda cell: cell.weight_hh, cell, jnp.zeros((2, 2)))
    start = jnp.array([3.0, -0.7])
    rates = eqx_rnn.RNN(cell)(jnp.zeros((200, 1)), initial_carry=start)
    np.testing.assert_allclose(rates[[99, 199], [0, 1]], start / np.e, rtol=0.01)
