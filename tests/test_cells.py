"""Tests of each cell by itself, over the table of cases."""

import dataclasses
import inspect
import io
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, CELLS, EACH_CLASS, FEW_CASES, weights
from helpers import assert_close
from jax.test_util import check_grads
from jaxtyping import jaxtyped

import eqx_rnn

all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_class = pytest.mark.parametrize("case", EACH_CLASS, ids=lambda case: case.name)
few_cases = pytest.mark.parametrize("case", FEW_CASES, ids=lambda case: case.name)


def assert_leaves_close(tree, leaves, **tolerance):
    for x, y in zip(jax.tree.leaves(tree), leaves, strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


@all_cases
def test_values_over_several_steps(case):
    cell = case.cell()
    xs, carry = case.inputs(3), case.carry(cell)
    state = [np.asarray(leaf) for leaf in jax.tree.leaves(carry)]
    step = eqx.filter_jit(cell)
    for x in xs:
        carry, y = step(carry, x)
        state, expected = case.oracle(weights(cell), state, np.asarray(x))
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
        assert_leaves_close(carry, state, rtol=1e-12, atol=1e-12)


@few_cases
def test_gradients_agree_with_finite_differences(case):
    cell = case.cell()
    params, static = eqx.partition(cell, eqx.is_array)

    start, masks = eqx.partition(case.carry(cell, 2), eqx.is_inexact_array)

    @jax.jit
    def two_steps(params, start, xs):
        cell = eqx.combine(params, static)
        carry, first = cell(eqx.combine(start, masks), xs[0])
        return eqx.filter(carry, eqx.is_inexact_array), (first, cell(carry, xs[1])[1])

    args = params, start, case.inputs(2, 2)
    check_grads(two_steps, args, order=1, modes=("fwd", "rev"), eps=1e-5, rtol=1e-6)


@few_cases
def test_jit_equals_eager(case):
    cell = case.cell()
    args = case.carry(cell, 2), case.inputs(2)
    assert_close(eqx.filter_jit(cell)(*args), cell(*args), rtol=1e-12, atol=1e-12)


@few_cases
def test_any_number_of_batch_axes(case):
    """Calls with 0, 1 and 3 batch axes, `vmap` and a loop agree."""
    cell = case.cell()
    carry, xs = case.carry(cell, 2, 1, 3), case.inputs(2, 1, 3)
    step = eqx.filter_jit(cell)
    three_axes = step(carry, xs)
    flat_carry, flat_xs = jax.tree.map(lambda a: a.reshape(6, *a.shape[3:]), (carry, xs))
    flat = jax.tree.map(lambda a: a.reshape(6, *a.shape[3:]), three_axes)
    assert_close(step(flat_carry, flat_xs), flat, rtol=1e-12, atol=1e-12)
    mapped = jax.jit(lambda carry, x: jax.vmap(cell)(carry, x))
    assert_close(mapped(flat_carry, flat_xs), flat, rtol=1e-12, atol=1e-12)
    for b in range(6):
        single = step(jax.tree.map(lambda a, b=b: a[b], flat_carry), flat_xs[b])
        expected = jax.tree.map(lambda a, b=b: a[b], flat)
        assert_close(single, expected, rtol=1e-12, atol=1e-12)


@each_class
@pytest.mark.parametrize(
    ("weight_dtype", "input_dtype"),
    [
        (jnp.bfloat16, jnp.bfloat16),
        (jnp.bfloat16, jnp.float32),
        (jnp.float32, jnp.bfloat16),
        (jnp.float32, jnp.float64),
    ],
)
def test_carry_is_fixed(case, weight_dtype, input_dtype):
    """Structure, shapes and dtype of the carry are the same before and after a step."""
    cell = case.cell(weight_dtype)
    sample = jax.ShapeDtypeStruct((2, *case.features), input_dtype)

    def start_and_step(x):
        carry = cell.initialize_carry(None, sample)
        return carry, *cell(carry, x)

    before, after, outputs = jax.eval_shape(start_and_step, sample)
    assert before == after
    weights = jax.tree.leaves(eqx.filter(cell, eqx.is_array))
    wanted = jnp.promote_types(weight_dtype, input_dtype) if weights else input_dtype
    for leaf in jax.tree.leaves((after, outputs)):
        is_complex = jnp.issubdtype(leaf.dtype, jnp.complexfloating)
        if jnp.issubdtype(leaf.dtype, jnp.inexact):  # others are masks and counts
            assert leaf.dtype in (
                [jnp.promote_types(wanted, jnp.complex64)]
                if is_complex
                else [wanted, jnp.promote_types(wanted, jnp.float32)]  # the latter for long sums
            )
    assert all(leaf.dtype == wanted for leaf in jax.tree.leaves(outputs))
    assert all(leaf.dtype == weight_dtype for leaf in weights)


@each_class
def test_initialize_carry_reads_only_shape_and_dtype(case):
    cell = case.cell()
    x = case.inputs(2)
    carry = cell.initialize_carry(None, x)
    struct = cell.initialize_carry(None, jax.ShapeDtypeStruct(x.shape, x.dtype))
    from_numpy = cell.initialize_carry(None, np.asarray(x))
    assert_close(carry, struct, rtol=0)
    assert_close(carry, from_numpy, rtol=0)
    leaves = jax.tree.leaves(carry)
    if isinstance(cell, eqx_rnn.LearnedCarry):
        learned = jax.tree.leaves(cell.initial)
        assert all(np.all(a == b) for a, b in zip(leaves, learned, strict=True))
    elif case.name.startswith("rwkv4"):  # whose first scale is a large negative number
        assert {float(value) for leaf in leaves for value in np.unique(leaf)} == {0.0, -1e30}
    else:
        # The masks of dropout are true, and are still to be drawn.
        assert all(np.all(leaf == (leaf.dtype == bool)) for leaf in leaves)


@each_class
def test_carry_init_is_used(case):
    init = jax.nn.initializers.normal()
    cell = case.make(carry_init=init, key=jax.random.key(0))
    batch = () if isinstance(cell, eqx_rnn.LearnedCarry) else (2,)
    sample = jax.ShapeDtypeStruct((*batch, *case.features), jnp.float64)
    leaves = jax.tree.leaves(cell.initialize_carry(jax.random.key(1), sample))
    values = np.concatenate([np.ravel(leaf) for leaf in leaves if eqx.is_inexact_array(leaf)])
    assert len(np.unique(values)) == values.size
    with pytest.raises(ValueError, match=r"`key` must be a random key.*jax.random.key"):
        cell.initialize_carry(None, sample)


@few_cases
def test_numpy_in(case):
    cell = case.cell()
    carry, x = case.carry(cell, 2), case.inputs(2)
    as_numpy = jax.tree.map(np.asarray, (carry, x))
    assert_close(cell(*as_numpy), cell(carry, x), rtol=0)


@all_cases
def test_serialisation_round_trip(case):
    cell, other = case.cell(), case.cell(seed=7)
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, cell)
    buffer.seek(0)
    assert eqx.tree_equal(eqx.tree_deserialise_leaves(buffer, other), cell)


