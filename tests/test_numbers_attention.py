"""Linear attention and its relatives give the numbers of their authors' code.

`test_linear_numbers` explains the files. For layers without a file, the numbers are those of the
authors' equations in their quadratic form: sums over all pairs of steps, without a state.
"""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT
from oracles import sigmoid
from oracles_attention import elu_plus_one, rms, silu
from test_linear_numbers import build, load

import eqx_rnn
from eqx_rnn import RNN

RUNS = [(8, "sequential"), (37, "associative")]
FILES = {"gla": "channel", "simple_gla": "head"}


def joined(arrays):
    """The inputs of a core: all parts and heads on the last axis."""
    parts = [arrays[f"x/{name}"] for name in ("q", "k", "v", "log_decay")]
    return jnp.concatenate([a.reshape(3, 37, -1) for a in parts], axis=-1)


@pytest.mark.parametrize(("chunk_size", "scan"), RUNS)
@pytest.mark.parametrize("name", FILES)
def test_numbers_of_the_authors(name, chunk_size, scan):
    d = load(name)
    assert "source" in json.loads(str(d["meta"]))
    arrays = {k: jnp.asarray(a, FLOAT) for k, a in d.items() if k.startswith(("x/", "in/"))}
    rnn = RNN(eqx_rnn.GLACoreCell(2, 8, 6, decay=FILES[name]), chunk_size=chunk_size, scan=scan)

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def loss(arrays):
        first = arrays["in/state"]
        state, y = rnn(joined(arrays), initial_carry=first, return_carry=True)
        outputs = {"out/y": y.reshape(3, 37, 2, 6), "out/state": state}
        return sum(jnp.sum(y**2) for y in outputs.values()), outputs

    (value, outputs), gradients = loss(arrays)
    assert set(outputs) == {key for key in d if key.startswith("out/")}
    assert {f"grad/{key}" for key in gradients} | {"grad/loss"} == {k for k in d if "grad/" in k}
    np.testing.assert_allclose(value, d["grad/loss"], rtol=1e-11)
    for key, y in outputs.items():
        np.testing.assert_allclose(y, d[key], rtol=0, atol=1e-11 * np.max(np.abs(d[key])))
    for key, y in gradients.items():
        wanted = d[f"grad/{key}"]
        np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-10 * np.max(np.abs(wanted)))


def weights_of(**shapes):
    rng = np.random.default_rng(0)
    return {name: 0.5 * rng.standard_normal(shape) for name, shape in shapes.items()}


def heads(x, number):
    return x.reshape(*x.shape[:-1], number, -1)


def attend(q, k, v, g):
    """The sum over all steps s up to t of `(q_t . exp(g_{s+1} + ... + g_t) k_s) v_s`."""
    total = np.cumsum(np.broadcast_to(g, k.shape), axis=1)
    outputs = np.zeros(v.shape)
    for t in range(v.shape[1]):
        decay = np.exp(total[:, t : t + 1] - total[:, : t + 1])
        pairs = np.sum(q[:, t : t + 1] * decay * k[:, : t + 1], axis=-1, keepdims=True)
        outputs[:, t] = np.sum(pairs * v[:, : t + 1], axis=1)
    return outputs


def join(x):
    return x.reshape(*x.shape[:2], -1)


GLA = {
    "q_proj.weight": (8, 7),
    "k_proj.weight": (8, 7),
    "v_proj.weight": (12, 7),
    "g_proj.weight": (12, 7),
    "gk_proj.0.weight": (3, 7),
    "gk_proj.1.weight": (8, 3),
    "gk_proj.1.bias": (8,),
    "g_norm_swish_gate.weight": (6,),
    "o_proj.weight": (7, 12),
}


def gla_layer(w, x):
    q, k, v, g = (heads(x @ w[f"{name}_proj.weight"].T, 2) for name in "qkvg")
    decay = x @ w["gk_proj.0.weight"].T @ w["gk_proj.1.weight"].T + w["gk_proj.1.bias"]
    o = attend(q / 2, k, v, heads(np.log(sigmoid(decay)) / 16, 2))
    return join(rms(o, 1e-5) * w["g_norm_swish_gate.weight"] * silu(g)) @ w["o_proj.weight"].T


def gla_cell(w):
    rows = [w[f"{name}_proj.weight"] for name in "qkvg"]
    arrays = dict(
        weight_ih=np.concatenate([*rows, w["gk_proj.0.weight"]]),
        weight_decay=w["gk_proj.1.weight"],
        bias_decay=w["gk_proj.1.bias"],
        gain=w["g_norm_swish_gate.weight"],
        weight_out=w["o_proj.weight"],
    )
    return build(eqx_rnn.GLACell, 7, 12, num_heads=2, key_size=4, rank=3, arrays=arrays)


HGRN2 = {
    "q_proj.weight": (12, 12),
    "f_proj.weight": (12, 12),
    "i_proj.weight": (12, 12),
    "g_norm.weight": (12,),
    "o_proj.weight": (12, 12),
}
BOUNDS = np.linspace(0, 0.9, 12)


def hgrn2_layer(w, x):
    q, f, i = (x @ w[f"{name}_proj.weight"].T for name in "qfi")
    f = heads(BOUNDS + (1 - BOUNDS) * sigmoid(f), 3)
    o = join(attend(heads(silu(q), 3) / 2, 1 - f, heads(i, 3), np.log(f)))
    return (rms(o, 1e-5) * w["g_norm.weight"]) @ w["o_proj.weight"].T


