"""`project`: values, dtypes, errors, and what a compiled step of one row contains."""

import functools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import eqx_rnn
from eqx_rnn import project

SIZES = [(5, 3), (300, 200)]  # the second weight is large enough to have several forms
BATCHES = [(), (1,), (2,), (7,), (2, 3), (3, 0, 2)]


def operands(size, batch, dtypes=(float, float)):
    weight_key, x_key = jr.split(jr.key(0))
    weight = jr.normal(weight_key, size) / size[1] ** 0.5
    return weight.astype(dtypes[0]), jr.normal(x_key, (*batch, size[1])).astype(dtypes[1])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_values(size, batch):
    weight, x = operands(size, batch, (jnp.float32, jnp.float32))
    exact = np.asarray(x, np.float64) @ np.asarray(weight, np.float64).T
    for function in (project, jax.jit(project)):
        y = function(weight, x)
        assert y.dtype == jnp.float32
        np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "dtypes",
    [
        (jnp.float32, jnp.bfloat16),
        (jnp.bfloat16, jnp.float32),
        (jnp.float64, jnp.float32),
        (jnp.float16, jnp.bfloat16),
        (jnp.complex64, jnp.float32),
        (jnp.int32, jnp.float32),
        (jnp.int32, jnp.int32),
    ],
    ids=lambda dtypes: f"{dtypes[0].__name__}-{dtypes[1].__name__}",
)
def test_dtypes(size, dtypes):
    weight, x = operands(size, (2,))
    weight, x = (10 * weight).astype(dtypes[0]), (10 * x).astype(dtypes[1])
    y, expected = project(weight, x), x @ weight.T
    assert y.dtype == expected.dtype
    wide = jnp.complex128 if jnp.iscomplexobj(y) else jnp.float64
    tolerance = 0.1 if jnp.finfo(jnp.result_type(y, jnp.float16)).bits < 32 else 1e-4
    np.testing.assert_allclose(
        y.astype(wide), expected.astype(wide), rtol=tolerance, atol=tolerance
    )


def test_numpy_arrays():
    weight, x = map(np.asarray, operands((5, 3), (2,)))
    np.testing.assert_allclose(project(weight, x), x @ weight.T)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("batch", [(), (2, 4)], ids=str)
