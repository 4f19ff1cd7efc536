"""Linear recurrences give the numbers of their authors' code, with its weights.

The files in `data/linear` hold float64 weights, inputs, first states, outputs, last states and
gradients, computed once by the code that their `meta` names. The loss is the sum of `|out|^2`.
"""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT

import eqx_rnn
from eqx_rnn import RNN
from eqx_rnn._cells.hippo import hippo_legs, normal_part

DATA = Path(__file__).parent / "data" / "linear"


def load(name):
    with np.load(DATA / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def build(cell_type, *sizes, arrays, **options):
    """A cell with the given arrays in place of its initial weights."""
    cell = cell_type(*sizes, dtype=FLOAT, key=jax.random.key(0), **options)
    names = sorted(arrays)
    for name in names:
        assert getattr(cell, name).shape == arrays[name].shape, name
    return eqx.tree_at(lambda c: [getattr(c, n) for n in names], cell, [arrays[n] for n in names])


def pair(real, imag):
    return jnp.stack([real, imag])


def gilr(w):
    arrays = dict(weight_ih=w["gilr/fc/W"].T, bias=w["gilr/fc/b"])
    return build(eqx_rnn.GILRCell, 7, 9, arrays=arrays)


def hgrn_core(w):
    arrays = dict(weight_ih=jnp.eye(18))
    return build(eqx_rnn.HGRNCell, 18, 9, arrays=arrays, activation=lambda i: i, use_bias=False)


def hgrn_inputs(d):
    f = jnp.exp(d["x/log_decay"])
    return jnp.concatenate([d["x/x"] / (1 - f), jnp.log(f / (1 - f))], -1)


def mingru(w):
    names = "to_hidden_and_gate.weight", "to_hidden_and_gate.bias"
    return build(eqx_rnn.MinGRUCell, 7, 10, arrays=dict(weight_ih=w[names[0]], bias=w[names[1]]))


def minlstm(w):
    names = "to_hidden_and_f_i_gate.weight", "to_hidden_and_f_i_gate.bias"
    return build(eqx_rnn.MinLSTMCell, 7, 10, arrays=dict(weight_ih=w[names[0]], bias=w[names[1]]))


def qrnn(w):
    sign = jnp.repeat(jnp.array([1.0, -1.0, 1.0]), 10)
    weight, bias = sign[:, None] * w["linear.weight"], sign * w["linear.bias"]
    return build(eqx_rnn.QRNNCell, 7, 10, arrays=dict(weight_ih=weight, bias=bias))


def sru(w):
    weight = w["weight"].reshape(7, 10, 4).transpose(2, 1, 0).reshape(40, 7)
    return build(eqx_rnn.SRUCell, 7, 10, arrays=dict(weight_ih=weight, bias=w["bias"]))


def rglru(w):
    arrays = dict(
        weight_i=w["input_gate.w"],
        bias_i=w["input_gate.b"].reshape(-1),
        weight_r=w["a_gate.w"],
        bias_r=w["a_gate.b"].reshape(-1),
        decay=w["a_param"],
    )
    return build(eqx_rnn.RGLRUCell, 12, num_heads=3, arrays=arrays)


def lru(w):
    arrays = dict(
        nu=w["nu_log"],
        theta=w["theta_log"],
        gamma=w["gamma_log"],
        weight_b=pair(w["B_re"], w["B_im"]),
        weight_c=jnp.stack([w["C_re"], w["C_im"]], 1),
        skip=w["D"],
    )
    return build(eqx_rnn.LRUCell, 6, 8, arrays=arrays)


def s4d(w):
    arrays = dict(
        log_a=w["kernel.log_A_real"],
        frequency=w["kernel.A_imag"],
        log_dt=w["kernel.log_dt"],
        weight_c=jnp.moveaxis(w["kernel.C"], -1, 0),
        skip=w["D"],
    )
    return build(eqx_rnn.S4DCell, 6, 4, arrays=arrays)


def s4d_block(w, y):
    """The layer that the authors' module puts after the recurrence, with its `out/block`."""
    weight, bias = w["output_linear.0.weight"][..., 0], w["output_linear.0.bias"]

    def glu(y):
        value, gate = jnp.split(weight @ jax.nn.gelu(y, approximate=False) + bias, 2)
        return value * jax.nn.sigmoid(gate)

    return RNN(eqx_rnn.Pointwise(glu))(y)


def s5(w):
    arrays = dict(
        eigenvalues=pair(w["Lambda_re"], w["Lambda_im"]),
        log_dt=w["log_step"][:, 0],
        weight_b=jnp.moveaxis(w["B"], -1, 0),
        weight_c=jnp.moveaxis(w["C"], -1, 1),
        skip=w["D"],
    )
    return build(eqx_rnn.S5Cell, 6, 5, arrays=arrays)


CELLS = {
    "gilr": gilr,
    "hgrn_core": hgrn_core,
    "lru": lru,
    "mingru": mingru,
    "minlstm": minlstm,
    "qrnn_window1": qrnn,
    "rglru": rglru,
    "s4d": s4d,
    "s5_zoh": s5,
    "sru_v1": sru,
}


def first_carry(name, cell, x, state):
    carry = cell.initialize_carry(None, x[:, 0])
    if name == "rglru":
        return carry._replace(hidden=state, position=jnp.full(3, 5, jnp.int32))
    if name == "qrnn_window1":
        return carry._replace(cell=state)
    return carry if state is None else state


def last_state(name, carry):
    return carry.hidden if name == "rglru" else carry.cell if name == "qrnn_window1" else carry


def outputs_of(name, arrays, d, chunk_size, scan):
    """The stored outputs, as a function of everything that has a gradient."""
    w = {key[2:]: a for key, a in arrays.items() if key.startswith("w/")}
    cell = CELLS[name](w)
    x = hgrn_inputs(arrays) if name == "hgrn_core" else arrays["x"]
    carry = first_carry(name, cell, x, arrays.get("in/state"))
    resets = d["segment_pos"] == 0 if name == "rglru" else None
    rnn = RNN(cell, chunk_size=chunk_size, scan=scan)
    carry, y = rnn(x, initial_carry=carry, resets=resets, return_carry=True)
    outputs = {"out/y": y, "out/state": last_state(name, carry)}
    if name == "s4d":
        outputs["out/block"] = s4d_block(w, y)
        impulse = jnp.zeros((1, 37, 6)).at[0, 0].set(1.0)
        no_skip = eqx.tree_at(lambda c: c.skip, cell, jnp.zeros(6))
        outputs["out/kernel"] = RNN(no_skip)(impulse)[0].T
    return {key: y for key, y in outputs.items() if key in d}


@pytest.mark.parametrize(("chunk_size", "scan"), [(8, "sequential"), (37, "associative")])
@pytest.mark.parametrize("name", CELLS)
def test_numbers_of_the_authors(name, chunk_size, scan):
    d = load(name)
    assert "source" in json.loads(str(d["meta"]))
    is_input = lambda key: key == "x" or key.startswith(("x/", "w/", "in/"))
    arrays = {key: jnp.asarray(a, FLOAT) for key, a in d.items() if is_input(key)}

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def loss(arrays):
        outputs = outputs_of(name, arrays, d, chunk_size, scan)
        return sum(jnp.sum(jnp.abs(y) ** 2) for y in outputs.values()), outputs

    (value, outputs), gradients = loss(arrays)
    assert set(outputs) == {key for key in d if key.startswith("out/")}
    for key, y in outputs.items():
        np.testing.assert_allclose(y, d[key], rtol=0, atol=1e-11 * np.max(np.abs(d[key])))
    np.testing.assert_allclose(value, d["grad/loss"], rtol=1e-11)
    for key in d:
        name_of = key.removeprefix("grad/")
        if key != name_of and name_of != "loss":
            scale = np.max(np.abs(d[key]))
            if d[key].dtype == np.float32:  # one gradient, which the authors' code rounds
                scale *= 1e4
            np.testing.assert_allclose(gradients[name_of], d[key], rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("size", [4, 8, 16])
def test_the_hippo_matrix_and_its_normal_part(size):
    d = load("init_hippo_legs")
    matrix, b = hippo_legs(size)
    eigenvalues, vectors = normal_part(size)
    np.testing.assert_allclose(matrix, d[f"HiPPO_{size}"], atol=1e-12)
    np.testing.assert_allclose(eigenvalues, d[f"Lambda_{size}"], atol=1e-11)
    np.testing.assert_allclose(np.abs(vectors.conj().T @ b), d[f"abs_VinvB_{size}"], atol=1e-11)
