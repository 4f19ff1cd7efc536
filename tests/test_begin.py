"""`begin` has an effect only once, for every cell, wrapper and stack."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FEW_CASES, INNER
from helpers import EXACT, assert_close
from plain_cell import PlainCell

import eqx_rnn
from eqx_rnn import (
    Begun,
    DropConnect,
    LearnedCarry,
    RecurrentDropout,
    Residual,
    StackedCell,
    Zoneout,
)

LSTM, GRU, _, PLAIN = INNER
KEYS = jax.random.split(jax.random.key(1), 3)
X = LSTM.inputs(2)


def sample_of(case):
    return jax.ShapeDtypeStruct((2, *case.features), float)


def around(case):
    """Each wrapper in training, and all of them at once."""
    cell, sample = case.cell(), sample_of(case)
    yield from (RecurrentDropout(cell, 0.3, 0.4), DropConnect(cell, 0.4), Zoneout(cell, 0.3))
    every = RecurrentDropout(Zoneout(DropConnect(cell, 0.3), 0.2), 0.3, 0.4)
    yield Residual(LearnedCarry(every, sample, key=KEYS[0]))
    yield DropConnect(RecurrentDropout(Residual(cell), 0.3, 0.4), 0.4)


def cells():
    for case in FEW_CASES:
        yield case.name, case.cell(), sample_of(case)
    for case in INNER:
        for k, cell in enumerate(around(case)):
            yield f"training-{k}-{case.name}", cell, sample_of(case)
    stack = StackedCell([DropConnect(LSTM.cell()), Zoneout(RecurrentDropout(GRU.cell(), 0.3, 0.4))])
    nested = StackedCell([Residual(stack), LSTM.cell(seed=9)])
    outside = RecurrentDropout(StackedCell([DropConnect(LSTM.cell()), PLAIN.cell()]), 0.3, 0.4)
    for k, cell in enumerate((stack, nested, outside, DropConnect(stack, 0.2))):
        yield f"stack-{k}", cell, sample_of(LSTM)


CELLS = {name: (cell, sample) for name, cell, sample in cells()}


@pytest.mark.parametrize("name", CELLS)
def test_begun_twice_is_begun_once(name):
    """With another key, without a key, and by a step, which begins its cell."""
    cell, sample = CELLS[name]
    carry = cell.initialize_carry(KEYS[0], sample)
    begun = cell.begin(carry, key=KEYS[1])
    assert isinstance(begun, Begun)
    for key in (KEYS[2], None):
        again = begun.cell.begin(begun.carry, key=key)
        assert type(again.cell) is type(begun.cell)
        assert_close(*(eqx.filter(b.cell, eqx.is_array) for b in (again, begun)))
        assert_close(again.carry, begun.carry)
        assert_close(again.finish(begun.carry), begun.carry)
        restarted = begun.cell.initialize_carry(KEYS[0], sample)
        assert jax.tree.structure(restarted) == jax.tree.structure(begun.carry)
    assert jax.tree.structure(begun.finish(begun.carry)) == jax.tree.structure(carry)


def test_it_is_a_tuple_with_names():
    cell, carry = LSTM.cell(), LSTM.carry(LSTM.cell(), 2)
    begun = cell.begin(carry)
    same, start, finish = begun
    assert same is cell is begun.cell
    assert start is carry is begun.carry
    assert finish(carry) is carry is begun.finish(carry)


class Doubled(eqx_rnn.RNNCellBase):
    """A user's wrapper, which returns a plain tuple from `begin`."""

    cell: eqx_rnn.RNNCellBase
    num_feature_dims = property(lambda self: self.cell.num_feature_dims)

    def initialize_carry(self, key, sample_input):
        return self.cell.initialize_carry(key, sample_input)

    def begin(self, carry, *, key=None):
        cell, carry, finish = self.cell.begin(carry, key=key)
        return Doubled(cell), carry, finish

    def __call__(self, carry, inputs, *, key=None):
        carry, outputs = self.cell(carry, inputs, key=key)
        return carry, 2 * outputs

    def read_out(self, carry):
        return 2 * self.cell.read_out(carry)