@all_cases
def test_only_arrays_are_leaves(case):
    """Rates and the flag of inference mode are leaves, too, as in `eqx.nn.Dropout`."""
    cell = case.cell()
    arrays, others = eqx.partition(cell, eqx.is_array)
    assert all(eqx.is_inexact_array(leaf) for leaf in jax.tree.leaves(arrays))
    assert hasattr(cell, "inference") or not jax.tree.leaves(others)
    assert all(isinstance(leaf, float | bool) for leaf in jax.tree.leaves(others))
    hash(jax.tree.structure(cell))  # everything else is hashable, so `jit` can compare it


@all_cases
def test_annotated_field_shapes_are_true(case):
    @jaxtyped(typechecker=None)
    def check(self):
        for field in dataclasses.fields(self):
            options = field.type.__args__ if hasattr(field.type, "__args__") else (field.type,)
            value = getattr(self, field.name)
            if isinstance(value, jax.Array) and field.name != "initial":  # any structure
                shaped = [option for option in options if hasattr(option, "dim_str")]
                assert any(isinstance(value, option) for option in shaped), field.name

    check(case.cell())


@all_cases
def test_docstring_has_equations_shapes_and_source(case):
    doc = inspect.getdoc(type(case.cell()))
    assert re.search(r"^    [chmpyS]'?.* = .+", doc, re.MULTILINE)
    assert "**Shapes:**" in doc
    assert re.search(r"\*\*Source:\*\* .*\((19|20)\d\d\)", doc, re.DOTALL)


def recurrent_matrices(cell):
    """The matrices that `recurrent_weight_init` drew, gate by gate, outputs first."""
    if isinstance(cell, eqx_rnn.SLSTMCell):  # one matrix per head, with the gates in its columns
        return [gate.T for head in cell.weight_hh for gate in np.split(np.asarray(head), 4, 1)]
    if cell.weight_hh.ndim == 1:  # a vector has nothing to be orthogonal to
        return []
    if isinstance(cell, eqx_rnn.LMUCell):  # drawn as in the authors' code, by another initialiser
        return []
    names = [name for name in ("weight_hh", "weight_zh") if hasattr(cell, name)]
    stack = np.concatenate([getattr(cell, name) for name in names])
    return np.split(stack, stack.shape[0] // cell.hidden_size)


@pytest.mark.parametrize("case", CELLS, ids=lambda case: case.name)  # wrappers draw no weights
def test_initial_weights(case):
    """Each gate's recurrent matrix is orthogonal by itself; dtype and initialisers are used."""
    cell = case.make(dtype=jnp.float64, key=jax.random.key(0))
    gates = recurrent_matrices(cell)
    for gate in gates:
        matrix = np.moveaxis(gate, 0, -1).reshape(-1, gate.shape[0])
        small = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-12)
    assert len(gates) <= 1 or not np.allclose(gates[0], gates[1])
    half = case.make(
        dtype=jnp.bfloat16,
        weight_init=jax.nn.initializers.constant(2.0),
        recurrent_weight_init=jax.nn.initializers.constant(3.0),
        key=jax.random.key(0),
    )
    assert half.weight_ih.dtype == half.weight_hh.dtype == jnp.bfloat16
    assert np.all(half.weight_ih == 2)
    assert all(np.all(matrix == 3) for matrix in recurrent_matrices(half))
    if half.bias is not None:
        biased = case.make(bias_init=jax.nn.initializers.constant(4.0), key=jax.random.key(0))
        assert set(np.unique(biased.bias)) <= {4.0, 5.0}
