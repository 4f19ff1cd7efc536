"""The dtypes of a carry: a floating leaf is as wide as a step makes it; others do not change."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

import eqx_rnn

HALF, SINGLE = jnp.bfloat16, jnp.float32
X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 3)), HALF)
LENGTHS = np.array([5, 2])


class Carry(NamedTuple):
    hidden: jax.Array
    memory: jax.Array
    count: jax.Array
    seen: jax.Array
    phase: jax.Array


class Mixed(eqx_rnn.RNNCellBase):
    """The usual mixed precision, and leaves that are not floats. It starts in half precision."""

    weight: jax.Array
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        zeros = jnp.zeros((*sample_input.shape[:-1], 3), HALF)
        count, seen = zeros[..., 0].astype(jnp.int8), zeros[..., 0] > 0
        return Carry(zeros, zeros, count, seen, zeros.astype(jnp.complex64))

    def __call__(self, carry, inputs, *, key=None):
        memory = carry.memory.astype(SINGLE) * 0.5 + inputs @ self.weight
        hidden = jnp.tanh(memory + carry.hidden).astype(HALF)
        phase = carry.phase * 1j + memory
        return Carry(hidden, memory, carry.count + jnp.int8(1), ~carry.seen, phase), hidden


class MixedFactored(eqx_rnn.FactoredCell):
    """A half-precision hidden state and a float32 memory, as in an LSTM. It starts in half."""

    weight: jax.Array
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        zeros = jnp.zeros((*sample_input.shape[:-1], 3), HALF)
        return eqx_rnn.LSTMCarry(zeros, zeros)

    def project_input(self, inputs):
        return inputs @ self.weight

    def project_hidden(self, carry):
        return carry.hidden @ self.weight.astype(HALF)

    def update(self, carry, gates, *, key=None):
        memory = 0.5 * carry.cell.astype(SINGLE) + jnp.tanh(gates.astype(SINGLE))
        hidden = jnp.tanh(memory).astype(HALF)
        return eqx_rnn.LSTMCarry(hidden, memory), hidden


WEIGHT = jnp.asarray(np.random.default_rng(1).standard_normal((3, 3)), HALF)
WANTED = [
    (Mixed(WEIGHT), Carry(HALF, SINGLE, jnp.int8, jnp.bool_, jnp.complex64)),
    (MixedFactored(WEIGHT), eqx_rnn.LSTMCarry(HALF, SINGLE)),
]


def by_hand(cell, carry, xs, lengths):
    """A Python loop over the steps. The carry starts in the dtypes that a step returns."""
    outputs = []
    for t in range(xs.shape[1]):
        new, y = cell(carry, xs[:, t])
        keep = lambda n, c, t=t: jnp.where((t < lengths).reshape(2, *(n.ndim - 1) * (1,)), n, c)
        carry = jax.tree.map(keep, new, carry)
        outputs.append(keep(y, jnp.zeros_like(y)))
    return carry, jnp.stack(outputs, 1)


@pytest.mark.parametrize(("cell", "dtypes"), WANTED, ids=["plain", "factored"])
@pytest.mark.parametrize("options", [{}, {"checkpoint": 2}, {"truncate": 2}], ids=str)
def test_each_leaf_is_as_wide_as_a_step_makes_it(cell, dtypes, options):
    rnn = eqx_rnn.RNN(cell, **options)
    resets = np.array([[1, 0, 0, 1, 0], 5 * [0]], bool)
    for steps in ({}, {"seq_lengths": LENGTHS}, {"resets": resets, "seq_lengths": LENGTHS}):
        final, outputs = rnn(X, return_carry=True, **steps)
        assert jax.tree.map(lambda a: a.dtype, final) == jax.tree.map(jnp.dtype, dtypes)
        assert outputs.dtype == HALF
    start = cell.initialize_carry(None, X[:, 0])
    start = jax.tree.map(lambda a, dtype: a.astype(dtype), start, dtypes)
    want = by_hand(cell, start, X, LENGTHS)
    got = rnn(X, seq_lengths=LENGTHS, return_carry=True)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a.astype(complex), b.astype(complex), rtol=0.02, atol=0.02)
    none, _ = rnn(X[:, :0], return_carry=True)
    assert jax.tree.leaves(none)[0].dtype == HALF


@pytest.mark.parametrize(("cell", "dtypes"), WANTED, ids=["plain", "factored"])
def test_a_wider_carry_stays_wide(cell, dtypes):
    start = cell.initialize_carry(None, X[:, 0])
    start = jax.tree.map(
        lambda a: a.astype(float) if jnp.issubdtype(a.dtype, jnp.floating) else a, start
    )
    final, _ = eqx_rnn.RNN(cell)(X, initial_carry=start, return_carry=True)
    for got, old in zip(jax.tree.leaves(final), jax.tree.leaves(start), strict=True):
        assert got.dtype == old.dtype


@pytest.mark.parametrize("cell", [cell for cell, _ in WANTED], ids=["plain", "factored"])
def test_gradients_flow_through_all_leaves(cell):
    def loss(weight, run):
        with_weight = jax.tree.unflatten(jax.tree.structure(cell), [weight])
        return jnp.sum(run(with_weight).astype(float) ** 2)

    ours = lambda cell: eqx_rnn.RNN(cell)(X, seq_lengths=LENGTHS)
    start = eqx_rnn.RNN(cell)(X, seq_lengths=0 * LENGTHS, return_carry=True)[0]
    plain = lambda cell: by_hand(cell, start, X, LENGTHS)[1]
    got, want = (jax.grad(loss)(WEIGHT, run).astype(float) for run in (ours, plain))
    np.testing.assert_allclose(got, want, rtol=0.05, atol=0.05 * np.abs(want).max())


def test_a_carry_of_another_kind_is_an_error():
    class Counts(MixedFactored):
        def update(self, carry, gates, *, key=None):
            carry, outputs = super().update(carry, gates)
            return carry._replace(cell=jnp.zeros(carry.cell.shape, int)), outputs

    with pytest.raises(TypeError, match=r"Counts: a step must return a carry.*differ in kind"):
        eqx_rnn.RNN(Counts(WEIGHT))(X)


class Noisy(eqx_rnn.RNNCellBase):
    """A cell whose carry is only a random key per row."""

    weight: jax.Array
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        batch = sample_input.shape[:-1]
        keys = jax.random.split(jax.random.key(0), math.prod(batch)).reshape(batch)
        return keys, jnp.zeros(sample_input.shape), None

    def __call__(self, carry, inputs, *, key=None):
        keys, hidden, _ = carry
        split = jnp.vectorize(lambda key: jax.random.split(key), signature="()->(n)")(keys)
        draw = lambda key: jax.random.normal(key, inputs.shape[-1:])
        noise = jnp.vectorize(draw, signature="()->(n)")(split[..., 0])
        hidden = jnp.tanh(hidden + self.weight * inputs + noise)
        return (split[..., 1], hidden, None), hidden


@pytest.mark.parametrize("options", [{}, {"checkpoint": 2}, {"truncate": 5}], ids=str)
def test_random_keys_in_a_carry(options):
    cell, xs = Noisy(jnp.linspace(0.5, 1, 3)), jnp.asarray(X, float)

    def loss(cell):
        return jnp.sum(eqx_rnn.RNN(cell, **options)(xs, seq_lengths=LENGTHS) ** 2)

    def row_by_row(cell):
        total = 0.0
        for row, length in enumerate(LENGTHS):
            carry = jax.tree.map(lambda a, row=row: a[row], cell.initialize_carry(None, xs[:, 0]))
            for t in range(length):
                carry, y = cell(carry, xs[row, t])
                total += jnp.sum(y**2)
        return total

    assert_close(jax.value_and_grad(loss)(cell), jax.value_and_grad(row_by_row)(cell))
