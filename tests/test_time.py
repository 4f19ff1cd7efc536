"""The verbs of `Time`, and the errors of a wrong `ChunkCell`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_like

import eqx_rnn
from eqx_rnn import RNN


class Cell(eqx_rnn.ChunkCell):
    """A cell of one array, whose chunk is a function."""

    function: object = eqx.field(static=True)
    size: int = eqx.field(static=True, default=3)

    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return jnp.zeros((*sample_input.shape[:-1], self.size))

    def chunk(self, carry, inputs, time):
        return self.function(carry, inputs, time)


X = random_like(jax.ShapeDtypeStruct((7, 2, 3), float), 1)


def run(function, x=X, **options):
    return RNN(Cell(function), time_major=True, **options)(x)


def test_maximum():
    """The running maximum with decay, in both methods."""
    chunk = lambda m, x, time: time.maximum(m, -jnp.abs(x), 2 * x)
    m, expected = np.zeros((2, 3)), []
    for x in np.asarray(X):
        m = np.maximum(m - np.abs(x), 2 * x)
        expected.append(m)
    for options in ({}, {"chunk_size": 3}, {"scan": "associative", "chunk_size": 4}):
        np.testing.assert_allclose(run(chunk, **options), expected, rtol=1e-12)


def test_before():
    def chunk(h, x, time):
        new, after = time.linear(h, 0.5 * jnp.ones(3), x)
        return new, jnp.concatenate([time.before(new), after], -1)

    y = run(chunk, chunk_size=3)
    np.testing.assert_allclose(y[1:, :, :3], y[:-1, :, 3:])
    assert not np.any(y[0, :, :3])


def test_constant_coefficients_have_no_leading_axes():
    decay = jnp.array([0.1, 0.5, 0.9])
    constant = run(lambda h, x, time: time.linear(h, decay, x))
    spread = run(lambda h, x, time: time.linear(h, jnp.broadcast_to(decay, x.shape), x))
    single = run(lambda h, x, time: time.linear(h, decay[None, None], x))
    np.testing.assert_allclose(constant, spread)
    np.testing.assert_allclose(constant, single)


@pytest.mark.parametrize("a", [jnp.ones((2, 3)), jnp.ones((6, 2, 3)), jnp.ones(4)])
def test_coefficients_that_do_not_fit(a):
    with pytest.raises(
        ValueError, match=r"time.linear: `a` must be \(steps, \*batch, \*features\)"
    ):
        run(lambda h, x, time: time.linear(h, a, x))


WRONG = {
    "an array": (lambda h, x, time: (x[-1], x), TypeError, "must come from a verb of `time`"),
    "the state": (lambda h, x, time: (h, x), TypeError, "must come from a verb of `time`"),
    "the last value": (
        lambda h, x, time: (time.linear(h, jnp.ones(3), x)[1][-1], x),
        TypeError,
        "must come from a verb of `time`",
    ),
    "arithmetic": (lambda h, x, time: (h, x * h), TypeError, "has no value inside"),
    "jnp": (lambda h, x, time: (h, jnp.tanh(h)), TypeError, "State"),
    "advanced": (
        lambda h, x, time: (h, x + time.linear(h, jnp.ones(3), x)[0]),
        TypeError,
        "has no value inside",
    ),
    "structure": (
        lambda h, x, time: ((time.linear(h, jnp.ones(3), x)[0],), x),
        ValueError,
        "of the structure of the old one",
    ),
    "no pair": (lambda h, x, time: x, TypeError, r"must return the pair \(new carry, outputs\)"),
    "summed steps": (
        lambda h, x, time: (time.linear(h, jnp.ones(3), x)[0], x.sum(0)),
        ValueError,
        "the outputs of a chunk",
    ),
    "new shape": (
        lambda h, x, time: time.scan(h, lambda h, x: h[..., :2], x),
        ValueError,
        "`step` must return new states like the old ones",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_chunk_is_an_error(name):
    function, kind, text = WRONG[name]
    with pytest.raises(kind, match=text):
        run(function)
    cell = Cell(function)
    with pytest.raises(kind, match=text):
        cell(cell.initialize_carry(None, X[0]), X[0])


def test_parts_in_another_order_are_an_error():
    class Two(Cell):
        def initialize_carry(self, key, sample_input):
            return 2 * (jnp.zeros(sample_input.shape),)

    def swapped(carry, x, time):
        new = [time.linear(h, jnp.ones(3), x)[0] for h in carry]
        return tuple(new[::-1]), x

    with pytest.raises(ValueError, match="each part of the carry in its own place"):
        RNN(Two(swapped), time_major=True)(X)


def test_call_is_final():
    with pytest.raises(TypeError, match="`__call__` of a `ChunkCell` is final"):

        class Wrong(eqx_rnn.ChunkCell):
            def __call__(self, carry, inputs, *, key=None): ...


def test_scan_of_any_function_is_sequential():
    chunk = lambda h, x, time: time.scan(h, lambda h, x: jnp.tanh(h + x), x)
    assert run(chunk).shape == X.shape
    with pytest.raises(ValueError, match='`scan` must be "auto" or "sequential" for this cell'):
        run(chunk, scan="associative")


def test_options_of_a_cell_without_chunks():
    cell = eqx_rnn.LSTMCell(3, 4, key=jax.random.key(0))
    for options in ({"scan": "associative"}, {"chunk_size": 4}):
        (name,) = options
        with pytest.raises(ValueError, match=f"RNN: `{name}` is for a `ChunkCell`"):
            RNN(cell, **options)
    lru = eqx_rnn.LRUCell(4, 5, key=jax.random.key(0))
    rnn = RNN(eqx_rnn.StackedCell([cell, lru]), scan="associative", chunk_size=2)
    assert rnn(jnp.swapaxes(X, 0, 1)).shape == (2, 7, 4)
    with pytest.raises(ValueError, match="RNN: `chunk_size` must be a number of steps"):
        RNN(lru, chunk_size=0)
    with pytest.raises(TypeError, match="RNN: `scan` must be one of"):
        RNN(lru, scan="parallel")


def test_wider_coefficients_widen_the_carry():
    cell = Cell(lambda h, x, time: time.linear(h, jnp.ones(3), x.astype(jnp.float64)))
    carry = jnp.zeros((2, 3), jnp.float32)
    x = X.astype(jnp.float32)
    scanned = Cell(lambda h, x, time: time.scan(h, lambda h, x: h + x.astype(jnp.float64), x))
    for each in (cell, scanned):
        final, y = eqx_rnn.RNN(each, time_major=True, chunk_size=3)(
            x, initial_carry=carry, return_carry=True
        )
        assert final.dtype == y.dtype == jnp.float64
        np.testing.assert_allclose(final, np.sum(x, 0, dtype=np.float64), rtol=1e-12)


class Fading(eqx_rnn.LinearCell):
    """A user's own linear cell, which does not say what its carry is."""

    weight: jax.Array
    num_feature_dims = 1

    def coefficients(self, inputs):
        gate = jax.nn.sigmoid(eqx_rnn.project(self.weight, inputs))
        return eqx_rnn.Blend(gate, inputs[..., :1])


