"""Outputs as a function of the new carry, and `Zoneout`, which needs them."""

import cases
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS, WRAPPED
from helpers import EXACT, assert_close

import eqx_rnn
from eqx_rnn import LSTMCarry, RecurrentDropout, Residual, StackedCell, Zoneout
from eqx_rnn._scan import Steps
from eqx_rnn._scan.factored.plan import Plan, plan
from eqx_rnn._scan.steps import Options

KEY = jax.random.key(1)
INNER = {case.name: case for case in cases.INNER}
GRU, LSTM = INNER["gru"], INNER["lstm"]

named = lambda case: case.name


def own_outputs(case, carry):
    """By hand: the first leaf of the carry, or its rate."""
    hidden = np.asarray(jax.tree.leaves(carry)[0])
    return np.tanh(hidden) if case.name.startswith("ctrnn-current") else hidden


@pytest.mark.parametrize("case", CELLS + WRAPPED, ids=named)
def test_agrees_with_the_step(case):
    cell = case.cell()
    carry, outputs = eqx.filter_jit(cell)(case.carry(cell, 2), case.inputs(2))
    if case.name.startswith("residual"):
        with pytest.raises(NotImplementedError, match=r"Residual\(Zoneout\(cell\)\)"):
            cell.read_out(carry)
    elif case.name.endswith("plain"):
        assert cell.read_out(carry) is None
    else:
        np.testing.assert_array_equal(cell.read_out(carry), outputs)
        np.testing.assert_allclose(outputs, own_outputs(case, carry), **EXACT)


def test_stacks_and_dropout_read_their_inner_carry():
    """Before, within and after a run."""
    cell = StackedCell([LSTM.cell(), Zoneout(RecurrentDropout(GRU.cell(), 0.2, 0.2), 0.0)])
    x = GRU.inputs(2)
    carry, outputs = cell(cell.initialize_carry(KEY, x), x)
    np.testing.assert_array_equal(cell.read_out(carry), outputs)
    begun, carry, finish = cell.begin(carry)
    carry, outputs = begun(carry, x)
    np.testing.assert_array_equal(begun.read_out(carry), outputs)
    np.testing.assert_array_equal(cell.read_out(finish(carry)), outputs)


class Around(eqx_rnn.FactoredCell):
    """A user's cell whose `update` runs under a transformation, so that it returns new arrays."""

    cell: eqx_rnn.FactoredCell
    transform: object = eqx.field(static=True)

    num_feature_dims = property(lambda self: self.cell.num_feature_dims)

    def initialize_carry(self, key, sample_input):
        return self.cell.initialize_carry(key, sample_input)

    def project_input(self, inputs):
        return self.cell.project_input(inputs)

    def project_hidden(self, carry):
        return self.cell.project_hidden(carry)

    def update(self, carry, gates, *, key=None):
        return self.transform(lambda c, g: self.cell.update(c, g))(carry, gates)


class Saying(Around):
    def read_out(self, carry):
        return self.cell.read_out(carry)


class PlainAround(eqx_rnn.RNNCellBase):
    """The same for `__call__`."""

    cell: eqx_rnn.RNNCellBase
    transform: object = eqx.field(static=True)

    num_feature_dims = property(lambda self: self.cell.num_feature_dims)

    def initialize_carry(self, key, sample_input):
        return self.cell.initialize_carry(key, sample_input)

    def __call__(self, carry, inputs, *, key=None):
        return self.transform(lambda c, x: self.cell(c, x))(carry, inputs)


class PlainSaying(PlainAround):
    def read_out(self, carry):
        return self.cell.read_out(carry)


def by_hand(case, cell, old, x, rates, key):
    """One step of the inner cell, and the draws of `Zoneout`, one per part of the carry."""
    new, _ = cell(old, x)
    whole = lambda part: isinstance(part, eqx_rnn.SLSTMMemory)
    tree = jax.tree.structure(new, is_leaf=whole)
    parts = [jax.tree.leaves(carry, is_leaf=whole) for carry in (old, new)]
    keys = jax.random.split(key, 1 + len(parts[0]))[1:]
    zoned = []
    for a, b, rate, part_key in zip(*parts, rates, keys, strict=True):
        kept = jax.random.bernoulli(part_key, rate, jax.tree.leaves(b)[0].shape)
        zoned.append(jax.tree.map(lambda u, v, kept=kept: np.where(kept, u, v), a, b))
    carry = tree.unflatten(zoned)
    return carry, own_outputs(case, carry)


