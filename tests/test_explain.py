"""`RNN.explain`, and the reasons why the plain scan runs a cell."""

import contextlib
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, EACH_CLASS, INNER
from jax.experimental import io_callback
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from plain_cell import PlainCell

import eqx_rnn
from eqx_rnn._base.cells import is_chunked
from eqx_rnn._scan import Steps
from eqx_rnn._scan.factored.plan import plan
from eqx_rnn._scan.steps import Options

KEY = jax.random.key(0)
BY_NAME = {case.name: case for case in CASES}
ENGINE = "runs on the factored engine."
SAMPLE = jax.ShapeDtypeStruct((2, 3), float)


@pytest.mark.parametrize("case", EACH_CLASS, ids=lambda case: case.name)
def test_every_cell(case):
    text = eqx_rnn.RNN(case.cell()).explain(case.inputs(2))
    if is_chunked(case.cell()):
        assert "runs in chunks of steps, by the fastest method of the platform" in text
        return
    assert text.endswith(ENGINE) == (not case.name.endswith("-plain"))
    if not text.endswith(ENGINE):
        assert "plain scan, because it is not a `FactoredCell`" in text


def test_one_line_per_cell_that_runs_over_time():
    keys = jax.random.split(KEY, 3)
    lstm, gru = eqx_rnn.LSTMCell(3, 4, key=keys[0]), eqx_rnn.GRUCell(4, 4, key=keys[1])
    stack = eqx_rnn.StackedCell([lstm, eqx_rnn.Residual(gru), PlainCell(4, 4, key=keys[2])])
    for options in ({}, {"truncate": 2}, {"checkpoint": 1, "reverse": True}):
        first, second, third = eqx_rnn.RNN(stack, **options).explain(SAMPLE).splitlines()
        assert first == f"LSTMCell {ENGINE}"
        assert second == f"GRUCell {ENGINE}"
        assert third.startswith("PlainCell runs by the plain scan, because it is not a `Factored")


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("batch", [(), (2,), (2, 5)], ids=str)
def test_any_number_of_batch_axes(batch, time_major):
    case = BY_NAME["conv-lstm-1d"]
    rnn = eqx_rnn.RNN(case.cell(), time_major=time_major)
    assert rnn.explain(case.inputs(*batch)) == f"ConvLSTMCell {ENGINE}"
    rnn(case.inputs(2, 3))  # compiled code of an earlier call has no effect
    assert rnn.explain(case.inputs(*batch)) == f"ConvLSTMCell {ENGINE}"


def test_cells_that_need_a_key_and_calls_under_jit():
    cell = INNER[0].cell()
    rnn = eqx_rnn.RNN(eqx_rnn.RecurrentDropout(eqx_rnn.DropConnect(cell, 0.3), 0.2, 0.2))
    expected = f"MaskedCell(LSTMCell) {ENGINE}"  # as the two begin
    assert rnn.explain(SAMPLE) == expected
    texts = []
    eqx.filter_jit(lambda rnn, x: texts.append(rnn.explain(x)))(rnn, jnp.zeros((2, 3)))
    assert texts == [expected]


def test_errors_name_the_sample():
    with pytest.raises(ValueError, match=r"LSTMCell.*`sample_input`.*3.*float64\[2,5\]"):
        eqx_rnn.RNN(INNER[0].cell()).explain(jnp.zeros((2, 5)))


class Gates(NamedTuple):
    a: jax.Array
    b: jax.Array | None


class Own(eqx_rnn.FactoredCell):
    """h' = f(x + W h), with parts that the tests replace."""

    weight: jax.Array
    input_part: object = lambda x: x
    hidden_part: object = lambda h, weight: h @ weight
    new: object = lambda h, gates: jnp.tanh(gates)
    first: object = lambda shape: jnp.zeros(shape)
    num_feature_dims = property(lambda self: 1)

    def initialize_carry(self, key, sample_input):
        return self.first(sample_input.shape)

    def project_input(self, inputs):
        return self.input_part(inputs)

    def project_hidden(self, carry):
        return self.hidden_part(jax.tree.leaves(carry)[0], self.weight)

    def update(self, carry, gates, *, key=None):
        new = self.new(carry, gates)
        return new, jax.tree.leaves(new)[0]


def with_effect(carry, gates):
    return jnp.tanh(gates) + io_callback(
        lambda: np.float64(0), SAMPLE.update(shape=()), ordered=True
    )


def with_debugging(carry, gates):
    jax.debug.callback(lambda x: None, gates)
    return jnp.tanh(gates)


def from_inputs(carry, gates):
    return jnp.tanh(gates) + 0 * carry


REASONS = {
    "no-input-part": (dict(input_part=lambda x: None), "`project_input` returns no arrays"),
    "no-hidden-part": (dict(hidden_part=lambda h, w: None), "`project_hidden` returns no arrays"),
    "integer-carry": (
        dict(
            first=lambda shape: (jnp.zeros(shape), jnp.zeros(shape[:-1], int)),
            new=lambda carry, gates: (jnp.tanh(gates), carry[1] + 1),
        ),
        "an array in the carry has dtype int64",
    ),
    "complex-carry": (
        dict(first=lambda shape: jnp.zeros(shape, complex)),
        "an array in the carry has dtype complex128",
    ),
    "broadcast": (
        dict(input_part=lambda x: x[..., :1]),
        "the sum of the gates broadcasts an array that `project_input` returns",
    ),
    "effect": (dict(new=with_effect), "`update` has the effect "),
}


