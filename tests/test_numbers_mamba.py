"""Mamba and Mamba-2 give the numbers of their authors' code: see `test_linear_numbers`."""

import json

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT
from test_linear_numbers import build, load

import eqx_rnn
from eqx_rnn import RNN


def join(d, *names):
    """Inputs, joined on the last axis, with all heads in one axis."""
    parts = [d[f"x/{name}"] for name in names]
    return jnp.concatenate([a.reshape(*a.shape[:2], -1) for a in parts], -1)


def selective_scan(d):
    arrays = dict(log_a=jnp.log(-d["w/A"]), skip=d["w/D"], dt_bias=d["w/dt_bias"])
    options = dict(state_size=6, output_gate=True)
    cell = build(eqx_rnn.SelectiveSSMCell, 10, arrays=arrays, **options)
    return cell, join(d, "C", "B", "u", "dt", "z"), None


def mamba(d):
    arrays = dict(
        weight_ih=d["w/in_proj.weight"],
        weight_conv=d["w/conv1d.weight"][:, 0].T,
        bias_conv=d["w/conv1d.bias"],
        weight_ssm=d["w/x_proj.weight"],
        weight_dt=d["w/dt_proj.weight"],
        weight_out=d["w/out_proj.weight"],
    )
    cell = build(eqx_rnn.MambaCell, 7, 14, state_size=5, dt_rank=3, arrays=arrays)
    core = d["w/A_log"], d["w/D"], d["w/dt_proj.bias"]
    where = lambda c: (c.core.log_a, c.core.skip, c.core.dt_bias)
    return eqx.tree_at(where, cell, core), d["x"], None


def ssd(d):
    state = jnp.swapaxes(d["in/state"], -1, -2)
    return eqx_rnn.SSDCell(3, 5, 8), join(d, "C", "B", "x", "log_decay"), state


CELLS = {"mamba_selective_scan": selective_scan, "mamba_block": mamba, "mamba2_ssd": ssd}


def outputs_of(name, arrays, d, **options):
    """The stored outputs, as a function of everything that has a gradient."""
    cell, x, first = CELLS[name](arrays)
    carry, y = RNN(cell, **options)(x, initial_carry=first, return_carry=True)
    if name == "mamba2_ssd":
        carry, y = jnp.swapaxes(carry, -1, -2), y.reshape(d["out/y"].shape)
    outputs = {"out/y": y, "out/state": carry}
    return {key: y for key, y in outputs.items() if key in d}


@pytest.mark.parametrize(("chunk_size", "scan"), [(8, "sequential"), (37, "associative")])
@pytest.mark.parametrize("name", CELLS)
def test_numbers_of_the_authors(name, chunk_size, scan):
    d = load(name)
    assert "source" in json.loads(str(d["meta"]))
    is_input = lambda key: key.startswith(("x", "w/", "in/"))
    arrays = {key: jnp.asarray(a, FLOAT) for key, a in d.items() if is_input(key)}

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def loss(arrays):
        outputs = outputs_of(name, arrays, d, chunk_size=chunk_size, scan=scan)
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