class FactoredDoubled(eqx_rnn.FactoredCell):
    """The same wrapper around a `FactoredCell`. It is a `FactoredCell` itself."""

    cell: eqx_rnn.FactoredCell
    num_feature_dims = property(lambda self: self.cell.num_feature_dims)

    def initialize_carry(self, key, sample_input):
        return self.cell.initialize_carry(key, sample_input)

    def begin(self, carry, *, key=None):
        cell, carry, finish = self.cell.begin(carry, key=key)
        return Begun(FactoredDoubled(cell), carry, finish)

    def project_input(self, inputs):
        return self.cell.project_input(inputs)

    def project_hidden(self, carry):
        return self.cell.project_hidden(carry)

    def update(self, carry, gates, *, key=None):
        carry, outputs = self.cell.update(carry, gates, key=key)
        return carry, 2 * outputs

    def read_out(self, carry):
        return 2 * self.cell.read_out(carry)


@pytest.mark.parametrize("wrap", [Doubled, FactoredDoubled])
@pytest.mark.parametrize(
    "inside", [lambda cell: cell, lambda cell: RecurrentDropout(DropConnect(cell), 0.2, 0.3)]
)
@pytest.mark.parametrize(
    "outside",
    [lambda cell: cell, lambda cell: Zoneout(cell, 0.3), lambda cell: StackedCell([cell])],
)
def test_wrappers_of_users(wrap, inside, outside):
    """Around a cell, around our wrappers, inside our wrappers, and in a stack."""
    inner, xs = inside(LSTM.cell()), LSTM.inputs(2, 5)
    run = lambda cell: eqx_rnn.RNN(outside(cell))(xs, key=KEYS[0], return_carry=True)
    (carry, outputs), (own_carry, own) = run(wrap(inner)), run(inner)
    np.testing.assert_allclose(outputs, 2 * own, **EXACT)
    assert_close(carry, own_carry)


class Pair(eqx.Module):
    """A user's part of a carry, of two arrays that belong together."""

    total: jax.Array
    count: jax.Array

    def mix(self, other, share):
        mean = lambda a, b: share * a + (1 - share) * b
        return Pair(mean(self.total, other.total), mean(self.count, other.count))


class Averaging(eqx_rnn.RNNCellBase):
    num_feature_dims = property(lambda self: 1)

    def initialize_carry(self, key, sample_input):
        zeros = jnp.zeros(sample_input.shape, sample_input.dtype)
        return {"pair": Pair(zeros, zeros)}

    def __call__(self, carry, inputs, *, key=None):
        pair = Pair(carry["pair"].total + inputs, carry["pair"].count + 1)
        return {"pair": pair}, None


def test_parts_that_mix_get_one_mask():
    assert isinstance(Pair(X, X), eqx_rnn.Mixable)
    assert not isinstance((X, X), eqx_rnn.Mixable)
    xs = LSTM.inputs(4, 6)
    rnn = eqx_rnn.RNN(Zoneout(Averaging(), {"pair": 0.5}))
    pair = rnn(xs, key=KEYS[0], return_carry="all")[0]["pair"]
    steps = np.diff(pair.count, axis=1)
    assert set(np.unique(steps)) == {0, 1}
    np.testing.assert_allclose(np.diff(pair.total, axis=1), steps * xs[:, 1:], **EXACT)
    pair = eqx.nn.inference_mode(rnn)(xs, return_carry=True)[0]["pair"]
    np.testing.assert_allclose(pair.total, xs.sum(1) / 2, **EXACT)
    np.testing.assert_allclose(pair.count, 3, **EXACT)


def test_plain_cells_stay_plain():
    """A wrapper around a cell that is not a `FactoredCell` is not a `FactoredCell` either."""
    for cell in around(PLAIN):
        assert not isinstance(cell, eqx_rnn.FactoredCell)
    assert isinstance(DropConnect(PLAIN.cell(), 0.0).begin(X)[0], PlainCell)
