"""Round trips of the weights of other frameworks, and their numbers from `data/interop.npz`."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interop_case import differentiate
from interop_cases import CASES, NAMED_ACTIVATIONS, NUMBERS, POINTS

from eqx_rnn.interop.activations import KERAS, ONNX

DATA = pathlib.Path(__file__).parent / "data" / "interop.npz"
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def flatten(weights):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(weights)}


@every_case
def test_round_trip(case):
    """Adding 1 to the bias of a forget gate and subtracting it again costs a rounding error."""
    weights = case.weights()
    back, wanted = flatten(case.write(case.read(weights))), flatten(case.merge(weights))
    assert back.keys() == wanted.keys()
    for name, array in back.items():
        assert isinstance(array, np.ndarray)
        np.testing.assert_allclose(array, wanted[name], rtol=0, atol=5e-16, strict=True)


@pytest.mark.parametrize("case", NUMBERS, ids=lambda case: case.name)
def test_same_numbers(case):
    """Outputs, final states, and gradients for weights, inputs and first states."""
    arguments = case.arguments()
    run = lambda weights, inputs, state: case.run(case.read(weights), inputs, state)
    if case.framework == "onnx":
        leaves, tolerance = jax.tree.leaves(jax.jit(run)(*arguments)), 2e-6  # float32, no gradients
    else:
        leaves, tolerance = differentiate(run, arguments), 1e-12
    ours = np.concatenate([np.ravel(leaf) for leaf in leaves])
    with np.load(DATA) as stored:
        theirs = stored[case.name]
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, strict=True)


def test_activations_by_name():
    """Keras computes some of them in float32."""
    with np.load(DATA) as stored:
        for framework, name in NAMED_ACTIVATIONS:
            ours = {"keras": KERAS, "onnx": ONNX}[framework][name](jnp.asarray(POINTS))
            theirs = stored[f"{framework}-activation-{name}"]
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6, err_msg=name)
