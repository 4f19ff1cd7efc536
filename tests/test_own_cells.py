"""Cells that users write."""

import gc
import weakref
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import EXACT

import eqx_rnn


class Counter(NamedTuple):
    total: jax.Array
    steps: jax.Array


class NoisySum(eqx_rnn.RNNCellBase):
    """Integer and float in the carry, two outputs, one feature axis less, and a random step."""

    scale: jax.Array

    @property
    def num_feature_dims(self):
        return 2

    def initialize_carry(self, key, sample_input):
        batch = sample_input.shape[:-2]
        return Counter(jnp.zeros(batch, sample_input.dtype), jnp.zeros(batch, jnp.int32))

    def __call__(self, carry, inputs, *, key=None):
        noise = 0.0 if key is None else jax.random.normal(key, carry.total.shape)
        total = carry.total + self.scale * inputs.sum((-2, -1)) + noise
        return Counter(total, carry.steps + 1), {"total": total, "steps": carry.steps}


CELL = NoisySum(jnp.asarray(2.0))
XS = jnp.asarray(np.random.default_rng(0).standard_normal((3, 5, 2, 2)))


def test_any_carry_and_outputs():
    carry, ys = eqx_rnn.RNN(CELL)(XS, seq_lengths=np.array([5, 0, 2]), return_carry=True)
    valid = np.arange(5) < np.array([[5], [0], [2]])
    sums = np.cumsum(2 * np.asarray(XS).sum((2, 3)), 1) * valid
    np.testing.assert_allclose(ys["total"], sums, **EXACT)
    np.testing.assert_array_equal(ys["steps"], np.arange(5) * valid)
    np.testing.assert_array_equal(carry.steps, [5, 0, 2])
    backwards = eqx_rnn.RNN(CELL, reverse=True)(XS)
    np.testing.assert_array_equal(backwards["steps"], np.tile(np.arange(5), (3, 1)))


def test_each_step_gets_its_own_key():
    rnn = eqx_rnn.RNN(CELL)
    noisy = [rnn(XS, key=jax.random.key(seed))["total"] for seed in (0, 0, 1)]
    noise = np.diff(noisy[0] - rnn(XS)["total"], axis=1)
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert not np.any(noisy[0] == noisy[2])
    assert len(np.unique(noise)) == noise.size


class Leaky(eqx_rnn.FactoredCell):
    """Gates in a `NamedTuple`. Each part lacks one of them, and `update` has a parameter."""

    weight: jax.Array
    leak: jax.Array

    class Gates(NamedTuple):
        drive: jax.Array | None
        recurrent: jax.Array | None

    @property
    def num_feature_dims(self):
        return 1

    def initialize_carry(self, key, sample_input):
        return jnp.zeros(sample_input.shape, sample_input.dtype)

    def project_input(self, inputs):
        return self.Gates(inputs, None)

    def project_hidden(self, carry):
        return self.Gates(None, carry @ self.weight)

    def update(self, carry, gates, *, key=None):
        hidden = self.leak * carry + jnp.tanh(gates.drive + gates.recurrent)
        return hidden, hidden


def test_a_factored_cell_is_its_three_methods():
    rng = np.random.default_rng(0)
    weight, leak, xs = rng.standard_normal((3, 3)), rng.random(3), rng.standard_normal((2, 5, 3))
    ys = eqx_rnn.RNN(Leaky(jnp.asarray(weight), jnp.asarray(leak)))(xs)
    h = np.zeros((2, 3))
    for t in range(5):
        h = leak * h + np.tanh(xs[:, t] + h @ weight)
        np.testing.assert_allclose(ys[:, t], h, **EXACT)


def test_call_of_a_factored_cell_is_final():
    with pytest.raises(TypeError, match=r"`__call__` of a `FactoredCell` is final.*RNNCellBase"):

        class Wrong(Leaky):
            def __call__(self, carry, inputs, *, key=None):
                return carry, inputs


def test_gates_of_two_types_are_an_error():
    class Wrong(Leaky):
        def project_hidden(self, carry):
            return (None, carry @ self.weight)

    with pytest.raises(TypeError, match=r"same structure, .* got Gates\(drive=.* and \(None, "):
        eqx_rnn.RNN(Wrong(jnp.ones((3, 3)), jnp.ones(3)))(jnp.ones((2, 5, 3)))


@pytest.mark.parametrize("method", ["num_feature_dims", "initialize_carry", "__call__"])
def test_contracts_are_abstract(method):
    members = {name: getattr(CELL, name) for name in ("initialize_carry", "__call__")}
    members["num_feature_dims"] = 1
    del members[method]
    incomplete = type("Incomplete", (eqx_rnn.RNNCellBase,), members)
    with pytest.raises(TypeError, match=method):
        incomplete()


def test_an_ensemble_of_cells():
    """`eqx.filter_vmap` over the weights."""
    keys = jax.random.split(jax.random.key(0), 4)
    make = lambda key: eqx_rnn.GRUCell(3, 2, dtype=jnp.float64, key=key)
    cells = eqx.filter_vmap(make)(keys)
    xs = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 3)))
    ys = eqx.filter_vmap(lambda cell, x: eqx_rnn.RNN(cell)(x), in_axes=(0, None))(cells, xs)
    for y, key in zip(ys, keys, strict=True):
        np.testing.assert_allclose(y, eqx_rnn.RNN(make(key))(xs), **EXACT)


class Filled(eqx_rnn.RNNCellBase):
    """A cell whose first carry has the type of a field."""

    value: float = eqx.field(static=True)
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return jnp.full(sample_input.shape[:-1], self.value)

    def __call__(self, carry, inputs, *, key=None):
        return carry, inputs


def test_the_type_of_a_carry_is_that_of_each_cell_and_each_input():
    for cell in (Filled(0.0), Filled(0), Filled(0.0)):
        for batch in (2, 3, 2):
            carry = jnp.full(batch, cell.value)
            new_carry, _ = eqx_rnn.Residual(cell)(carry, jnp.zeros((batch, 1)))
            assert new_carry.dtype == carry.dtype


def test_a_cell_is_not_kept_alive():
    cell = eqx_rnn.SimpleCell(2, 3, key=jax.random.key(0))
    x = jnp.zeros((1, 2))
    cell(cell.initialize_carry(None, x), x)
    reference = weakref.ref(cell)
    del cell
    gc.collect()
    assert reference() is None
