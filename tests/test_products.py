"""Products of a step whose left side is transposed on a CPU, so that they run on all its cores."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import eqx_rnn
from eqx_rnn.scan import Steps, factored, plain
from eqx_rnn.scan._products import evaluate

BATCHES = (96,), (8, 12)
OPTIONS = {"reverse": False, "unroll": 1, "checkpoint": None, "all_carries": False}


def product(rows, weight):
    closed = jax.make_jaxpr(lambda rows, weight: rows @ weight)(rows, weight)
    return evaluate(closed.jaxpr, rows, weight)[0]


def operands(*batch, hidden=64):
    rows_key, weight_key = jr.split(jr.key(0))
    rows = jr.normal(rows_key, (*batch, hidden), jnp.float32)
    return rows, jr.normal(weight_key, (hidden, 4 * hidden), jnp.float32)


def is_transposed(args, platform):
    lowered = jax.jit(product).trace(*args).lower(lowering_platforms=(platform,))
    return "contracting_dims = [0] x [0]" in lowered.as_text()


@pytest.mark.parametrize("batch", BATCHES)
def test_only_on_a_cpu(batch):
    args = operands(*batch)
    assert is_transposed(args, "cpu")
    assert not is_transposed(args, "tpu")
    assert not is_transposed(args, "cuda")


@pytest.mark.parametrize(
    "args",
    [
        operands(8),  # too little work for a second thread
        operands(96, hidden=256),  # enough for several as it is
        jax.tree.map(lambda a: a.astype(jnp.bfloat16), operands(96)),
    ],
    ids=["small", "large", "bfloat16"],
)
def test_only_where_it_is_faster(args):
    assert not is_transposed(args, "cpu")


@pytest.mark.parametrize("batch", BATCHES)
def test_values_and_derivatives(batch):
    rows, weight = operands(*batch)
    exact = lambda rows, weight: np.asarray(rows, np.float64) @ np.asarray(weight, np.float64)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    d_rows, d_weight = operands(*batch)[0][..., ::-1], weight[::-1]
    close(product(rows, weight), exact(rows, weight))
    _, moved = jax.jvp(product, (rows, weight), (d_rows, d_weight))
    close(moved, exact(d_rows, weight) + exact(rows, d_weight))
    many = jnp.stack([rows, d_rows, 2 * rows])
    close(jax.vmap(product, (0, None))(many, weight), exact(many, weight))
    outputs, pull = jax.vjp(product, rows, weight)
    to_rows, to_weight = pull(outputs)
    close(to_rows, exact(outputs, weight.T))
    flat = lambda a: np.asarray(a).reshape(-1, a.shape[-1])
    close(to_weight, exact(flat(rows).T, flat(outputs)))


def test_a_run():
    cell = eqx_rnn.LSTMCell(3, 64, dtype=jnp.float32, key=jr.key(1))
    inputs = jr.normal(jr.key(2), (3, 96, 3), jnp.float32)
    carry = cell.initialize_carry(jr.key(3), inputs[0])
    parameters, static = eqx.partition(cell, eqx.is_array)

    def value_and_grad(engine):
        def loss(parameters, inputs):
            cell = eqx.combine(parameters, static)
            steps = Steps(None, None, None)
            return jnp.sum(jnp.sin(engine.scan(cell, carry, inputs, None, steps, **OPTIONS)[1][1]))

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(parameters, inputs)

    for fast, slow in zip(
        *map(jax.tree.leaves, map(value_and_grad, (factored, plain))), strict=True
    ):
        np.testing.assert_allclose(fast, slow, rtol=1e-3, atol=1e-4)