@pytest.mark.parametrize("batch", [(), (2,), (2, 1)])
def test_the_carry_of_a_linear_cell_is_inferred(batch):
    cell = Fading(random_like(jax.ShapeDtypeStruct((4, 3), float), 2))
    x = random_like(jax.ShapeDtypeStruct((*batch, 9, 3), float), 3)
    carry = cell.initialize_carry(None, x[..., 0, :])
    assert carry.shape == (*batch, 4)
    assert not np.any(carry)
    ys = RNN(cell, chunk_size=4)(x)
    assert ys.shape == (*batch, 9, 4)
    for t in range(9):
        carry, y = cell(carry, x[..., t, :])
        np.testing.assert_allclose(y, ys[..., t, :], rtol=1e-12)


def test_coefficients_must_be_linear_or_blend():
    class Wrong(Fading):
        def coefficients(self, inputs):
            return inputs, inputs

    cell = Wrong(jnp.ones((4, 3)))
    with pytest.raises(TypeError, match=r"must return `Linear\(a, b\)` or `Blend"):
        cell(jnp.zeros(3), jnp.zeros(3))


def test_the_method_is_chosen_for_the_platform():
    """The same function, lowered for two platforms: a loop over steps on a CPU only."""
    rnn = RNN(Fading(jnp.ones((4, 3), jnp.float32)))
    x = jnp.zeros((2, 6, 3), jnp.float32)
    loops = {}
    for platform in ("cpu", "cuda"):
        exported = jax.export.export(jax.jit(lambda x: rnn(x)), platforms=[platform])(x)
        loops[platform] = exported.mlir_module().count("stablehlo.while")
    assert loops == {"cpu": 1, "cuda": 0}
