"""`last_valid`, `pad_sequences` and `lengths_to_mask`, against NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, random_like
from jax import export

import eqx_rnn
from eqx_rnn import last_valid, lengths_to_mask, pad_sequences

LENGTHS = np.array([4, 0, 6])
HOLES = np.array([[1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 1]], bool)
PREFIX = np.arange(6) < LENGTHS[:, None]
OPTIONS = {"lengths": {"seq_lengths": LENGTHS}, "holes": {"mask": HOLES}}


def random(*shape, seed=0):
    return random_like(jax.ShapeDtypeStruct(shape, float), seed)


def by_loop(outputs, mask):
    """The row of the last true step, or zeros."""
    result = np.zeros((*mask.shape[:-1], *outputs.shape[mask.ndim :]))
    for row in np.ndindex(mask.shape[:-1]):
        steps = np.flatnonzero(mask[row])
        if len(steps):
            result[row] = outputs[row][steps[-1]]
    return result


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("features", [(), (2,), (2, 3)], ids=str)
def test_last_valid(name, features):
    options, mask = OPTIONS[name], {"lengths": PREFIX, "holes": HOLES}[name]
    outputs = random(3, 6, *features)
    expected = by_loop(np.asarray(outputs), mask)
    result = last_valid(outputs, **options)
    np.testing.assert_array_equal(result, expected)
    major = {key: value.T if key == "mask" else value for key, value in options.items()}
    steps = jnp.moveaxis(outputs, 1, 0)
    np.testing.assert_array_equal(last_valid(steps, time_major=True, **major), expected)
    jitted = jax.jit(lambda y, options: last_valid(y, **options))
    np.testing.assert_array_equal(jitted(outputs, options), expected)
    single = jax.vmap(lambda y, options: last_valid(y, **options))
    np.testing.assert_array_equal(single(outputs, options), expected)


def test_last_valid_of_any_batch_and_tree():
    outputs = {"a": random(2, 3, 6, 2), "b": (random(2, 3, 6) > 0,)}
    mask = np.random.default_rng(1).random((2, 3, 6)) < 0.3
    expected = {"a": by_loop(np.asarray(outputs["a"]), mask)}
    expected["b"] = (by_loop(np.asarray(outputs["b"][0]), mask).astype(bool),)
    assert_close(last_valid(outputs, mask=mask), expected)
    no_batch = random(6, 2)
    np.testing.assert_array_equal(last_valid(no_batch, seq_lengths=np.int32(4)), no_batch[3])
    np.testing.assert_array_equal(last_valid(no_batch, mask=HOLES[0]), no_batch[2])
    empty = last_valid(jnp.ones((3, 0, 2)), seq_lengths=np.zeros(3, int))
    np.testing.assert_array_equal(empty, np.zeros((3, 2)))
    kept = last_valid(jnp.ones((3, 6), jnp.bfloat16), seq_lengths=LENGTHS)
    assert kept.dtype == jnp.bfloat16
    numbers = np.arange(18).reshape(3, 6)
    np.testing.assert_array_equal(last_valid(numbers, seq_lengths=LENGTHS), [3, 0, 17])


@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_of_last_valid_pass_by_skipped_steps(name):
    mask = {"lengths": PREFIX, "holes": HOLES}[name]
    outputs = np.where(mask[..., None], random(3, 6, 2), np.nan)
    loss = lambda y: jnp.sum(jnp.sin(last_valid(y, **OPTIONS[name])))
    gradient = jax.jit(jax.grad(loss))(outputs)
    expected = np.zeros((3, 6, 2))
    for b in (0, 2):
        t = np.flatnonzero(mask[b])[-1]
        expected[b, t] = np.cos(outputs[b, t])
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    _, tangent = jax.jvp(loss, (outputs,), (np.where(outputs == outputs, 1.0, np.nan),))
    np.testing.assert_allclose(tangent, expected.sum(), rtol=1e-6)


def test_last_valid_is_what_a_short_sequence_ends_with():
    """Per direction: the last step forward, the first step backward, as in the final carries."""
    make = lambda seed: random_like(
        eqx.filter_eval_shape(lambda: eqx_rnn.GRUCell(2, 3, key=jax.random.key(0))), seed
    )
    both = eqx_rnn.Bidirectional(eqx_rnn.RNN(make(0)), eqx_rnn.RNN(make(1)), None)
    xs = random(3, 6, 2)
    (ahead, back), (forward, backward) = both(xs, seq_lengths=LENGTHS, return_carry=True)
    valid = LENGTHS[:, None] > 0
    np.testing.assert_array_equal(last_valid(forward, seq_lengths=LENGTHS), valid * ahead)
    np.testing.assert_array_equal(backward[:, 0], valid * back)


def test_exported_with_symbolic_sizes():
    batch, time = export.symbolic_shape("b, t")

    def run(outputs, lengths):
        mask = lengths_to_mask(lengths, outputs.shape[1], check_lengths=False)
        loss = lambda y: jnp.sum(last_valid(y, seq_lengths=lengths, check_lengths=False) ** 2)
        return last_valid(outputs, mask=mask), jax.grad(loss)(outputs)

    struct = jax.ShapeDtypeStruct((batch, time, 2), float)
    lengths = jax.ShapeDtypeStruct((batch,), jnp.int32)
    exported = export.export(jax.jit(run))(struct, lengths)
    args = random(3, 6, 2), np.array([9, -1, 3], np.int32)  # clipped
    assert_close(exported.call(*args), run(*args))
    checked = jax.jit(lambda y, n: last_valid(y, seq_lengths=n))
    message = "last_valid: `seq_lengths` cannot be checked .* Pass `check_lengths=False`"
    with pytest.raises(ValueError, match=message):
        export.export(checked)(*args)


def test_lengths_to_mask():
    np.testing.assert_array_equal(lengths_to_mask(LENGTHS, 6), PREFIX)
    np.testing.assert_array_equal(lengths_to_mask(LENGTHS, 6, time_major=True), PREFIX.T)
    square = LENGTHS.reshape(1, 3, 1)
    np.testing.assert_array_equal(lengths_to_mask(square, 6)[0, :, 0], PREFIX)
    major = lengths_to_mask(square, 6, time_major=True)
    np.testing.assert_array_equal(major[:, 0, :, 0], PREFIX.T)
    np.testing.assert_array_equal(lengths_to_mask(np.int8(2), np.int64(3)), [True, True, False])
    assert lengths_to_mask(np.zeros(3, int), 0).shape == (3, 0)
    jitted = jax.jit(lengths_to_mask, static_argnums=1)
    np.testing.assert_array_equal(jitted(LENGTHS, 6), PREFIX)
    outside = lengths_to_mask(np.array([7, -3]), 6, check_lengths=False)
    np.testing.assert_array_equal(outside, [[True] * 6, [False] * 6])


SEQUENCES = [np.asarray(random(n, 2, seed=n)) for n in (3, 0, 5)]


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray])
def test_pad_sequences(convert):
    arrays = [convert(a) for a in SEQUENCES]
    padded, lengths = pad_sequences(arrays)
    assert isinstance(padded, jax.Array)
    assert padded.shape == (3, 5, 2)
    assert lengths.dtype == jnp.int32
    np.testing.assert_array_equal(lengths, [3, 0, 5])
    for row, array in zip(padded, arrays, strict=True):
        np.testing.assert_array_equal(row[: len(array)], array)
        np.testing.assert_array_equal(row[len(array) :], 0)
    major, _ = pad_sequences(tuple(arrays), time_major=True, length=7, padding_value=-1)
    assert major.shape == (7, 3, 2)
    for k, array in enumerate(arrays):
        np.testing.assert_array_equal(major[: len(array), k], array)
        np.testing.assert_array_equal(major[len(array) :, k], -1)


def test_padded_sequences_are_differentiated():
    loss = lambda arrays: jnp.sum(pad_sequences(arrays, time_major=True)[0] ** 2)
    gradients = jax.jit(jax.grad(loss))(SEQUENCES)
    assert_close(gradients, [2 * a for a in SEQUENCES])


def test_dtypes_of_padded_sequences():
    for dtype in (np.int8, bool, jnp.bfloat16, np.float32, np.complex64):
        padded, _ = pad_sequences([np.ones(2, dtype), np.ones((0,), dtype)])
        assert padded.dtype == dtype
        np.testing.assert_array_equal(padded.astype(np.complex64), [[1, 1], [0, 0]])
    mixed, _ = pad_sequences([np.ones(2, np.float32), jnp.ones(1, jnp.int8)])
    assert mixed.dtype == np.float32
    padded, _ = pad_sequences([np.ones(1, np.float16)], length=2, padding_value=np.nan)
    assert np.isnan(padded[0, 1])


def test_padded_sequences_run_as_each_alone():
    rnn = eqx_rnn.RNN(eqx_rnn.LSTMCell(2, 3, dtype=float, key=jax.random.key(0)))
    inputs, lengths = pad_sequences(SEQUENCES, padding_value=np.inf)
    carry, outputs = rnn(inputs, seq_lengths=lengths, return_carry=True)
    for b in (0, 2):
        final, alone = rnn(SEQUENCES[b], return_carry=True)
        n = len(SEQUENCES[b])
        assert_close((jax.tree.map(lambda c, b=b: c[b], carry), outputs[b, :n]), (final, alone))


ONES = jnp.ones((3, 6, 2))
ERRORS = {
    "neither": (lambda: last_valid(ONES), "exactly one of .* got none"),
    "both": (
        lambda: last_valid(ONES, seq_lengths=LENGTHS, mask=HOLES),
        "exactly one of .* got both",
    ),
    "no time axis": (
        lambda: last_valid(jnp.ones(3), seq_lengths=LENGTHS),
        "last_valid: `outputs` must have .* `seq_lengths` and a time axis .* float64.3. and int64",
    ),
    "two time axes": (
        lambda: last_valid({"a": ONES, "b": ONES[:, 1:]}, seq_lengths=LENGTHS),
        "`outputs` must have the batch axes",
    ),
    "no outputs": (lambda: last_valid((), mask=HOLES), "`outputs` must have the batch axes"),
    "a mask of no axes": (lambda: last_valid(ONES, mask=np.bool_(True)), "batch axes of `mask`"),
    "lengths of another batch": (
        lambda: last_valid(ONES, seq_lengths=LENGTHS[:2]),
        r"last_valid: `seq_lengths` must be an integer array of shape \(3,\)",
    ),
    "a mask of integers": (
        lambda: last_valid(ONES, mask=HOLES.astype(int)),
        "last_valid: `mask` must be a bool array",
    ),
    "a list": (lambda: last_valid(ONES, seq_lengths=[1, 2, 3]), "`seq_lengths` must be a JAX or"),
    "no array": (lambda: last_valid([[1.0]], mask=HOLES), "`outputs` must be a JAX or NumPy"),
    "another name": (lambda: last_valid(ONES, lengths=LENGTHS), "Did you mean `seq_lengths`"),
    "lengths by position": (lambda: last_valid(ONES, LENGTHS), "`seq_lengths=...`"),
    "no size": (lambda: lengths_to_mask(LENGTHS), "lengths_to_mask: `num_steps` is missing"),
    "a size of -1": (lambda: lengths_to_mask(LENGTHS, -1), "`num_steps` must be the size"),
    "a size of 1.5": (lambda: lengths_to_mask(LENGTHS, 1.5), "`num_steps` must be the size"),
    "a traced size": (
        lambda: jax.jit(lengths_to_mask)(LENGTHS, 6),
        r"`num_steps` must be the size .* `inputs.shape\[1\]`",
    ),
    "real lengths": (lambda: lengths_to_mask(np.ones(2), 3), "`seq_lengths` must be an integer"),
    "Keras's maxlen": (lambda: pad_sequences([ONES[0]], maxlen=9), "Did you mean `length`"),
    "torch's batch_first": (
        lambda: pad_sequences([ONES[0]], batch_first=True),
        "Did you mean `time_major`. It has the opposite meaning",
    ),
    "one array": (
        lambda: pad_sequences(ONES),
        "pad_sequences: `sequences` must be a list or tuple of arrays, got float64",
    ),
    "no sequence": (lambda: pad_sequences([]), "one sequence or more, got none"),
    "a number": (lambda: pad_sequences([ONES, 1.0]), r"`sequences\[1\]` must be a JAX or NumPy"),
    "lists of numbers": (lambda: pad_sequences([[1, 2]]), r"`sequences\[0\]` must be a JAX or"),
    "no axes": (lambda: pad_sequences([np.ones(())]), r"`sequences\[0\]` must be a JAX or"),
    "other features": (
        lambda: pad_sequences([ONES[0], ONES[0, :, :1]]),
        r"`sequences\[1\]` must have the features of `sequences\[0\]`, \(2,\), got float64\[6,1\]",
    ),
    "too short": (
        lambda: pad_sequences([ONES[0]], length=5),
        "`length` must be at least 6, .* got 5",
    ),
    "a length of 6.5": (lambda: pad_sequences([ONES[0]], length=6.5), "`length` must be an int"),
    "padding that does not fit": (
        lambda: pad_sequences([np.ones(2, np.uint8)], padding_value=-1),
        "`padding_value` must be a number of the dtype uint8, got -1",
    ),
    "padding of bools": (
        lambda: pad_sequences([np.ones(2, int)], padding_value=float("nan")),
        "`padding_value` must be a number of the dtype int64, got nan",
    ),
    "a word for padding": (
        lambda: pad_sequences([ONES[0]], padding_value="zero"),
        "pad_sequences: `padding_value` must be a number",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, message = ERRORS[name]
    with pytest.raises((TypeError, ValueError), match=f"(?s){message}"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda n: last_valid(ONES, seq_lengths=n),
        lambda n: lengths_to_mask(n, 6),
    ],
)
def test_lengths_outside_the_time_axis(call):
    for lengths in (np.array([1, 7, 2]), np.array([1, -1, 2])):
        with pytest.raises(eqx.EquinoxRuntimeError, match="`seq_lengths` must be between 0 and 6"):
            eqx.filter_jit(call)(lengths)
