"""RWKV gives the numbers of its authors' code: see `test_linear_numbers`."""

import json

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import oracles_rwkv as oracles
import pytest
from case import weights
from helpers import FLOAT, random_cell
from test_linear_numbers import build, load

import eqx_rnn
from eqx_rnn import RNN


def rwkv4(w):
    core = build(
        eqx_rnn.RWKV4CoreCell, 10, arrays=dict(decay=w["time_decay"], bonus=w["time_first"])
    )
    arrays = dict(
        mix=jnp.stack([w[f"time_mix_{name}"] for name in "kvr"]),
        weight_ih=jnp.concatenate([w[name] for name in ("key", "value", "receptance")]),
        weight_out=w["output"],
    )
    cell = build(eqx_rnn.RWKV4Cell, 10, 10, arrays=arrays)
    return eqx.tree_at(lambda c: c.core, cell, core)


def rwkv4_outputs(d, **options):
    w = {key[2:]: a for key, a in d.items() if key.startswith("w/")}
    sums = "numerator", "denominator", "max"
    memory = eqx_rnn.RWKV4CoreCarry(*(d[f"in/{name}"] for name in sums))
    carry = eqx_rnn.RWKVCarry(memory, d["in/prev_x"][:, None])
    carry, y = RNN(rwkv4(w), **options)(d["x"], initial_carry=carry, return_carry=True)
    states = {f"out/{name}": a for name, a in zip(sums, carry.memory, strict=True)}
    return {"out/y": y, "out/prev_x": carry.window[:, 0]} | states


def rwkv6_core_outputs(d, **options):
    cell = build(eqx_rnn.RWKV6CoreCell, 2, 8, 6, arrays=dict(bonus=d["w/u"]))
    parts = (d[f"x/{name}"] for name in ("r", "k", "v", "log_decay"))
    x = jnp.concatenate([a.reshape(3, 37, -1) for a in parts], -1)
    state, y = RNN(cell, **options)(x, initial_carry=d["in/state"], return_carry=True)
    return {"out/y": y.reshape(3, 37, 2, 6), "out/state": state}


OUTPUTS = {"rwkv4_time_mix": rwkv4_outputs, "rwkv6_core": rwkv6_core_outputs}


@pytest.mark.parametrize(("chunk_size", "scan"), [(8, "sequential"), (37, "associative")])
@pytest.mark.parametrize("name", OUTPUTS)
def test_numbers_of_the_authors(name, chunk_size, scan):
    d = load(name)
    assert "source" in json.loads(str(d["meta"]))
    given = [key for key in d if key.startswith(("x", "w/", "in/"))]
    arrays = {key: jnp.asarray(d[key], FLOAT) for key in given}

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def loss(arrays):
        outputs = OUTPUTS[name](arrays, chunk_size=chunk_size, scan=scan)
        return sum(jnp.sum(y**2) for y in outputs.values()), outputs

    (value, outputs), gradients = loss(arrays)
    assert set(outputs) == {key for key in d if key.startswith("out/")}
    assert set(gradients) == {key[5:] for key in d if key.startswith("grad/")} - {"loss"}
    np.testing.assert_allclose(value, d["grad/loss"], rtol=1e-11)
    for results, prefix, tolerance in (outputs, "", 1e-11), (gradients, "grad/", 1e-10):
        for key, result in results.items():
            wanted = d[prefix + key]
            atol = tolerance * np.max(np.abs(wanted))
            np.testing.assert_allclose(result, wanted, rtol=0, atol=atol, err_msg=key)


@pytest.mark.parametrize("scan", ["sequential", "associative"])
@pytest.mark.parametrize("size", [-100.0, 0.0, 100.0])
def test_keys_of_any_size_in_single_precision(size, scan):
    """A mean of the values has neither a scale nor an empty start, so all sizes give the same."""
    rng = np.random.default_rng(0)
    k, v = rng.normal(size=(2, 2, 20, 3)).astype(np.float32)

    def loss(inputs):
        y = RNN(eqx_rnn.RWKV4CoreCell(3, dtype=jnp.float32), scan=scan, chunk_size=6)(inputs)
        return jnp.sum(y**2), y

    run = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))
    (_, wanted), wanted_gradient = run(jnp.concatenate([k, v], -1))
    (_, y), gradient = run(jnp.concatenate([k + np.float32(size), v], -1))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y[:, 0], v[:, 0], rtol=1e-6)  # all that it has seen
    np.testing.assert_allclose(y, wanted, rtol=0, atol=2e-5)
    np.testing.assert_allclose(gradient, wanted_gradient, rtol=0, atol=2e-5)


