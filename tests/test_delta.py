"""What the delta rule and the mLSTM promise beyond their equations."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from cases_delta import DELTA, MLSTM
from helpers import assert_close

import eqx_rnn
from eqx_rnn import RNN, DeltaNetCarry, MLSTMCarry, MLSTMLayerCarry, Zoneout

KEY = jr.key(5)
BY_NAME = {case.name: case for case in DELTA + MLSTM}
ONE_PER_CLASS = {type(case.cell()): case for case in DELTA + MLSTM}.values()


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("mlstm-core", 0.3),
        ("mlstm-core", MLSTMCarry(0.3, 0.0)),
        ("mlstm-core", MLSTMCarry(0.0, 0.3)),
        ("mlstm", 0.3),
        ("mlstm", MLSTMLayerCarry(0.3, 0.0, 0.0)),
    ],
)
def test_zoneout_of_an_mlstm_is_an_error(name, rate, inference):
    case = BY_NAME[name]
    cell = Zoneout(case.cell(), rate, inference=inference)
    with pytest.raises(ValueError, match=r"`rate` must be 0 for the `memory` and the `scale`"):
        RNN(cell)(case.inputs(2, 6), key=KEY)


def test_zoneout_of_a_delta_net():
    case = BY_NAME["delta-net"]
    x = case.inputs(2, 9)
    with pytest.raises(ValueError, match="`rate` must be 0 for the part `window`"):
        RNN(Zoneout(case.cell(), 0.3))(x, key=KEY)
    cell = Zoneout(case.cell(), DeltaNetCarry(0.3, 0.0), inference=True)
    carry, ys = cell.initialize_carry(None, x[:, 0]), []
    for t in range(9):
        carry, y = cell(carry, x[:, t])
        ys.append(y)
    assert_close(RNN(cell, chunk_size=4)(x, return_carry=True), (carry, jnp.stack(ys, 1)))
    assert not np.allclose(jnp.stack(ys, 1), RNN(case.cell())(x))


@pytest.mark.parametrize("scan", ["sequential", "associative"])
@pytest.mark.parametrize(
    ("log_f", "log_i"),
    [(-1e4, -1e4), (-1e4, 1e4), (0.0, 1e4), (0.0, -100.0), (-20.0, 0.0), (0.0, -jnp.inf)],
)
def test_extreme_gates_of_an_mlstm(log_f, log_i, scan):
    """Outputs and derivatives are finite in float32, even where `exp(-m')` is not."""
    rnn = RNN(eqx_rnn.MLSTMCoreCell(1, 4, 4), scan=scan)
    x = jr.normal(KEY, (2, 20, 14), jnp.float32)
    x = x.at[..., 12:].set(jnp.array([log_f, log_i], x.dtype))
    loss = lambda x: jnp.sum(rnn(x) ** 2)
    assert np.all(np.isfinite(jax.jit(jax.value_and_grad(loss))(x)[1]))


def test_the_first_weights_of_an_mlstm():
    cell = eqx_rnn.MLSTMCell(64, 128, num_heads=4, use_bias=False, key=KEY)
    assert cell.bias_ih is cell.bias_qkv is cell.bias_out is None
    np.testing.assert_allclose(cell.bias_gates[4:], [3, 4, 5, 6], rtol=1e-6)
    assert 0 < np.abs(cell.bias_gates[:4]).max() < 0.5
    assert not np.any(cell.weight_gates)
    for weight in (cell.weight_ih, cell.weight_qkv):
        np.testing.assert_allclose(weight.std(), (2 / (5 * 64)) ** 0.5, rtol=0.1)
    with pytest.raises(ValueError, match="`block_size` must divide `hidden_size`, got blocks of 4"):
        eqx_rnn.MLSTMCell(8, 18, key=KEY)


def test_the_delta_rule_replaces_values():
    """A step with beta = 1 stores a value, and one with beta = 2 and the value 0 negates it."""
    cell, key = eqx_rnn.DeltaNetCoreCell(1, 2, 1, scale=1.0), [0.6, 0.8]
    steps = [[3.0, 1.0], [-5.0, 1.0], [0.0, 2.0], [0.0, 2.0]]
    x = jnp.array([[*key, *key, *step] for step in steps])
    np.testing.assert_allclose(RNN(cell)(x[None])[0, :, 0], [3, -5, 5, -5], rtol=1e-6)


@pytest.mark.parametrize("scan", ["sequential", "associative"])
@pytest.mark.parametrize("case", ONE_PER_CLASS, ids=lambda case: case.name)
def test_zero_inputs_have_finite_derivatives(case, scan):
    x = jnp.zeros((2, 5, *case.features))

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(arguments):
        cell, x = arguments
        return jnp.sum((RNN(cell, scan=scan)(x) - 1) ** 2)

    cell = case.make(dtype=jnp.float32, key=KEY)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient((cell, x))))
