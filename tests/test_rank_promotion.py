"""The package does not rely on implicit rank promotion: it broadcasts vectors explicitly.

JAX raises these errors when it traces a function, so the tests compile nothing.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from cases import EACH_CLASS
from interop_cases import CASES as INTEROP

import eqx_rnn
from eqx_rnn._base.cells import inner_cells

RATES = jnp.array([0.1, 0.2, 0.3])


@pytest.fixture(autouse=True)
def _explicit():
    with jax.numpy_rank_promotion("raise"):
        yield


def trace(cell, inputs, key=None):
    """One step and its gradient, from the cell's own carry."""

    def loss(arrays, rest, inputs):
        model, x = eqx.combine(arrays, rest)
        carry = model.initialize_carry(key, x)
        carry, outputs = model(carry, inputs, key=key)
        floats = filter(eqx.is_inexact_array, jax.tree.leaves((carry, outputs)))
        return sum(jnp.sum(leaf).real for leaf in floats)

    arrays, rest = eqx.partition((cell, inputs), eqx.is_inexact_array)
    eqx.filter_eval_shape(eqx.filter_value_and_grad(loss), arrays, rest, inputs)


@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
@pytest.mark.parametrize("case", EACH_CLASS, ids=lambda case: case.name)
def test_a_step(case, batch):
    trace(case.cell(), case.inputs(*batch))


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda cell: eqx_rnn.Zoneout(cell, RATES),
        lambda cell: eqx_rnn.Zoneout(cell, RATES, inference=True),
        lambda cell: eqx_rnn.RecurrentDropout(cell, RATES, RATES),
        lambda cell: eqx_rnn.DropConnect(cell, RATES),
        eqx_rnn.LearnedCarry,
    ],
    ids=["zoneout", "zoneout-mean", "dropout", "drop-connect", "learned-carry"],
)
def test_a_step_in_training(wrap, batch):
    """With one rate per unit."""
    cell = wrap(eqx_rnn.GRUCell(3, 3, activation=eqx.nn.PReLU(), key=jr.key(0)))
    inputs = jnp.ones((*batch, 3))
    if isinstance(cell, eqx_rnn.DropConnect):
        cell = cell.begin(cell.initialize_carry(None, inputs), key=jr.key(2))[0]
    trace(cell, inputs, key=jr.key(1))


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("time_major", [False, True])
def test_flip_sequences(time_major, shape):
    *batch, time = shape
    xs = jnp.arange(np.prod(shape) * 2.0).reshape(*shape, 2)
    lengths = jnp.full(batch, time - 1)
    if time_major:
        xs = jnp.moveaxis(xs, -2, 0)
    flipped = eqx_rnn.flip_sequences(xs, lengths, time_major=time_major)
    axis = 0 if time_major else -2
    xs, flipped = np.moveaxis(xs, axis, 0), np.moveaxis(flipped, axis, 0)
    np.testing.assert_array_equal(flipped[:-1], xs[-2::-1])
    np.testing.assert_array_equal(flipped[-1], xs[-1])


@pytest.mark.parametrize("make", [eqx_rnn.JANETCell, eqx_rnn.SLSTMCell, eqx_rnn.ConvLSTMCell])
def test_initialisers(make):
    """With initialisers that draw everything, including the carry."""
    normal = jax.nn.initializers.normal()
    kernel = ((3,),) if make is eqx_rnn.ConvLSTMCell else ()
    options = {"forget_bias": eqx_rnn.chrono(9)} if make is eqx_rnn.JANETCell else {}
    build = lambda key: make(3, 4, *kernel, bias_init=normal, carry_init=normal, key=key, **options)
    cell = eqx.filter_eval_shape(build, jr.key(0))
    sample = jnp.ones((2, *(5,) * len(kernel), 3))
    eqx.filter_eval_shape(lambda cell: cell.initialize_carry(jr.key(1), sample), cell)


@pytest.mark.parametrize("case", INTEROP, ids=lambda case: case.name)
def test_cells_from_elsewhere(case):
    module = eqx.filter_eval_shape(case.read, case.weights())
    for cell in inner_cells(module):
        space = (6,) * (cell.num_feature_dims - 1)
        trace(cell, jnp.ones((2, *space, cell.input_size)))
