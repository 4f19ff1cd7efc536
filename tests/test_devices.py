"""A batch spread over several devices: the same numbers, and only gradients are exchanged.

A convolution merges time and batch, so XLA gathers its inputs.
"""

import contextlib
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import eqx_rnn
from eqx_rnn._scan import Steps
from eqx_rnn._scan.align import align
from eqx_rnn._scan.factored.plan import Plan, plan
from eqx_rnn._scan.steps import Options

BY_NAME = {case.name: case for case in CASES}
EXACT = dict(rtol=1e-10, atol=1e-10)
MOVES = "all-gather|all-to-all|collective-permute|reduce-scatter"


def example(name, **options):
    """A module, arrays for it, and a function of both with its gradients."""
    case = BY_NAME[name]
    rng = np.random.default_rng(0)
    resets = jnp.asarray(rng.random((8, 9)) < 0.2)
    mask = jnp.asarray(np.arange(9) < rng.integers(0, 10, (8, 1)))

    def run(rnn, xs, mask, resets):
        def loss(rnn):
            carry, ys = rnn(xs, mask=mask, resets=resets, return_carry=True)
            return jnp.sum(jnp.sin(ys)), (carry, ys)

        return eqx.filter_value_and_grad(loss, has_aux=True)(rnn)

    return eqx_rnn.RNN(case.cell(), **options), (case.inputs(8, 9), mask, resets), run


def assert_same(results, expected):
    for a, b in zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, **EXACT)


@pytest.mark.parametrize("options", [{}, {"checkpoint": 3}], ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru", "conv-lstm-1d"])
def test_a_batch_over_devices(name, options):
    rnn, arrays, run = example(name, **options)
    expected = eqx.filter_jit(run)(rnn, *arrays)

    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(arrays, NamedSharding(mesh, PartitionSpec("batch")))
    weights, static = eqx.partition(rnn, eqx.is_array)
    weights = jax.device_put(weights, NamedSharding(mesh, PartitionSpec()))
    compiled = jax.jit(lambda w, *rest: run(eqx.combine(w, static), *rest)).lower(weights, *spread)
    compiled = compiled.compile()
    results = compiled(weights, *spread)

    (_, (_, ys)), _ = results
    assert ys.sharding.spec[0] == "batch"
    if rnn.cell.num_feature_dims == 1:
        assert not re.findall(MOVES, compiled.as_text())
        assert "all-reduce" in compiled.as_text()
    assert_same(results, expected)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_the_engine_applies(kind):
    rnn, arrays, _ = example("gru")
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(kind,))
    for context in (contextlib.nullcontext(), jax.set_mesh(mesh)):
        with context:
            spread = jax.device_put(arrays, NamedSharding(mesh, PartitionSpec("batch")))
            cell = rnn.cell
            xs = jnp.moveaxis(spread[0], 1, 0)
            steps = Steps(jnp.moveaxis(spread[1], 1, 0), None, None)
            carry = cell.initialize_carry(None, xs[0])
            aligned = align(cell, carry, xs, None, steps)
            assert isinstance(plan(*aligned[:3], aligned[4], Options()), Plan)


@pytest.mark.parametrize("in_context", [False, True], ids=["", "set_mesh"])
@pytest.mark.parametrize("name", ["lstm", "gru", "conv-lstm-1d", "slstm", "hawk"])
def test_explicit_axes(name, in_context):
    rnn, arrays, run = example(name)
    expected = eqx.filter_jit(run)(rnn, *arrays)

    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh) if in_context else contextlib.nullcontext():
        spread = jax.device_put(arrays, NamedSharding(mesh, PartitionSpec("batch")))
        results = eqx.filter_jit(run)(rnn, *spread)
        (_, (carry, ys)), _ = results
        for leaf in jax.tree.leaves((carry, ys)):
            assert jax.typeof(leaf).sharding.spec[0] == "batch"
        assert_same(results, expected)


@pytest.mark.parametrize("axes", [("batch",), ("batch", "other")], ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru", "conv-lstm-1d", "slstm", "simple"])
def test_shard_map(name, axes):
    """Each device has a part of the batch. The gradients of the weights are summed over devices.

    `jax.shard_map` leaves axes of the mesh that are not named in it to the compiler.
    """
    rnn, arrays, run = example(name)
    expected = eqx.filter_jit(run)(rnn, *arrays)
    weights, static = eqx.partition(rnn, eqx.is_array)

    def on_one_device(weights, *arrays):
        (loss, aux), gradients = run(eqx.combine(weights, static), *arrays)
        gradients = eqx.filter(gradients, eqx.is_array)
        return (jax.lax.psum(loss, "batch"), aux), gradients

    sizes = (8,) if len(axes) == 1 else (4, 2)
    mesh = jax.make_mesh(sizes, axes, axis_types=len(axes) * (AxisType.Auto,))
    batch, shared = PartitionSpec("batch"), PartitionSpec()
    specs = dict(in_specs=(shared, batch, batch, batch), out_specs=((shared, batch), shared))
    mapped = jax.shard_map(on_one_device, mesh=mesh, axis_names={"batch"}, **specs)
    results = jax.jit(mapped)(weights, *arrays)
    assert_same(results, (expected[0], eqx.filter(expected[1], eqx.is_array)))