def test_rwkv5_is_a_special_case_of_rwkv6():
    """With the mapping that the docstring of `RWKV6Cell` gives."""
    rng = np.random.default_rng(0)
    w = {name: rng.normal(size=(8, 8)) for name in ("receptance", "key", "value", "gate", "output")}
    w |= {f"time_mix_{name}": rng.normal(size=8) for name in "kvrg"}
    w |= {f"ln_x.{name}": rng.normal(size=8) for name in ("weight", "bias")}
    w |= {name: rng.normal(size=(2, 4)) for name in ("time_decay", "time_faaaa")}
    arrays = dict(
        mix=np.stack([np.zeros(8), np.zeros(8), *(1 - w[f"time_mix_{n}"] for n in "kvrg")]),
        weight_ih=np.concatenate([w[name] for name in ("receptance", "key", "value", "gate")]),
        weight_mix=np.zeros((5, 8, 1)),
        weight_decay=np.zeros((8, 1)),
        bias_decay=w["time_decay"].reshape(-1),
        gain=w["ln_x.weight"],
        bias_norm=w["ln_x.bias"],
        weight_out=w["output"],
    )
    arrays = {name: jnp.asarray(a) for name, a in arrays.items()}
    sizes = dict(num_heads=2, rank=1, decay_rank=1)
    cell = build(eqx_rnn.RWKV6Cell, 8, 8, arrays=arrays, **sizes)
    cell = eqx.tree_at(lambda c: c.core.bonus, cell, jnp.asarray(w["time_faaaa"]))
    x, state, last = rng.normal(size=(9, 8)), np.zeros((2, 4, 4)), np.zeros(8)
    y = RNN(cell)(x)
    for t in range(9):
        state, wanted = oracles.rwkv5(w, state, last, x[t])
        np.testing.assert_allclose(y[t], wanted, rtol=1e-11, atol=1e-11)
        last = x[t]


def test_a_stack_passes_on_the_values_of_the_first_layer():
    """The loop in the docstring of `RWKV7Cell`, against one oracle per layer."""
    options = dict(num_heads=2, ranks=(2, 3, 1, 4))
    takes, gives = dict(takes_value=True), dict(returns_value=True)
    cells = [
        random_cell(eqx_rnn.RWKV7Cell, 3, 8, seed=0, **options, **gives),
        random_cell(eqx_rnn.RWKV7Cell, 11, 8, seed=1, **options, **takes, **gives),
        random_cell(eqx_rnn.RWKV7Cell, 11, 8, seed=2, **options, **takes),
    ]
    assert [cell.output_size for cell in cells] == [11, 11, 3]
    x, v = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3))), None
    start, values = x, []
    for cell in cells:
        inputs = x if v is None else jnp.concatenate([x, v], axis=-1)
        y, v = jnp.split(RNN(cell)(inputs), [x.shape[-1]], axis=-1)
        values.append(v)
        x = x + y
    np.testing.assert_array_equal(values[0], values[1])
    carries = [[np.zeros((2, 4, 4)), np.zeros((1, 3))] for _ in cells]
    for t in range(5):
        wanted, v = np.asarray(start[t]), np.zeros(0)
        for layer, cell in enumerate(cells):
            inputs = np.concatenate([wanted, v])
            carries[layer], y = oracles.rwkv7(weights(cell), carries[layer], inputs)
            wanted, v = wanted + y[:3], y[3:]
        np.testing.assert_allclose(x[t], wanted, rtol=1e-11, atol=1e-11)


def test_zoneout_refuses_sums_that_share_a_scale():
    cell = eqx_rnn.RWKV4CoreCell(3)
    for rate in 0.5, eqx_rnn.RWKV4CoreCarry(0.0, 0.5, 0.0), eqx_rnn.RWKV4CoreCarry(0.0, 0.0, 0.5):
        zoned = eqx_rnn.Zoneout(cell, rate=rate, inference=True)
        with pytest.raises(ValueError, match=r"`rate` must be 0 for the `numerator`"):
            RNN(zoned)(jnp.ones((4, 6)))


def test_errors():
    with pytest.raises(ValueError, match=r"`layer` must be .* from 0 .* got layer=3"):
        eqx_rnn.RWKV4CoreCell(3, layer=3, num_layers=3)
    make = lambda **options: eqx_rnn.RWKV7Cell(4, 4, key=jnp.zeros(2, jnp.uint32), **options)
    with pytest.raises(ValueError, match=r"more than hidden_size=4, got 4. Pass `input_size=8`"):
        make(takes_value=True)
    with pytest.raises(ValueError, match=r"`ranks` must be four numbers.*got \(1, 2, 3\)"):
        make(ranks=(1, 2, 3))
