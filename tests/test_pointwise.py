"""`Pointwise`, and stacks of modules and linear recurrences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import random_like

import eqx_rnn
from eqx_rnn import RNN, LRUCell, Pointwise, Residual, StackedCell

X = random_like(jax.ShapeDtypeStruct((2, 9, 4), float), 1)


def glu(x):
    a, b = jnp.split(jnp.concatenate([x, 2 * x]), 2)
    return a * jax.nn.sigmoid(b)


def modern_layer(**options):
    norm = eqx.nn.LayerNorm(4, dtype=float)
    cell = LRUCell(4, 6, dtype=float, key=jr.key(0))
    return Residual(StackedCell([Pointwise(norm), cell, Pointwise(glu)]))


@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
def test_a_module_sees_one_step_of_one_sequence(batch):
    seen = []

    def module(x):
        seen.append(x.shape)
        return x - x.mean()

    x = random_like(jax.ShapeDtypeStruct((*batch, 5, 4), float), 2)
    y = RNN(Pointwise(module))(x)
    np.testing.assert_allclose(y, x - x.mean(-1, keepdims=True), atol=1e-12)
    assert set(seen) == {(4,)}
    image = random_like(jax.ShapeDtypeStruct((*batch, 5, 3, 4, 2), float), 2)
    mean = RNN(Pointwise(lambda x: x.mean((0, 1)), num_feature_dims=3))(image)
    np.testing.assert_allclose(mean, image.mean((-3, -2)), atol=1e-12)


def test_a_layer_of_parts_steps_and_streams():
    layer = modern_layer()
    ys = RNN(layer, chunk_size=4)(X)
    carry = layer.initialize_carry(None, X[:, 0])
    for t in range(X.shape[1]):
        carry, y = layer(carry, X[:, t])
        np.testing.assert_allclose(y, ys[:, t], atol=1e-12)
    first, start = RNN(layer)(X[:, :5], return_carry=True), X[:, 5:]
    rest = RNN(layer)(start, initial_carry=first[0])
    np.testing.assert_allclose(jnp.concatenate([first[1], rest], 1), ys, atol=1e-12)


def test_every_part_keeps_its_fast_path():
    text = RNN(modern_layer()).explain(X[:, 0])
    assert text.count("in chunks of") == 3
    assert "plain scan" not in text


def test_padding_does_not_reach_a_norm_without_epsilon():
    """The norm of a constant row has no derivative."""
    norm = lambda: Pointwise(eqx.nn.LayerNorm(4, eps=0.0, dtype=float))
    stack = RNN(StackedCell([norm(), LRUCell(4, 6, dtype=float, key=jr.key(0)), norm()]))
    lengths = jnp.array([9, 5])
    mask = jnp.arange(9) < lengths[:, None]
    clean = jnp.where(mask[..., None], X, 0)
    loss = lambda model, x: jnp.sum(model(x, seq_lengths=lengths) ** 2)
    wanted = eqx.filter_grad(loss)(stack, X)
    for value in (0.0, float("nan")):
        padded = jnp.where(mask[..., None], clean, value)
        got = eqx.filter_grad(loss)(stack, padded)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-11)


def test_dropout_draws_per_step_and_sequence():
    cell = Pointwise(eqx.nn.Dropout(0.5))
    y = RNN(cell)(jnp.ones((3, 40, 8)), key=jr.key(0))
    kept = np.asarray(y != 0).reshape(-1, 8)
    assert 0.4 < kept.mean() < 0.6
    assert len(np.unique(kept, axis=0)) > 70  # of 120 random rows of 8 bits
    np.testing.assert_allclose(RNN(eqx.nn.inference_mode(cell))(X), X)
    _, step = cell((), jnp.ones((3, 8)), key=jr.key(1))
    assert 0 < np.mean(step == 0) < 1


def test_carry_and_errors():
    cell = Pointwise(glu)
    assert cell.initialize_carry(None, X[:, 0]) == ()
    assert cell((), X[:, 0])[0] == ()
    with pytest.raises(TypeError, match="Pointwise: `module` must be"):
        Pointwise(3)
    with pytest.raises(ValueError, match="`num_feature_dims` must be"):
        Pointwise(glu, num_feature_dims=-1)
    assert eqx_rnn.Stacked([RNN(cell), RNN(modern_layer())])(X).shape == X.shape
