"""Products that take another form on a CPU if it is faster."""

import functools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import eqx_rnn
from eqx_rnn._base.cells import FactoredCell
from eqx_rnn._kernels.dots import multiply
from eqx_rnn._kernels.evaluate import evaluate
from eqx_rnn._kernels.hoist import hoist
from eqx_rnn._kernels.jaxprs import trace
from eqx_rnn._scan import Steps, plain
from eqx_rnn._scan.factored import engine as factored
from eqx_rnn._scan.steps import Options

OPTIONS = {"options": Options(), "substitute": None}

# (batch, weight, axis of the weight) of products that take another form than `rows_first`.
MORE_THREADS = [((96,), (100, 400), 0), ((8, 12), (100, 400), 0)]
WEIGHT_FIRST = [((32,), (2048, 512), 1), ((4, 6), (512, 512), 1), ((3,), (100, 200), 1)]
ROWS_FIRST = [
    ((8,), (64, 256), 0, jnp.float32),  # too little work for a second thread
    ((96,), (256, 1024), 0, jnp.float32),  # enough work for several threads in any form
    ((96,), (100, 400), 0, jnp.bfloat16),
    ((32,), (512, 2048), 0, jnp.float32),  # nothing is transposed
    ((1,), (2048, 512), 1, jnp.float32),
    ((), (2048, 512), 1, jnp.float32),
    ((31,), (2048, 512), 1, jnp.float32),  # does not fill vectors
    ((128,), (2048, 512), 1, jnp.float32),  # more work than transposing
    ((32,), (2048, 512), 1, jnp.bfloat16),
    ((8,), (16, 64), 1, jnp.float32),
]


def product(rows, weight, axis=0):
    numbers = (((rows.ndim - 1,), (axis,)), ((), ()))
    dot = lambda rows, weight: jax.lax.dot_general(rows, weight, numbers)
    return evaluate(jax.make_jaxpr(dot)(rows, weight).jaxpr, rows, weight)[0]


def operands(batch, weight, axis, dtype=jnp.float32):
    rows_key, weight_key = jr.split(jr.key(0))
    rows = jr.normal(rows_key, (*batch, weight[axis]), dtype)
    return rows, jr.normal(weight_key, weight, dtype) / weight[axis] ** 0.5


def form(batch, weight, axis, dtype=jnp.float32, platform="cpu", mapped=False):
    """The left operand of the product in the lowered function."""
    rows, weight = operands(batch, weight, axis, dtype)
    function = functools.partial(multiply, axis=axis)
    function = jax.vmap(function, (0, None)) if mapped else function
    lowered = jax.jit(function).trace(rows, weight).lower(lowering_platforms=(platform,))
    (sizes,) = re.findall(r"dot_general .* : \(tensor<([0-9x]+)xb?f\d+>", lowered.as_text())
    shape = tuple(map(int, sizes.split("x")))
    names = {weight.shape: "weight", (rows.shape[-1], *batch): "columns", rows.shape: "rows"}
    return names[shape]


@pytest.mark.parametrize("case", MORE_THREADS + WEIGHT_FIRST, ids=str)
def test_only_on_a_cpu(case):
    assert form(*case) == ("columns" if case in MORE_THREADS else "weight")
    assert form(*case, platform="tpu") == "rows"
    assert form(*case, platform="cuda") == "rows"


@pytest.mark.parametrize("case", ROWS_FIRST, ids=str)
def test_only_where_it_is_faster(case):
    assert form(*case) == "rows"


def test_the_number_of_rows_is_that_after_vmap():
    assert form((32,), (2048, 512), 1, mapped=True) == "weight"
    assert form((31,), (2048, 512), 1, mapped=True) == "rows"


@pytest.mark.parametrize("case", MORE_THREADS + WEIGHT_FIRST, ids=str)
def test_values_and_derivatives(case):
    rows, weight = operands(*case)
    axis = case[2]
    of = functools.partial(product, axis=axis)

    def gradient_of_rows(rows, weight):
        outputs, pull = jax.vjp(lambda rows: of(rows, weight), rows)
        return pull(outputs)[0]

    def exact(rows, weight, axis=axis):
        return np.tensordot(
            np.asarray(rows, np.float64), np.asarray(weight, np.float64), (-1, axis)
        )

    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4)
    d_rows, d_weight = rows[..., ::-1], weight[::-1]
    close(of(rows, weight), exact(rows, weight))
    _, moved = jax.jvp(of, (rows, weight), (d_rows, d_weight))
    close(moved, exact(d_rows, weight) + exact(rows, d_weight))
    stacked = jnp.stack([rows, d_rows, 2 * rows])
    close(jax.vmap(of, (0, None))(stacked, weight), exact(stacked, weight))
    weights = jnp.stack([weight, d_weight, 2 * weight])
    pairs = [exact(*pair) for pair in zip(stacked, weights, strict=True)]
    close(jax.vmap(of)(stacked, weights), np.stack(pairs))
    each = [exact(rows, weight) for weight in weights]
    close(jax.vmap(of, (None, 0))(rows, weights), np.stack(each))
    outputs, pull = jax.vjp(of, rows, weight)
    to_rows, to_weight = pull(outputs)
    close(to_rows, exact(outputs, weight, 1 - axis))
    flat = lambda a: np.asarray(a, np.float64).reshape(-1, a.shape[-1])
    gradient = flat(rows).T @ flat(outputs)
    close(to_weight, gradient.T if axis else gradient)
    _, moved = jax.jvp(gradient_of_rows, (rows, weight), (d_rows, d_weight))
    twice = exact(exact(d_rows, weight) + exact(rows, d_weight), weight, 1 - axis)
    close(moved, twice + exact(outputs, d_weight, 1 - axis))


