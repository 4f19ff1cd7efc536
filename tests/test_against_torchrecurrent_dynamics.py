"""Comparison with torchrecurrent: same weights and inputs, same numbers.

Its `LEMCell` computes y' from the old z. The paper, the authors' code and its own docstring use the
new z. A test asserts that this is the only difference.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_like

import eqx_rnn
from eqx_rnn._base.gates import add_gates

torch = pytest.importorskip("torch", reason="the peer runs on torch")
peer = pytest.importorskip("torchrecurrent", reason="it is the peer of these tests")

TIME = 5
KEY = jax.random.key(0)


def random_cell(cell_type, **options):
    return random_like(cell_type(3, 4, **options, key=KEY), 0, scale=0.5)


def inputs_and_carry(cell):
    xs = np.random.default_rng(1).standard_normal((TIME, 3))
    carry = random_like(cell.initialize_carry(None, xs[0]), 2)
    return xs, carry


def ours(cell):
    xs, carry = inputs_and_carry(cell)
    return eqx_rnn.RNN(cell)(xs, initial_carry=carry)


def theirs(name, cell, parameters, **options):
    """The same run, by a cell of torchrecurrent with these parameters."""
    module = getattr(peer, name)(3, 4, **options, dtype=torch.float64)
    parameters = {k: torch.tensor(np.asarray(v)) for k, v in parameters.items()}
    module.load_state_dict(parameters)
    xs, carry = inputs_and_carry(cell)
    state = tuple(torch.tensor(np.asarray(leaf))[None] for leaf in jax.tree.leaves(carry))
    outputs = []
    with torch.no_grad():
        for x in torch.tensor(xs):
            state = module(x[None], state if len(state) > 1 else state[0])
            state = state if isinstance(state, tuple) else (state,)
            outputs.append(state[0][0].numpy())
    return np.stack(outputs)


def bias_in_parts(bias, *names):
    """Splits a bias into several biases with the same sum."""
    parts = random_like([bias] * (len(names) - 1), 3)
    return dict(zip(names, [*parts, bias - sum(parts)], strict=True))


def test_minimal_rnn():
    cell = random_cell(eqx_rnn.MinimalRNNCell)
    parameters = {
        "weight_ih": cell.weight_ih,
        "weight_hh": cell.weight_hh,
        "weight_mm": cell.weight_zh,
        "bias_ih": cell.bias[:4],
        "bias_hh": cell.bias[4:],
    }
    np.testing.assert_allclose(ours(cell), theirs("MinimalRNNCell", cell, parameters), rtol=1e-12)


def test_antisymmetric_rnn():
    constants = {"epsilon": 0.4, "gamma": 0.3}
    cell = random_cell(eqx_rnn.AntisymmetricRNNCell, **constants)
    parameters = {"weight_ih": cell.weight_ih, "weight_hh": cell.weight_hh}
    parameters |= bias_in_parts(cell.bias, "bias_ih", "bias_hh")
    expected = theirs("AntisymmetricRNNCell", cell, parameters, **constants)
    np.testing.assert_allclose(ours(cell), expected, rtol=1e-12)


def test_gated_antisymmetric_rnn():
    """The second bias of torchrecurrent belongs to the candidate alone."""
    constants = {"epsilon": 0.4, "gamma": 0.3}
    cell = random_cell(eqx_rnn.AntisymmetricRNNCell, gated=True, **constants)
    parts = bias_in_parts(cell.bias[4:], "bias_ih", "bias_hh")
    parameters = {
        "weight_ih": cell.weight_ih,
        "weight_hh": cell.weight_hh,
        "bias_ih": np.concatenate([cell.bias[:4], parts["bias_ih"]]),
        "bias_hh": parts["bias_hh"],
    }
    expected = theirs("GatedAntisymmetricRNNCell", cell, parameters, **constants)
    np.testing.assert_allclose(ours(cell), expected, rtol=1e-12)


def test_cornn():
    constants = {"dt": 0.3, "gamma": 1.3, "epsilon": 2.1}
    cell = random_cell(eqx_rnn.CoRNNCell, **constants)
    parameters = {
        "weight_ih": cell.weight_ih,
        "weight_hh": cell.weight_hh,
        "weight_ch": cell.weight_zh,
    } | bias_in_parts(cell.bias, "bias_ih", "bias_hh", "bias_ch")
    expected = theirs("coRNNCell", cell, parameters, **constants)
    np.testing.assert_allclose(ours(cell), expected, rtol=1e-12)


def test_lem():
    """The gates of torchrecurrent are t, s, z, y. Its y' uses the old z, so ours does here."""
    cell = random_cell(eqx_rnn.LEMCell, dt=0.7)
    s, t, z, y = np.split(np.arange(16), 4)  # our rows
    parts = bias_in_parts(cell.bias, "bias_ih", "bias_hh")
    extra = parts["bias_hh"]
    parameters = {
        "weight_ih": cell.weight_ih[np.r_[t, s, z, y]],
        "weight_hh": cell.weight_hh[np.r_[t, s, z]],
        "weight_ch": cell.weight_zh,
        "bias_ih": parts["bias_ih"][np.r_[t, s, z, y]],
        "bias_hh": extra[np.r_[t, s, z]],
        "bias_ch": extra[y],
    }
    expected = theirs("LEMCell", cell, parameters, dt=0.7)

    xs, carry = inputs_and_carry(cell)
    for x, y in zip(jnp.asarray(xs), expected, strict=True):
        gates = add_gates(cell.project_input(x), cell.project_hidden(carry))
        still = gates._replace(s=jnp.full(4, -jnp.inf))  # a time step of 0 holds z
        _, old_z_gives = cell.update(carry, still)
        np.testing.assert_allclose(old_z_gives, y, rtol=1e-12)
        carry = cell.update(carry, gates)[0]._replace(hidden=old_z_gives)
    assert not np.allclose(ours(cell), expected, rtol=1e-3)
