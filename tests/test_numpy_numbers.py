"""NumPy numbers and flags are accepted in place of Python's, and converted to Python."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from cases import CELLS

import eqx_rnn
from eqx_rnn import RNN, GRUCell, LSTMCell, Stacked

KEY = jax.random.key(0)
SCALARS = {bool: np.bool_, int: np.int64, float: np.float32}


def rounded(value):
    """The value rounded to float32, as a Python number."""
    if isinstance(value, tuple):
        return tuple(map(rounded, value))
    return float(np.float32(value)) if isinstance(value, float) else value


def as_scalars(value):
    if isinstance(value, tuple):
        return tuple(map(as_scalars, value))
    return SCALARS[type(value)](value) if type(value) in SCALARS else value


def as_arrays(value):
    as_array = lambda part: np.asarray(part) if isinstance(part, np.generic) else part
    return jax.tree.map(as_array, as_scalars(value))


def assert_same(a, b):
    """Asserts equal structures, including static fields and their types, and equal leaves."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert hash(jax.tree.structure(a)) == hash(jax.tree.structure(b))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    kinds = lambda cell: [type(value) for value in jax.tree.leaves(vars(cell))]
    assert kinds(a) == kinds(b)


@pytest.mark.parametrize("convert", [as_scalars, as_arrays])
@pytest.mark.parametrize("case", CELLS, ids=lambda case: case.name)
def test_cells(case, convert):
    cell_type, args, options = case.call
    # Every number in the signature, not only the numbers of the case.
    parameters = inspect.signature(cell_type).parameters.values()
    numbers = {p.name: p.default for p in parameters if type(p.default) in SCALARS}
    options = {name: rounded(value) for name, value in (numbers | options).items()}
    theirs = {name: convert(value) for name, value in options.items() if not callable(value)}
    wanted = cell_type(*args, **options, key=KEY)
    assert_same(cell_type(*map(convert, args), **(options | theirs), key=KEY), wanted)


def gru(*, size=4, **options):
    return GRUCell(3, size, key=KEY, **options)


@pytest.mark.parametrize("convert", [as_scalars, as_arrays])
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda **options: RNN(gru(), **options), {"time_major": True, "reverse": True}),
        (lambda **options: RNN(gru(), **options), {"keep_order": False, "unroll": 2}),
        (lambda **options: RNN(gru(), **options), {"checkpoint": 3, "truncate": 2}),
        (lambda **options: RNN(gru(), **options), {"checkpoint": True}),
        (lambda **options: eqx_rnn.Zoneout(gru(), **options), {"rate": 0.25, "inference": True}),
        (lambda **options: eqx_rnn.DropConnect(gru(), **options), {"rate": 0.25}),
        (
            lambda **options: eqx_rnn.RecurrentDropout(gru(), **options),
            {"input_rate": 0.25, "hidden_rate": 0.5, "inference": False},
        ),
        (
            lambda **options: Stacked([RNN(gru()), RNN(GRUCell(4, 4, key=KEY))], **options),
            {"dropout": 0.25, "residual": True},
        ),
        (
            lambda **options: Stacked.create(LSTMCell, key=KEY, **options),
            {"input_size": 3, "hidden_size": 4, "num_layers": 2, "bidirectional": True}
            | {"dropout": 0.5, "residual": False, "layer_norm": True, "time_major": True}
            | {"proj_size": 2, "use_bias": False},
        ),
        (
            lambda **options: eqx_rnn.interop.from_torch(
                eqx_rnn.interop.to_torch(RNN(gru())), **options
            ),
            {"time_major": True},
        ),
        (
            lambda **options: eqx_rnn.interop.from_onnx(
                np.ones((1, 12, 3)), np.ones((1, 12, 4)), None, "GRU", **options
            ),
            {"linear_before_reset": 1, "input_forget": 0, "time_major": True},
        ),
    ],
)
def test_layers_and_wrappers(make, options, convert):
    assert_same(make(**{name: convert(v) for name, v in options.items()}), make(**options))


def test_calls():
    x = jnp.ones((2, 3, 3))
    assert len(RNN(gru())(x, return_carry=np.True_)) == 2
    assert RNN(gru())(x, return_carry=np.False_).shape == (2, 3, 4)
    flip = eqx_rnn.flip_sequences
    np.testing.assert_array_equal(flip(x, num_batch_dims=np.int32(1)), flip(x, num_batch_dims=1))
    np.testing.assert_array_equal(flip(x, time_major=np.True_), flip(x, time_major=True))
    shape = eqx_rnn.chrono(np.int64(9))(KEY, (4,), jnp.float32).shape
    assert shape == (4,)


def test_single_numbers_of_jax():
    cell = LSTMCell(jnp.asarray(3), 4, forget_bias=jnp.float32(0.5), key=KEY)
    assert_same(cell, LSTMCell(3, 4, forget_bias=0.5, key=KEY))


def test_a_length_stays_an_array():
    """The length of one sequence without batch axes may be one NumPy number."""
    ys = RNN(gru())(jnp.ones((3, 3)), seq_lengths=np.int32(2))
    np.testing.assert_array_equal(ys[2], 0)
    assert np.all(np.asarray(ys[1]) != 0)


def test_other_kinds():
    """bfloat16, and an array in place of a sequence of numbers."""
    cell = eqx_rnn.LEMCell(3, 4, dt=ml_dtypes.bfloat16(0.5), key=KEY)
    assert type(cell.dt) is float
    assert cell.dt == 0.5
    conv = eqx_rnn.ConvGRUCell(2, 3, np.array([3, 5]), key=KEY)
    assert conv.kernel_size == (3, 5)
    assert set(map(type, conv.kernel_size)) == {int}
    with pytest.raises(ValueError, match="`hidden_size` must be an integer of at least 1"):
        GRUCell(3, np.int64(0), key=KEY)
    with pytest.raises(TypeError, match="`hidden_size` must be an integer, got float 4"):
        GRUCell(3, np.float32(4), key=KEY)


def test_a_jitted_step_is_shared():
    """Cells that were built with NumPy and with Python numbers share one compilation."""
    count = []

    @eqx.filter_jit
    def run(cell):
        count.append(1)
        return cell.weight_hh

    run(eqx_rnn.LEMCell(3, 4, dt=0.5, key=KEY))
    run(eqx_rnn.LEMCell(np.int32(3), 4, dt=np.float16(0.5), key=KEY))
    assert len(count) == 1