def test_derivatives(size, batch):
    """Gradients, forward mode and second derivatives are those of `x @ weight.T`."""
    weight, x = operands(size, batch, (jnp.float32, jnp.float32))
    d_weight, d_x = weight[::-1], x[..., ::-1]

    def derivatives(product):
        loss = lambda weight, x: jnp.sum(jnp.sin(product(weight, x)))
        gradients = jax.grad(loss, (0, 1))
        return jax.jvp(product, (weight, x), (d_weight, d_x)), jax.jvp(
            gradients, (weight, x), (d_weight, d_x)
        )

    results = jax.jit(derivatives, static_argnums=0)
    ours, theirs = results(project), results(lambda weight, x: x @ weight.T)
    for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("axes", [(None, 0), (0, None), (0, 0), (None, 1)], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_vmap(size, axes):
    weight, x = operands(size, (4,), (jnp.float32, jnp.float32))
    weight = jnp.stack([weight, 2 * weight, -weight, weight[::-1]]) if axes[0] == 0 else weight
    x = x.T if axes[1] == 1 else x if axes[1] == 0 else x[0]
    mapped = jax.vmap(project, axes)(weight, x)
    expected = jax.vmap(lambda weight, x: x @ weight.T, axes)(weight, x)
    np.testing.assert_allclose(mapped, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("weight", "x", "error", "match"),
    [
        (jnp.ones((5, 3)), jnp.ones((2, 4)), ValueError, "must have size 3.*float.*\\[2,4\\]"),
        (jnp.ones((5, 3)), jnp.ones((2, 5)), ValueError, "pass `weight.T`"),
        (jnp.ones((5, 3)), jnp.ones(()), ValueError, "must have size 3"),
        (jnp.ones(3), jnp.ones((5, 3)), ValueError, "two axes, \\(out, in\\)"),
        (jnp.ones((2, 5, 3)), jnp.ones(3), ValueError, "two axes"),
        ([[1.0]], jnp.ones(1), TypeError, "`weight` must be a JAX or NumPy array"),
        (jnp.ones((5, 3)), None, TypeError, "`x` must be a JAX or NumPy array, got None"),
    ],
)
def test_errors(weight, x, error, match):
    with pytest.raises(error, match=f"^project: .*{match}"):
        project(weight, x)


def test_without_jit():
    weight, x = operands((300, 200), (2,), (jnp.float32, jnp.float32))
    cell = eqx_rnn.SimpleCell(200, 150, dtype=jnp.float32, key=jr.key(1))
    step = lambda: cell(jnp.zeros((2, 150), jnp.float32), x)[1]
    with jax.disable_jit():
        results = project(weight, x), step()
    for result, expected in zip(results, (x @ weight.T, step()), strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_default_precision_is_that_of_the_call(size):
    weight, x = operands(size, (2,), (jnp.float32, jnp.float32))

    def product(weight, x):
        with jax.default_matmul_precision("highest"):
            return project(weight, x)

    for function in (product, jax.grad(lambda weight, x: jnp.sum(product(weight, x)))):
        text = jax.jit(function).lower(weight, x).as_text()
        assert "dot_general" in text
        assert text.count("[HIGHEST, HIGHEST]") == text.count("dot_general ")


def test_export_with_a_symbolic_batch():
    weight, _ = operands((300, 200), (), (jnp.float32, jnp.float32))
    (size,) = jax.export.symbolic_shape("batch")
    struct = jax.ShapeDtypeStruct((size, 200), jnp.float32)
    exported = jax.export.export(jax.jit(functools.partial(project, weight)))(struct)
    for batch in (1, 5):
        x = jr.normal(jr.key(2), (batch, 200), jnp.float32)
        np.testing.assert_allclose(exported.call(x), x @ weight.T, atol=1e-4)


HIDDEN = 160
CELLS = {
    "lstm": eqx_rnn.LSTMCell,
    "gru": eqx_rnn.GRUCell,
    "simple": eqx_rnn.SimpleCell,
    "peephole": eqx_rnn.PeepholeLSTMCell,
    "lem": eqx_rnn.LEMCell,
}
# The tests compile with few optimisations, which would hide the copies.
FLAGS = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}


def copies(function, *args):
    """The instructions of a compiled function that write an array of the size of a weight."""
    text = jax.jit(function).lower(*args).compile(compiler_options=FLAGS).as_text()
    assert "dot(" in text  # the form of text that this function reads
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*(?:ROOT )?%\S+ = f32\[([\d,]+)\]\S* (\w[\w-]*)\(", line)
        if match is None or match[2] in ("parameter", "get-tuple-element", "bitcast"):
            continue
        if np.prod([int(size) for size in match[1].split(",")]) >= HIDDEN**2:
            found.append(line.strip())
    return found


@pytest.mark.parametrize(
    ("name", "batch", "mapped"),
    [
        ("lstm", (), False),
        ("lstm", (1,), False),
        ("lstm", (), True),
        ("lstm", (1,), True),
        ("gru", (1,), False),
        ("gru", (), True),
        ("simple", (), False),
        ("peephole", (1,), False),
        ("lem", (), True),
    ],
    ids=str,
)
def test_a_step_of_one_row_copies_no_weight(name, batch, mapped):
    """Neither alone nor in a loop, and neither with a batch axis nor within `jax.vmap`."""
    cell = CELLS[name](HIDDEN, HIDDEN, dtype=jnp.float32, key=jr.key(0))
    x = jnp.ones((*batch, HIDDEN), jnp.float32)
    arguments = cell.initialize_carry(None, x), x
    if mapped:
        arguments = jax.tree.map(lambda a: a[None], arguments)
    carry, x = arguments
    weights, static = eqx.partition(cell, eqx.is_array)

    def step(weights, carry, x):
        cell = eqx.combine(weights, static)
        one = lambda carry, x: cell(carry, x)
        return (jax.vmap(one) if mapped else one)(carry, x)

    def loop(weights, carry, xs):
        return jax.lax.scan(lambda carry, x: step(weights, carry, x), carry, xs)

    assert not copies(step, weights, carry, x)
    assert not copies(loop, weights, carry, jnp.stack(5 * [x]))


def test_the_copies_are_seen():
    weight, x = jnp.ones((4 * HIDDEN, HIDDEN), jnp.float32), jnp.ones((1, HIDDEN), jnp.float32)
    assert copies(lambda weight, x: x @ weight.T + jnp.sin(x) @ weight.T, weight, x)