@pytest.mark.parametrize("case", CELLS, ids=named)
def test_zoneout_in_training_around_every_cell(case):
    """With a plain, a jitted and a rematerialised `update`, and with rate 0."""
    cell, x = case.cell(), case.inputs(4)
    old = case.carry(cell, 4)
    parts = jax.tree.leaves(old, is_leaf=lambda part: isinstance(part, eqx_rnn.Mixable))
    rate = [0.3, 0.6][: len(parts)]
    tree = jax.tree.structure(old, is_leaf=lambda part: isinstance(part, eqx_rnn.Mixable))
    rates = tree.unflatten(rate)

    @eqx.filter_jit
    def steps(cell, old, x):
        inner = cell, Saying(cell, jax.jit), Saying(cell, jax.checkpoint)
        training = [Zoneout(cell, rates)(old, x, key=KEY) for cell in inner]
        return training, [Zoneout(cell, 0)(old, x, key=KEY) for cell in inner], cell(old, x)

    training, still, bare = steps(cell, old, x)
    expected = by_hand(case, cell, old, x, rate, KEY)
    for result in training:
        assert_close(result, expected)
    for result in still:
        assert_close(result, bare)
    assert not np.allclose(expected[1], bare[1])


@pytest.mark.parametrize("case", CELLS, ids=named)
def test_zoneout_at_inference_around_every_cell(case):
    """The mean of the old and the new carry. The memory of an sLSTM is its cell over normaliser."""
    cell, x = case.cell(), case.inputs(4)
    old, rate = case.carry(cell, 4), 0.3
    if isinstance(old, eqx_rnn.SLSTMCarry):
        normaliser = 1 + jnp.abs(old.memory.normaliser)
        old = old._replace(memory=old.memory._replace(normaliser=normaliser))
    mean = lambda inner: Zoneout(inner, rate, inference=True)
    step = eqx.filter_jit(lambda cell, old, x: cell(old, x))
    new, (carry, outputs) = step(cell, old, x)[0], step(mean(cell), old, x)
    first = lambda tree: np.asarray(jax.tree.leaves(tree)[0])
    np.testing.assert_allclose(first(carry), rate * first(old) + 0.7 * first(new), **EXACT)
    np.testing.assert_allclose(outputs, own_outputs(case, carry), **EXACT)
    assert_close(step(mean(Saying(cell, eqx.filter_jit)), old, x), (carry, outputs))


TRANSFORMS = {
    "none": lambda f: f,
    "jit": jax.jit,
    "filter_jit": eqx.filter_jit,
    "checkpoint": jax.checkpoint,
    "filter_checkpoint": eqx.filter_checkpoint,
    "named_call": lambda f: jax.named_call(f, name="step"),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    ("inner", "kinds"),
    [
        ("lstm", (Around, Saying)),
        ("gru", (Around, Saying)),
        ("lstm", (PlainAround, PlainSaying)),
    ],
)
def test_a_transformed_step_is_right_or_an_error(transform, inner, kinds):
    case, transform = INNER[inner], TRANSFORMS[transform]
    cell, xs, lengths = case.cell(), case.inputs(3, 5), np.array([5, 0, 3])

    def run(cell, xs):
        rnn = eqx_rnn.RNN(Zoneout(cell, 0.4))
        return rnn(xs, seq_lengths=lengths, key=KEY, return_carry=True)

    expected = run(cell, xs)
    silent, saying = (kind(cell, transform) for kind in kinds)
    keeps_arrays = transform in (TRANSFORMS["none"], TRANSFORMS["named_call"])
    for call in (run, eqx.filter_jit(run)):
        assert_close(call(saying, xs), expected)
        result, error = result_or_error(call, silent, xs)
        if error is None:
            assert_close(result, expected)
            assert keeps_arrays or jax.config.jax_disable_jit
        else:
            wanted = [f"Write `read_out` in {kinds[0].__name__}", "def read_out(self, carry): "]
            assert not [part for part in wanted if part not in error]
            assert not keeps_arrays


def result_or_error(function, *args):
    try:
        return function(*args), None
    except TypeError as error:
        return None, str(error)


class TwoOutputs(eqx_rnn.FactoredCell):
    """A carry of two leaves, and outputs of any kind."""

    make: object = eqx.field(static=True)  # from the old carry, the gates and the new carry

    num_feature_dims = property(lambda self: 1)

    def initialize_carry(self, key, sample_input):
        return LSTMCarry(*2 * [jnp.zeros(sample_input.shape, sample_input.dtype)])

    def project_input(self, inputs):
        return inputs

    def project_hidden(self, carry):
        return 0.5 * carry.hidden

    def update(self, carry, gates, *, key=None):
        new = LSTMCarry(jnp.tanh(gates + carry.cell), carry.cell + gates)
        return self.make(carry, gates, new)