@pytest.mark.parametrize("name", REASONS)
def test_reasons(name):
    changes, reason = REASONS[name]
    text = eqx_rnn.RNN(Own(jnp.eye(3), **changes)).explain(SAMPLE)
    assert text.startswith(f"Own runs by the plain scan, because {reason}"[:40])
    assert reason in text
    assert text.endswith(".")


def test_cells_without_a_reason():
    for changes in ({}, dict(new=with_debugging), dict(new=from_inputs)):
        assert eqx_rnn.RNN(Own(jnp.eye(3), **changes)).explain(SAMPLE) == f"Own {ENGINE}"


def test_a_traced_array_in_a_function():
    def explain(scale):
        cell = eqx_rnn.LSTMCell(3, 4, activation=lambda x: scale * jnp.tanh(x), key=KEY)
        texts.append(eqx_rnn.RNN(cell).explain(SAMPLE))

    texts = []
    jax.jit(explain)(1.5)
    assert "`update` uses a traced array that is not a leaf of the cell" in texts[0]
    explain(jnp.asarray(1.5))
    assert texts[1] == f"LSTMCell {ENGINE}"


def test_a_traced_array_in_a_draw():
    class Noisy(Own):
        def update(self, carry, gates, *, key=None):
            new = jnp.tanh(gates) + self.new(key, gates.shape)
            return new, new

    def explain(scale):
        noise = lambda key, shape: scale * jax.random.normal(key, shape)
        texts.append(eqx_rnn.RNN(Noisy(jnp.eye(3), new=noise)).explain(SAMPLE))

    texts = []
    jax.jit(explain)(1.5)
    assert "`update` uses a traced array" in texts[0]
    explain(1.5)
    assert texts[1] == f"Noisy {ENGINE}"


def test_a_run_inside_a_step_adds_no_line():
    inner = eqx_rnn.RNN(BY_NAME["gru"].cell())
    new = lambda carry, gates: jnp.tanh(gates) + jnp.sum(inner(jnp.zeros((2, 5, 3))))
    assert eqx_rnn.RNN(Own(jnp.eye(3), new=new)).explain(SAMPLE) == f"Own {ENGINE}"


@pytest.mark.parametrize("names", [{"a"}, {"a", "b"}], ids=["partly", "wholly"])
def test_manual_axes(names):
    rnn, texts = eqx_rnn.RNN(BY_NAME["lstm"].cell()), []
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=2 * (AxisType.Auto,))

    def explain(x):
        texts.append(rnn.explain(x))
        return x

    spec = PartitionSpec("a")
    mapped = jax.shard_map(explain, mesh=mesh, in_specs=spec, out_specs=spec, axis_names=names)
    jax.jit(mapped)(jnp.zeros((8, 3)))
    assert (texts[0] == f"LSTMCell {ENGINE}") == (len(names) == 2)
    assert ("`jax.shard_map` leaves some axes" in texts[0]) == (len(names) == 1)


@pytest.mark.parametrize("name", ["lstm", "conv-lstm-1d"])
def test_explicit_axes(name):
    case = BY_NAME[name]
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Explicit,))
    x = jax.device_put(case.inputs(8), NamedSharding(mesh, PartitionSpec("batch")))
    for context in (contextlib.nullcontext(), jax.set_mesh(mesh)):
        with context:
            text = eqx_rnn.RNN(case.cell()).explain(x)
        assert text.endswith(ENGINE) == (name == "lstm")
        assert ("explicit axis of a mesh" in text) == (name != "lstm")


@pytest.mark.parametrize(
    ("num_steps", "cuts", "reason"),
    [(0, None, "there are no time steps"), (3, jnp.zeros(3, bool), "`truncate` cuts gradients")],
)
def test_reasons_of_the_time_axis(num_steps, cuts, reason):
    case = BY_NAME["lstm"]
    cell, steps = case.cell(), Steps(None, None, None, cuts)
    text = plan(cell, case.carry(cell, 2), case.inputs(num_steps, 2), steps, Options())
    assert isinstance(text, str)
    assert text.startswith(reason)


def test_chunk_lengths_are_an_argument():
    case = BY_NAME["gru"]
    cell, inputs, steps = case.cell(), case.inputs(11, 2), Steps(None, None, None)
    make = lambda options=Options(), **size: plan(
        cell, case.carry(cell, 2), inputs, steps, options, **size
    )
    sizes = lambda planned: [(piece.number, piece.size) for piece in planned.pieces]
    assert sizes(make(chunk_size=4)) == [(3, 4)]  # the chunks overlap
    assert sizes(make(Options(checkpoint=4))) == [(2, 4), (1, 3)]
    assert sizes(make(Options(checkpoint=5), chunk_size=4)) == [(2, 5), (1, 1)]
    assert sizes(make()) == [(1, 11)]
