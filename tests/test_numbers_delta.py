"""The delta rule and the mLSTM give the numbers of their authors' code.

See `test_linear_numbers`.
"""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT
from test_linear_numbers import load

import eqx_rnn
from eqx_rnn import RNN


def join(*parts):
    """Inputs, joined on the last axis, with all heads in one axis."""
    return jnp.concatenate([a.reshape(*a.shape[:2], -1) for a in parts], -1)


def delta_rule(d, **options):
    names = "q", "k", "v", "log_decay", "beta"
    x = join(*(d[f"x/{name}"] for name in names if f"x/{name}" in d))
    gated = "x/log_decay" in d
    cell = (eqx_rnn.GatedDeltaNetCoreCell if gated else eqx_rnn.DeltaNetCoreCell)(2, 8, 6)
    run = RNN(cell, **options)
    state, y = run(x, initial_carry=d["in/state"], return_carry=True)
    return {"out/y": y.reshape(3, -1, 2, 6), "out/state": state}


def mlstm_cell(d, **options):
    """The authors' cell contains the gates and the norm around the core."""
    q, k, v = (d[f"x/{name}"] for name in "qkv")
    gates = {
        name: join(q, k, v) @ d[f"w/{name}gate.weight"].T + d[f"w/{name}gate.bias"] for name in "fi"
    }
    memory = jnp.concatenate([d["in/C"], d["in/n"]], -1)
    first = eqx_rnn.MLSTMCarry(memory, d["in/m"][..., 0, 0])
    run = RNN(eqx_rnn.MLSTMCoreCell(3, 4, 4), **options)
    x = join(q, k, v, jax.nn.log_sigmoid(gates["f"]), gates["i"])
    (memory, scale), h = run(x, initial_carry=first, return_carry=True)
    h = h.reshape(3, -1, 3, 4)
    centred = h - h.mean(-1, keepdims=True)
    h = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return {
        "out/y": h.reshape(3, -1, 12) * (1 + d["w/outnorm.weight"]),
        "out/C": memory[..., :-1],
        "out/n": memory[..., -1:],
        "out/m": scale[..., None, None],
    }


CELLS = {"delta_rule": delta_rule, "gated_delta_rule": delta_rule, "mlstm_cell": mlstm_cell}


@pytest.mark.parametrize(("chunk_size", "scan"), [(8, "sequential"), (37, "associative")])
@pytest.mark.parametrize("name", CELLS)
def test_numbers_of_the_authors(name, chunk_size, scan):
    d = load(name)
    assert "source" in json.loads(str(d["meta"]))
    is_input = lambda key: key.startswith(("x/", "w/", "in/"))
    arrays = {key: jnp.asarray(a, FLOAT) for key, a in d.items() if is_input(key)}

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def loss(arrays):
        outputs = CELLS[name](arrays, chunk_size=chunk_size, scan=scan)
        return sum(jnp.sum(y**2) for y in outputs.values()), outputs

    (value, outputs), gradients = loss(arrays)
    assert set(outputs) == {key for key in d if key.startswith("out/")}
    for key, y in outputs.items():
        np.testing.assert_allclose(y, d[key], rtol=0, atol=1e-11 * np.max(np.abs(d[key])))
    np.testing.assert_allclose(value, d["grad/loss"], rtol=1e-11)
    for key in arrays:
        wanted = d[f"grad/{key}"]
        atol = 1e-10 * np.max(np.abs(wanted))
        np.testing.assert_allclose(gradients[key], wanted, rtol=0, atol=atol)