def test_precision_goes_with_its_operand():
    rows, weight = operands((32,), (2048, 512), 1)
    function = functools.partial(multiply, axis=1, precision=("highest", "default"))
    text = jax.jit(function).lower(rows, weight).as_text()
    assert "precision = [DEFAULT, HIGHEST]" in text  # the weight stands first


def test_no_arrays_are_left_behind():
    args = operands((8,), (8, 8), 0)
    with jax.checking_leaks():
        jax.jit(product)(*args)


@pytest.mark.parametrize(
    ("batch", "is_stored"), [(32, True), (1, True), (128, False), (5, False)], ids=str
)
@pytest.mark.parametrize("is_transposed", [True, False])
def test_a_loop_reads_the_weight_as_it_is_stored_where_that_is_faster(
    batch, is_stored, is_transposed
):
    rows, weight = operands((batch,), (2048, 512), 1)
    if is_transposed:
        function = lambda weights, rows: jnp.tanh(rows @ weights[0].T)
    else:
        function = lambda weights, rows: jnp.tanh(multiply(rows, weights[0], 1))
    prepare, call, sources = hoist(trace(function, [weight], rows), 1)
    (prepared,) = prepare([weight])
    assert (prepared.shape == (2048, 512)) == is_stored
    assert sources == [{0}]
    np.testing.assert_allclose(call([prepared], rows), jnp.tanh(rows @ weight.T), atol=1e-5)


def test_equal_weights_get_their_own_copies():
    rows, first = operands((5,), (512, 512), 1)
    second = first[::-1]
    function = lambda weights, rows: multiply(rows, weights[0], 1) + multiply(rows, weights[1], 1)
    prepare, call, sources = hoist(trace(function, [first, second], rows), 2)
    assert sources == [{0}, {1}]
    value = call(prepare([first, second]), rows)
    np.testing.assert_allclose(value, rows @ first.T + rows @ second.T, atol=1e-4)


class Wide(FactoredCell):
    """An Elman cell whose hidden product takes another form, with few inputs and steps."""

    weight: jax.Array

    def __init__(self, size, *, key):
        self.weight = jr.normal(key, (size, size), jnp.float32) / size**0.5

    @property
    def num_feature_dims(self):
        return 1

    def initialize_carry(self, key, sample_input):
        return jnp.zeros((*sample_input.shape[:-1], self.weight.shape[0]), jnp.float32)

    def project_input(self, inputs):
        return jnp.pad(inputs, [(0, 0)] * (inputs.ndim - 1) + [(0, self.weight.shape[0] - 3)])

    def project_hidden(self, carry):
        return carry @ self.weight.T

    def update(self, carry, gates, *, key=None):
        carry = jnp.sin(gates)
        return carry, carry


@pytest.mark.parametrize(
    ("cell", "batch"),
    [
        (eqx_rnn.LSTMCell(3, 100, dtype=jnp.float32, key=jr.key(1)), 96),
        (eqx_rnn.LSTMCell(3, 300, dtype=jnp.float32, key=jr.key(1)), 8),  # backward only
        (Wide(512, key=jr.key(1)), 8),
    ],
    ids=["more threads", "weight first, backward", "weight first"],
)
def test_a_run(cell, batch):
    inputs = jr.normal(jr.key(2), (3, batch, 3), jnp.float32)
    carry = cell.initialize_carry(jr.key(3), inputs[0])
    parameters, static = eqx.partition(cell, eqx.is_array)

    def value_and_grad(engine):
        def loss(parameters, inputs):
            cell = eqx.combine(parameters, static)
            steps = Steps(None, None, None)
            return jnp.sum(jnp.sin(engine.scan(cell, carry, inputs, None, steps, **OPTIONS)[1][1]))

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(parameters, inputs)

    results = map(jax.tree.leaves, map(value_and_grad, (factored, plain)))
    for fast, slow in zip(*results, strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-3, atol=1e-4)
