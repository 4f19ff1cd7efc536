"""Comparison with `eqx.nn`: the same leaves, numbers and gradients."""

import functools
import io

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_cell, random_like

import eqx_rnn

CELLS = [(eqx_rnn.LSTMCell, eqx.nn.LSTMCell), (eqx_rnn.GRUCell, eqx.nn.GRUCell)]
every_cell = pytest.mark.parametrize(("make_ours", "make_theirs"), CELLS, ids=["lstm", "gru"])
with_and_without_bias = pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no-bias"])


def assert_same(ours, theirs):
    """Compares leaves only, because the structures differ."""
    close = {"rtol": 1e-12, "atol": 1e-12, "equal_nan": False, "strict": True}
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, **close)


def states(make_ours, *batch):
    """A random carry of our cell, which `eqx.nn` accepts as well."""
    hidden, cell = random_like(2 * (jax.ShapeDtypeStruct((*batch, 4), jnp.float64),), seed=1)
    return eqx_rnn.LSTMCarry(hidden, cell) if make_ours is eqx_rnn.LSTMCell else hidden


def inputs(*leading):
    return random_like(jax.ShapeDtypeStruct((*leading, 3), jnp.float64), seed=2)


@every_cell
@with_and_without_bias
@pytest.mark.parametrize("dtype", [None, "bfloat16", "float32"])
def test_same_leaves(make_ours, make_theirs, use_bias, dtype):
    def leaves(make):
        cell = eqx.filter_eval_shape(
            make, 3, 4, use_bias=use_bias, dtype=dtype, key=jax.random.key(0)
        )
        named, _ = jax.tree.flatten_with_path(cell)
        return [(jax.tree_util.keystr(path), leaf.shape, leaf.dtype) for path, leaf in named]

    assert leaves(make_ours) == leaves(make_theirs)


@every_cell
@with_and_without_bias
def test_same_numbers_step_by_step(make_ours, make_theirs, use_bias):
    """Our cell takes two batch axes directly. `eqx.nn` needs two `vmap`s."""
    theirs = random_cell(make_theirs, 3, 4, seed=0, use_bias=use_bias)
    ours = eqx_rnn.interop.from_equinox(theirs)
    our_step, their_step = (
        eqx.filter_jit(ours),
        eqx.filter_jit(eqx.filter_vmap(eqx.filter_vmap(theirs))),
    )
    our_state = their_state = states(make_ours, 2, 3)
    for x in inputs(4, 2, 3):
        our_state, output = our_step(our_state, x)
        their_state = their_step(x, their_state)
        assert_same(our_state, their_state)
        assert_same(output, jax.tree.leaves(their_state)[0])


@every_cell
def test_same_gradients_as_their_cell_in_a_scan(make_ours, make_theirs):
    """For weights, inputs and first carry. The scan is that of the documentation of `eqx.nn`."""

    def run_ours(cell, xs, state):
        state, ys = eqx_rnn.RNN(cell)(xs, initial_carry=state, return_carry=True)
        return jax.tree.leaves(state), ys

    @functools.partial(jax.vmap, in_axes=(None, 0, 0))
    def run_theirs(cell, xs, state):
        def step(state, x):
            state = cell(x, state)
            return state, jax.tree.leaves(state)[0]

        state, ys = lax.scan(step, tuple(state) if isinstance(state, tuple) else state, xs)
        return jax.tree.leaves(state), ys

    def gradients(run, *args):
        def loss(args):
            out = run(*args)
            weighted = jax.tree.map(jnp.vdot, out, random_like(out, seed=3))
            return sum(jax.tree.leaves(weighted))

        return eqx.filter_jit(eqx.filter_grad(loss))(args)

    theirs = random_cell(make_theirs, 3, 4, seed=0)
    ours = eqx_rnn.interop.from_equinox(theirs)
    args = inputs(2, 5), states(make_ours, 2)
    assert_same(gradients(run_ours, ours, *args), gradients(run_theirs, theirs, *args))


@every_cell
@with_and_without_bias
def test_files_of_either_load_into_the_other(make_ours, make_theirs, use_bias):
    for make_source, make_target in [(make_ours, make_theirs), (make_theirs, make_ours)]:
        source = random_cell(make_source, 3, 4, seed=0, use_bias=use_bias)
        target = random_cell(make_target, 3, 4, seed=5, use_bias=use_bias)
        file = io.BytesIO()
        eqx.tree_serialise_leaves(file, source)
        file.seek(0)
        loaded = jax.tree.leaves(eqx.tree_deserialise_leaves(file, target))
        for a, b in zip(loaded, jax.tree.leaves(source), strict=True):
            np.testing.assert_array_equal(a, b)


@every_cell
@with_and_without_bias
def test_there_and_back(make_ours, make_theirs, use_bias):
    theirs = random_cell(make_theirs, 3, 4, seed=0, use_bias=use_bias)
    ours = eqx_rnn.interop.from_equinox(theirs)
    assert jax.tree.structure(ours) == jax.tree.structure(
        random_cell(make_ours, 3, 4, seed=0, use_bias=use_bias)
    )
    assert eqx.tree_equal(eqx_rnn.interop.to_equinox(ours), theirs, typematch=True)
