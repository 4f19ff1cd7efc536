"""The verbs of `Time`, and the errors of a wrong `ChunkCell`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, random_like

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
        "`step` must return new states of the structure and shapes",
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


@pytest.mark.parametrize("chunk_size", [1, 3, None])
def test_scan_without_inputs(chunk_size):
    """A part of the carry that does not change, and one that counts."""

    class Two(Cell):
        def initialize_carry(self, key, sample_input):
            return jnp.full(sample_input.shape, 2.0), jnp.zeros(sample_input.shape)

    def chunk(carry, x, time):
        same, held = time.scan(carry[0], lambda h, _: h, None)
        counted, n = time.scan(carry[1], lambda n, _: n + 1.0, None)
        return (same, counted), held + n

    y = RNN(Two(chunk), time_major=True, chunk_size=chunk_size)(X)
    np.testing.assert_allclose(y, jnp.broadcast_to(jnp.arange(3.0, 10.0)[:, None, None], X.shape))


def test_options_of_a_cell_without_chunks():
    cell = eqx_rnn.LSTMCell(3, 4, key=jax.random.key(0))
    for options in ({"scan": "associative"}, {"chunk_size": 4}):
        (name,) = options
        with pytest.raises(ValueError, match=f"RNN: `{name}` is an option for a `ChunkCell`"):
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


class Cumulative(eqx_rnn.ChunkCell):
    """The square root of the state before the step, which is positive at every step."""

    weight: jax.Array
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return jnp.full(sample_input.shape, 0.1)

    def chunk(self, carry, inputs, time):
        u = self.weight * inputs
        new, h = self.advance(carry, u, time)
        return new, jnp.sqrt(h - u) + jnp.sqrt(time.before(new) - 0.05)

    def advance(self, carry, u, time):
        return time.linear(carry, 1.0, u)


class CumulativeScan(Cumulative):
    def advance(self, carry, u, time):
        return time.scan(carry, lambda h, u: h + u, u)


@pytest.mark.parametrize("cell_type", [Cumulative, CumulativeScan])
@pytest.mark.parametrize("reverse", [False, True])
def test_state_and_inputs_of_a_skipped_step_fit_together(cell_type, reverse):
    x = 0.5 + jnp.abs(X)
    mask = jnp.ones((7, 2), bool).at[jnp.array([0, 3, 6]), :].set(False).at[:, 1].set(False)
    loss = lambda cell, x: jnp.sum(RNN(cell, time_major=True, reverse=reverse)(x, mask=mask))
    cell = cell_type(jnp.ones(3))
    wanted = eqx.filter_grad(loss)(cell, jnp.where(mask[..., None], x, 1.0)).weight
    got = eqx.filter_grad(loss)(cell, jnp.where(mask[..., None], x, jnp.nan)).weight
    assert np.all(np.isfinite(got))
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_python_numbers_do_not_widen():
    class Leaky(eqx_rnn.LinearCell):
        num_feature_dims = 1

        def coefficients(self, inputs):
            return eqx_rnn.Linear(0.9, inputs)

    for dtype in (jnp.bfloat16, jnp.float32):
        carry, y = RNN(Leaky(), time_major=True)(X.astype(dtype), return_carry=True)
        assert carry.dtype == y.dtype == dtype


def test_a_complex_state_keeps_its_dtype():
    """So the length of the chunks does not change the numbers."""

    class Rotation(eqx_rnn.ChunkCell):
        num_feature_dims = 1

        def initialize_carry(self, key, sample_input):
            return jnp.zeros(sample_input.shape, jnp.complex64)

        def chunk(self, carry, inputs, time):
            return time.linear(carry, jnp.exp(0.3j), inputs)

    one, all_steps = (RNN(Rotation(), time_major=True, chunk_size=n)(X) for n in (1, 7))
    np.testing.assert_allclose(one, all_steps, rtol=1e-6)
    assert one.dtype == jnp.complex64


MISTAKES = {
    "advanced twice": (
        lambda h, x, time: time.linear(time.linear(h, 1.0, x)[0], 1.0, x),
        "has advanced already",
    ),
    "array as a state": (lambda h, x, time: time.linear(x, 1.0, x), "must be a part of the carry"),
    "swapped": (lambda h, x, time: time.window(x, h), "must be a part of the carry"),
    "before a state": (lambda h, x, time: time.before(h), "must be a part of the new carry"),
    "tuple": (lambda h, x, time: time.linear((h,), 1.0, x), "must be a part of the carry"),
    "fewer parts": (lambda h, x, time: time.scan((h,), lambda h, x: (), x), "must return new"),
    "wrong length": (lambda h, x, time: time.scan(h, lambda h, x: h, x[1:]), "steps in front"),
    "no array": (lambda h, x, time: time.linear(h, None, x), "`a` must be an array, got None"),
    "count": (lambda h, x, time: time.count(h), "must be integers without feature axes"),
    "equal": (lambda h, x, time: (h, x * (h == 0)), "has no value inside"),
    "method": (lambda h, x, time: (h, h.sum(-1)), "has no value inside"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_of_users(name):
    function, text = MISTAKES[name]
    with pytest.raises((TypeError, ValueError, AttributeError), match=text):
        run(function)


def test_coefficients_that_do_not_fit_each_other():
    class Wrong(Fading):
        def coefficients(self, inputs):
            return eqx_rnn.Linear(jnp.ones(2), inputs)

    with pytest.raises(ValueError, match="Wrong: `coefficients` must return arrays that broadcast"):
        Wrong(jnp.ones((4, 3))).initialize_carry(None, X[0])


def test_no_row_has_a_valid_step():
    """The inputs of skipped steps then are distinct numbers, and a norm has a derivative."""

    def norm(w, v):
        return w * v / jnp.sqrt(jnp.sum((v - jnp.mean(v)) ** 2))

    def loss(w):
        cell = eqx_rnn.Pointwise(eqx.Partial(norm, w))
        return jnp.sum(RNN(cell, time_major=True)(X, seq_lengths=jnp.zeros(2, int)))

    assert not np.any(jax.grad(loss)(jnp.ones(3)))


def test_second_derivatives_of_a_bounded_square_root():
    from eqx_rnn._cells.griffin import bounded_sqrt

    square = lambda x: bounded_sqrt(x) ** 2
    second = jax.vmap(jax.grad(jax.grad(square)))(jnp.array([0.0, 1e-12, 0.5]))
    assert np.all(np.isfinite(second))
    assert np.all(np.abs(second) <= 2.1e6)
    assert RNN(eqx_rnn.RGLRUCell(4, key=jax.random.key(0)))(jnp.zeros((0, 5, 4))).shape == (0, 5, 4)


class Rising(Cumulative):
    """A step that has a derivative only where the input is above the state, the last input."""

    def initialize_carry(self, key, sample_input):
        return jnp.zeros(sample_input.shape)

    def chunk(self, carry, inputs, time):
        step = lambda h, x: x + 0 * jnp.sum(jnp.sqrt(self.weight * (x - h)), -1, keepdims=True)
        return time.scan(carry, step, inputs)


def test_a_skipped_step_of_any_function_starts_from_a_valid_step():
    """Its inputs are those of the first valid step, which are below the held state later on."""
    x = jnp.broadcast_to(jnp.arange(1.0, 8.0)[:, None, None], (7, 2, 3))
    mask = jnp.ones((7, 2), bool).at[jnp.array([0, 4, 5])].set(False)
    loss = lambda cell: jnp.sum(RNN(cell, time_major=True)(x, mask=mask))
    assert np.all(np.isfinite(eqx.filter_grad(loss)(Rising(jnp.ones(3))).weight))


class Expanded(eqx_rnn.ChunkCell):
    """Several states per feature, by `expand` or by `linear`."""

    weight: jax.Array
    by: str = eqx.field(static=True, default="expand")

    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return jnp.zeros((*sample_input.shape, 2), sample_input.dtype)

    def chunk(self, carry, inputs, time):
        if self.by == "expand":
            return time.expand(carry, Expanded.coefficients, Expanded.readout, self, inputs)
        new, h = time.linear(carry, *self.coefficients(inputs))
        return new, self.readout(h, inputs)

    def coefficients(self, x):
        return jnp.tanh(x[..., None] * self.weight), x[..., None] * jnp.arange(1.0, 3)

    def readout(self, h, x):
        return jnp.sum(h, -1) * x


def test_expand_equals_linear():
    """Values, gradients and all carries, with and without masks, NaN at skipped steps."""
    mask = jnp.ones((7, 2), bool).at[jnp.array([0, 3, 6]), 0].set(False)
    weight = random_like(jax.ShapeDtypeStruct((3, 2), float), 4)
    for masks in (
        {},
        {"mask": mask},
        {"mask": mask, "resets": jnp.zeros_like(mask).at[4].set(True)},
    ):
        x = jnp.where(mask[..., None], X, jnp.nan) if masks else X

        def run(cell, masks=masks, x=x, carries=True):
            rnn = RNN(cell, time_major=True, reverse=bool(masks), chunk_size=3)
            return rnn(x, return_carry=carries, **masks)

        expanded, linear = Expanded(weight), Expanded(weight, by="linear")
        loss = lambda cell: jnp.sum(run(cell)[1] ** 2) + jnp.sum(run(cell)[0])
        assert_close(run(expanded), run(linear))
        assert_close(run(expanded, carries="all"), run(linear, carries="all"))
        assert_close(eqx.filter_grad(loss)(expanded).weight, eqx.filter_grad(loss)(linear).weight)