def hgrn2_cell(w):
    arrays = dict(
        weight_ih=np.concatenate([w[f"{name}_proj.weight"] for name in "qfi"]),
        gain=w["g_norm.weight"],
        weight_out=w["o_proj.weight"],
    )
    return build(eqx_rnn.HGRN2Cell, 12, 12, num_heads=3, lower_bound=BOUNDS, arrays=arrays)


RETNET = {
    "q_proj.weight": (12, 7),
    "k_proj.weight": (12, 7),
    "v_proj.weight": (9, 7),
    "g_proj.weight": (9, 7),
    "out_proj.weight": (7, 9),
}
DECAYS = 1 - 2.0 ** np.array([-5, -6, -7])


def retnet_layer(w, x):
    q, k, v, g = (heads(x @ w[f"{name}_proj.weight"].T, 3) for name in "qkvg")
    angles = np.exp(1j * np.arange(37)[:, None, None] / 10_000 ** np.array([0, 1]))
    # The real part of `conj(q) k` is the product of two rotated pairs.
    q, k = ((a[..., ::2] + 1j * a[..., 1::2]) * angles for a in (q, k / 2))
    q, k = (np.concatenate([a.real, a.imag], axis=-1) for a in (q, k))
    o = attend(q, k, v, np.log(DECAYS)[:, None])
    n = np.cumsum(DECAYS ** np.arange(37)[:, None], axis=0)
    return join(silu(g) * rms(o / np.sqrt(n)[..., None], 1e-6)) @ w["out_proj.weight"].T


def retnet_cell(w):
    arrays = dict(
        weight_ih=np.concatenate([w[f"{name}_proj.weight"] for name in "qkvg"]),
        weight_out=w["out_proj.weight"],
    )
    return build(eqx_rnn.RetentionCell, 7, 9, num_heads=3, key_size=4, arrays=arrays)


ATTENTION = {
    "query_projection.weight": (8, 7),
    "key_projection.weight": (8, 7),
    "value_projection.weight": (6, 7),
    "out_projection.weight": (7, 6),
    "query_projection.bias": (8,),
    "key_projection.bias": (8,),
    "value_projection.bias": (6,),
    "out_projection.bias": (7,),
}


def attention_layer(w, x):
    linear = lambda name, x: x @ w[f"{name}_projection.weight"].T + w[f"{name}_projection.bias"]
    q, k, v = (heads(linear(name, x), 2) for name in ("query", "key", "value"))
    q, k = elu_plus_one(q), elu_plus_one(k)
    total = attend(q, k, np.ones((*v.shape[:-1], 1)), 0.0)
    return linear("out", join(attend(q, k, v, 0.0) / (total + 1e-6)))


def attention_cell(w):
    rows = lambda kind: np.concatenate(
        [w[f"{name}_projection.{kind}"] for name in ("query", "key", "value")]
    )
    arrays = dict(
        weight_ih=rows("weight"),
        bias=rows("bias"),
        weight_out=w["out_projection.weight"],
        bias_out=w["out_projection.bias"],
    )
    return build(eqx_rnn.LinearAttentionCell, 7, 6, num_heads=2, key_size=4, arrays=arrays)


LAYERS = {
    "gla": (GLA, gla_layer, gla_cell),
    "hgrn2": (HGRN2, hgrn2_layer, hgrn2_cell),
    "retnet": (RETNET, retnet_layer, retnet_cell),
    "linear attention": (ATTENTION, attention_layer, attention_cell),
}


@pytest.mark.parametrize(("chunk_size", "scan"), RUNS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_the_weights_of_the_authors(name, chunk_size, scan):
    shapes, layer, cell = LAYERS[name]
    w = weights_of(**shapes)
    cell = jax.tree.map(lambda a: jnp.asarray(a, FLOAT), cell(w))
    x = np.random.default_rng(1).standard_normal((3, 37, cell.input_size))
    y = RNN(cell, chunk_size=chunk_size, scan=scan)(jnp.asarray(x))
    wanted = layer(w, x)
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-11 * np.max(np.abs(wanted)))


CORES = {
    "linear attention": (
        lambda: eqx_rnn.LinearAttentionCoreCell(3, 4, 2, feature_map=lambda x: x, normalize=False),
        lambda q, k, v: attend(q / 2, k, v, 0.0),
    ),
    "normalised": (
        lambda: eqx_rnn.LinearAttentionCoreCell(3, 4, 2),
        lambda q, k, v: normalised(elu_plus_one(q), elu_plus_one(k), v),
    ),
    "retention": (
        lambda: eqx_rnn.RetentionCoreCell(3, 4, 2),
        lambda q, k, v: attend(q / 2, k, v, np.log(DECAYS)[:, None]),
    ),
}


def normalised(q, k, v):
    return attend(q, k, v, 0.0) / (attend(q, k, np.ones((*v.shape[:-1], 1)), 0.0) + 1e-6)


@pytest.mark.parametrize(("chunk_size", "scan"), RUNS)
@pytest.mark.parametrize("name", CORES)
def test_cores_in_their_quadratic_form(name, chunk_size, scan):
    make, form = CORES[name]
    rng = np.random.default_rng(2)
    parts = [rng.standard_normal((3, 37, 3, size)) for size in (4, 4, 2)]
    inputs = jnp.asarray(np.concatenate([join(a) for a in parts], axis=-1))
    y = RNN(make(), chunk_size=chunk_size, scan=scan)(inputs)
    wanted = join(form(*parts))
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-11 * np.max(np.abs(wanted)))