class ReadOut(TwoOutputs):
    read: object = eqx.field(static=True)

    def read_out(self, carry):
        return self.read(carry)


def two_steps(cell, old, x):
    """The old carry, the gates, the carry of the inner cell, the zoned-out carry, the outputs."""
    carry, outputs = Zoneout(cell, LSTMCarry(0.3, 0.6))(old, x, key=KEY)
    gates = x + 0.5 * old.hidden
    new = LSTMCarry(jnp.tanh(gates + old.cell), old.cell + gates)
    assert np.any(carry.hidden != new.hidden)
    return gates, new, carry, outputs


X = GRU.inputs(4)
OLD = LSTM.carry(LSTM.cell(), 4)


def test_arrays_of_the_new_carry_and_of_the_arguments_need_no_method():
    make = lambda old, gates, new: (
        new,
        {"c": new.cell, "old": old.cell, "gates": gates, "h": new[0]},
    )
    gates, _, carry, outputs = two_steps(TwoOutputs(make), OLD, X)
    expected = {"c": carry.cell, "old": OLD.cell, "gates": gates, "h": carry.hidden}
    assert_close(outputs, expected)


def test_none_leaves_a_part_as_the_step_returns_it():
    make = lambda old, gates, new: (new, (new.hidden * 2, {"extra": (new.cell - old.cell, gates)}))
    read = lambda carry: (2 * carry.hidden, {"extra": None})
    _, new, carry, outputs = two_steps(ReadOut(make, read), OLD, X)
    gates = X + 0.5 * OLD.hidden
    assert_close(outputs, (2 * carry.hidden, {"extra": (new.cell - OLD.cell, gates)}))
    _, new, carry, outputs = two_steps(ReadOut(make, lambda carry: None), OLD, X)
    assert_close(outputs, (2 * new.hidden, {"extra": (new.cell - OLD.cell, gates)}))


@pytest.mark.parametrize(
    "make",
    [
        lambda old, gates, new: (new, new.hidden + 0),
        lambda old, gates, new: (new, (new.hidden, 2 * new.hidden)),
        lambda old, gates, new: (LSTMCarry(new.cell, new.cell), new.cell),
    ],
    ids=["computed", "one-of-two", "two-places"],
)
def test_unclear_outputs_are_an_error_that_names_the_cell(make):
    cell = TwoOutputs(make)
    around = eqx_rnn.LearnedCarry(RecurrentDropout(cell), jax.ShapeDtypeStruct((3,), float))
    for inner in (cell, around, StackedCell([LSTM.cell(), cell])):
        with pytest.raises(TypeError) as raised:
            eqx_rnn.RNN(Zoneout(inner))(X[:, None], key=KEY)
        wanted = [
            "Zoneout: the outputs of `cell`",
            "Write `read_out` in TwoOutputs",
            "return carry",
        ]
        assert not [part for part in wanted if part not in str(raised.value)]
    result = eqx_rnn.RNN(Zoneout(cell, 0.0))(X[:, None])  # no `read_out` needed
    assert_close(result, eqx_rnn.RNN(cell)(X[:, None]))


def test_a_cell_without_outputs_needs_no_method():
    cell = TwoOutputs(lambda old, gates, new: (new, ()))
    *_, outputs = two_steps(cell, OLD, X)
    assert outputs == ()


@pytest.mark.parametrize(
    "read",
    [lambda carry: carry, lambda carry: (carry[0],), lambda carry: carry[0][..., :1]],
    ids=["other", "nested", "shape"],
)
def test_read_out_of_another_structure_is_an_error(read):
    cell = ReadOut(lambda old, gates, new: (new, new.hidden), read)
    with pytest.raises(ValueError, match=r"Zoneout: `read_out` of ReadOut must .*float64\[4,3\]"):
        two_steps(cell, OLD, X)


def test_zoneout_around_residual_says_which_goes_inside():
    with pytest.raises(TypeError, match=r"Zoneout: .*Residual\(Zoneout\(cell\)\)"):
        eqx_rnn.RNN(Zoneout(Residual(LSTM.cell())))(LSTM.inputs(3, 5), key=KEY)


@pytest.mark.parametrize("inner", ["lstm", "gru"])
def test_the_engine_keeps_the_outputs_once(inner):
    """It keeps the outputs as a part of the carries."""
    case = INNER[inner]
    cell = Zoneout(case.cell(), 0.3)
    steps = Steps(None, None, jax.random.split(KEY, 11))
    planned = plan(cell, case.carry(cell, 3), case.inputs(11, 3), steps, Options())
    assert isinstance(planned, Plan)
    assert planned.repeats == [0]
