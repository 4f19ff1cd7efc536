"""The installed versions of other frameworks still give the numbers in `data/interop.npz`."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interop_case import BATCH, HIDDEN, INPUT, differentiate, draw
from interop_cases import CASES
from test_interop import DATA

from eqx_rnn import LSTMCarry

MODULES = {"torch": ["torch"], "keras": ["keras"], "haiku": ["haiku"]}
MODULES["onnx"] = ["onnx", "onnxruntime"]


@pytest.mark.parametrize("framework", MODULES)
def test_stored_numbers_are_still_theirs(framework, tmp_path):
    """Each framework runs in its own process, with its own settings and warnings."""
    for module in MODULES[framework]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed; the [bench] extra has it")
    script, out = pathlib.Path(__file__).parent / "make_interop_data.py", tmp_path / "live.npz"
    path = [str(script.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    subprocess.run(
        [sys.executable, script, framework, "--out", out],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
    )
    with np.load(out) as live, np.load(DATA) as stored:
        assert set(live) == {name for name in stored if name.startswith(framework)}
        for name in live:
            # Keras computes some activations in float32, onnxruntime everything.
            tolerance = 2e-6 if framework == "onnx" or "activation" in name else 1e-12
            np.testing.assert_allclose(live[name], stored[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name.endswith("-nnx")], ids=lambda case: case.name
)
def test_nnx(case):
    """Two steps, and their gradients with respect to nnx's weights."""
    names = ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell")
    (name,) = [name for name in names if case.name == f"flax-{name.lower()}-nnx"]
    make = getattr(nnx, name)
    dtypes = {"dtype": jnp.float64, "param_dtype": jnp.float64}
    graph, state = nnx.split(make(INPUT, HIDDEN, **dtypes, rngs=nnx.Rngs(0)))
    is_lstm = "LSTM" in make.__name__
    assert jax.tree.map(jnp.shape, nnx.to_pure_dict(state)) == case.shapes

    def theirs(weights, xs, states):
        nnx.replace_by_pure_dict(state, weights)
        cell, carry = nnx.merge(graph, state), tuple(states[::-1]) if is_lstm else states[0]
        for x in xs:
            carry, y = cell(carry, x)
        return y, list(carry[::-1]) if is_lstm else [carry]

    def ours(weights, xs, states):
        cell, carry = case.read(weights), LSTMCarry(*states) if is_lstm else states[0]
        for x in xs:
            carry, y = cell(carry, x)
        return y, list(carry) if is_lstm else [carry]

    states = draw((1 + is_lstm) * [(BATCH, HIDDEN)], seed=2)
    arguments = case.weights(), draw((2, BATCH, INPUT), seed=1), states
    for a, b in zip(differentiate(ours, arguments), differentiate(theirs, arguments), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, strict=True)
