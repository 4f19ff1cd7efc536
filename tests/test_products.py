"""Products that take another form on a CPU if it is faster."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import eqx_rnn
from eqx_rnn._base.cells import FactoredCell
from eqx_rnn._kernels.evaluate import evaluate
from eqx_rnn._kernels.hoist import hoist
from eqx_rnn._kernels.jaxprs import trace
from eqx_rnn._scan import Steps, plain
from eqx_rnn._scan.factored import engine as factored
from eqx_rnn._scan.steps import Options

OPTIONS = {"options": Options(), "substitute": None}

# Products that would run on one thread as `rows @ weight`.
MORE_THREADS = [((96,), (64, 256)), ((8, 12), (64, 256))]
# Products that would mostly copy the weight as `rows @ weight`.
WEIGHT_FIRST = [((32,), (512, 2048)), ((4, 6), (512, 512))]


def product(rows, weight):
    closed = jax.make_jaxpr(lambda rows, weight: rows @ weight)(rows, weight)
    return evaluate(closed.jaxpr, rows, weight)[0]


def gradient_of_rows(rows, weight):
    outputs, pull = jax.vjp(lambda rows: product(rows, weight), rows)
    return pull(outputs)[0]


def operands(batch, weight, dtype=jnp.float32):
    rows_key, weight_key = jr.split(jr.key(0))
    rows = jr.normal(rows_key, (*batch, weight[0]), dtype)
    return rows, jr.normal(weight_key, weight, dtype) / weight[0] ** 0.5


def forms(function, args, platform="cpu"):
    """The left operand of each product in the lowered function."""
    text = jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()
    rows, weight = (list(a.shape) for a in args)
    names = {tuple(weight): "weight", tuple(weight[::-1]): "weight"}
    names |= {(*rows[:-1], weight[1]): "rows", tuple(rows): "rows"}
    names |= {(rows[-1], *rows[:-1]): "columns"}
    sizes = re.findall(r"dot_general .* : \(tensor<([0-9x]+)xb?f\d+>", text)
    return [names[tuple(map(int, size.split("x")))] for size in sizes]


@pytest.mark.parametrize("shapes", MORE_THREADS + WEIGHT_FIRST)
def test_only_on_a_cpu(shapes):
    args = operands(*shapes)
    assert forms(product, args) == ["columns" if shapes in MORE_THREADS else "weight"]
    assert forms(product, args, "tpu") == ["rows"]
    assert forms(product, args, "cuda") == ["rows"]


@pytest.mark.parametrize(
    "args",
    [
        operands((8,), (64, 256)),  # too little work for a second thread
        operands((96,), (256, 1024)),  # enough work for several threads in any form
        operands((96,), (64, 256), jnp.bfloat16),
        operands((1,), (512, 2048)),  # the time is that of reading the weight
        operands((64,), (512, 2048)),  # more work than copying
        operands((32,), (512, 2048), jnp.bfloat16),
    ],
    ids=["small", "large", "bfloat16", "row", "many rows", "bfloat16, large"],
)
def test_only_where_it_is_faster(args):
    assert forms(product, args) == ["rows"]
    assert forms(gradient_of_rows, args) == ["rows", "rows"]


@pytest.mark.parametrize("shapes", MORE_THREADS + WEIGHT_FIRST)
def test_values_and_derivatives(shapes):
    rows, weight = operands(*shapes)
    exact = lambda rows, weight: np.asarray(rows, np.float64) @ np.asarray(weight, np.float64)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4)
    d_rows, d_weight = rows[..., ::-1], weight[::-1]
    close(product(rows, weight), exact(rows, weight))
    _, moved = jax.jvp(product, (rows, weight), (d_rows, d_weight))
    close(moved, exact(d_rows, weight) + exact(rows, d_weight))
    stacked = jnp.stack([rows, d_rows, 2 * rows])
    close(jax.vmap(product, (0, None))(stacked, weight), exact(stacked, weight))
    outputs, pull = jax.vjp(product, rows, weight)
    to_rows, to_weight = pull(outputs)
    close(to_rows, exact(outputs, weight.T))
    flat = lambda a: np.asarray(a).reshape(-1, a.shape[-1])
    close(to_weight, exact(flat(rows).T, flat(outputs)))
    _, moved = jax.jvp(gradient_of_rows, (rows, weight), (d_rows, d_weight))
    twice = exact(exact(d_rows, weight) + exact(rows, d_weight), weight.T)
    close(moved, twice + exact(outputs, d_weight.T))


@pytest.mark.parametrize("shapes", WEIGHT_FIRST)
def test_gradient_of_the_rows_has_the_weight_first(shapes):
    assert forms(gradient_of_rows, operands(*shapes)) == ["weight", "weight"]


@pytest.mark.parametrize(("size", "is_large"), [(200, False), (300, True)])
def test_a_run_goes_back_with_a_large_weight_first(size, is_large):
    cell = eqx_rnn.LSTMCell(3, size, dtype=jnp.float32, key=jr.key(1))
    inputs = jnp.zeros((3, 8, 3), jnp.float32)
    carry = cell.initialize_carry(None, inputs[0])

    def loss(inputs):
        ys = factored.scan(cell, carry, inputs, None, Steps(None, None, None), **OPTIONS)[1][1]
        return jnp.sum(ys**2)

    text = jax.jit(jax.grad(loss)).lower(inputs).as_text()
    weight_first = f"(tensor<{size}x{4 * size}xf32>, tensor<8x{4 * size}xf32>)"
    assert (weight_first in text) == is_large


def test_precision_goes_with_its_operand():
    args = operands((32,), (512, 2048))
    function = lambda rows, weight: jnp.dot(rows, weight, precision=("highest", "default"))
    closed = jax.make_jaxpr(function)(*args)
    text = jax.jit(lambda *args: evaluate(closed.jaxpr, *args)).lower(*args).as_text()
    assert "precision = [DEFAULT, HIGHEST]" in text  # the weight stands first


def test_no_arrays_are_left_behind():
    args = operands((8,), (8, 8))
    with jax.checking_leaks():
        jax.jit(product)(*args)


@pytest.mark.parametrize(("batch", "is_stored"), [(32, True), (1, False), (128, False)])
def test_a_weight_is_read_as_it_is_stored_where_that_is_faster(batch, is_stored):
    rows, weight = operands((batch,), (512, 2048))
    function = lambda weights, rows: jnp.tanh(rows @ weights[0].T)
    prepare, call, sources, has_fast_transpose = hoist(trace(function, [weight.T], rows), 1)
    (prepared,) = prepare([weight.T])
    assert (prepared.shape == (2048, 512)) == is_stored == has_fast_transpose
    assert sources == [{0}]
    np.testing.assert_allclose(call([prepared], rows), jnp.tanh(rows @ weight), atol=1e-5)


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
        (eqx_rnn.LSTMCell(3, 64, dtype=jnp.float32, key=jr.key(1)), 96),
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
