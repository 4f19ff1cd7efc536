"""`summary`: numbers that are counted by hand, the table and errors."""

import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FEW_CASES
from summary_case import (
    F32,
    GRU,
    GRU_NUMBERS,
    KEY,
    LSTM,
    LSTM_NUMBERS,
    linear,
    numbers,
    row,
    struct,
)

import eqx_rnn
from eqx_rnn import RNN, GRUCell, LSTMCell, summary
from eqx_rnn._kernels.count import count

GUIDE = pathlib.Path(__file__).parent.parent / "docs" / "guide.md"
BY_HAND = {
    "lstm": (LSTM, struct(10), *LSTM_NUMBERS),
    "gru": (GRU, struct(10), *GRU_NUMBERS),
    "conv-lstm": (
        eqx_rnn.ConvLSTMCell(3, 8, kernel_size=(3, 3), strides=2, **F32),
        struct(16, 16, 3),
        4 * 8 * (3 + 8) * 9 + 4 * 8,
        8 * 8 * 4 * 8 * (3 + 8) * 9,  # the strides halve the axes of space
    ),
    "lru": (
        eqx_rnn.LRUCell(10, 32, **F32),
        struct(10),
        3 * 32 + 2 * 2 * 32 * 10 + 10,
        2 * 2 * 32 * 10,
    ),
    "gla": (  # per head 2 keys and 4 values; the decay has rank 16
        eqx_rnn.GLACell(8, 12, num_heads=3, **F32),
        struct(8),
        8 * (6 + 6 + 12 + 12 + 16) + 6 * 16 + 6 + 4 + 8 * 12,
        8 * (6 + 6 + 12 + 12 + 16) + 6 * 16 + 3 * 2 * 4 + 8 * 12,
    ),
    "large": (LSTMCell(300, 400, **F32), struct(300), 4 * 400 * 701, 4 * 400 * 700),
}


@pytest.mark.quick
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)], ids=str)
@pytest.mark.parametrize("name", BY_HAND)
def test_numbers(name, batch):
    cell, inputs, parameters, multiply_adds = BY_HAND[name]
    table = summary(cell, struct(*batch, *inputs.shape))
    assert (table.parameters, table.multiply_adds) == (parameters, multiply_adds)
    assert table.bytes == 4 * parameters
    assert len(table.rows) == 1
    in_layer = summary(RNN(cell), struct(*batch, 5, *inputs.shape))
    assert [found.path for found in in_layer.rows] == ["", "cell"]
    assert numbers(in_layer, "cell") == (parameters, multiply_adds)
    assert in_layer.rows[1].outputs == table.rows[0].outputs


@pytest.mark.parametrize("case", FEW_CASES, ids=lambda case: case.name)
def test_every_cell(case):
    cell = case.cell()
    table = summary(cell, case.inputs(2))
    leaves = filter(eqx.is_inexact_array, jax.tree.leaves(cell))
    assert table.parameters == sum(leaf.size for leaf in leaves)
    assert all(found.multiply_adds >= 0 for found in table.rows)
    assert max(map(len, str(table).splitlines())) <= 100
    carry, outputs = cell.initialize_carry(KEY, case.inputs(2)), table.rows[0].outputs
    assert jax.tree.map(jnp.shape, carry) == jax.tree.map(jnp.shape, table.rows[0].carry)
    assert jax.tree.map(jnp.shape, cell(carry, case.inputs(2), key=KEY)[1]) == outputs.shape


@pytest.mark.parametrize("name", ["lstm", "gru", "large"])
def test_the_engine_computes_as_many(name):
    cell, inputs, _, multiply_adds = BY_HAND[name]
    run = lambda rnn, xs: rnn(xs)
    assert count(run, RNN(cell), struct(2, 9, *inputs.shape)).multiply_adds == 18 * multiply_adds


def test_directions():
    table = summary(eqx_rnn.Bidirectional(RNN(LSTM), RNN(GRU)), struct(4, 7, 10))
    assert numbers(table, "forward_rnn.cell") == LSTM_NUMBERS
    assert numbers(table, "backward_rnn.cell") == GRU_NUMBERS
    assert table.rows[0].outputs.shape == (4, 7, 48)
    assert table.parameters == LSTM_NUMBERS[0] + GRU_NUMBERS[0]
    assert table.multiply_adds == LSTM_NUMBERS[1] + GRU_NUMBERS[1]


def test_stacks():
    options = dict(num_layers=2, layer_norm=True, dropout=0.1, time_major=True, **F32)
    table = summary(eqx_rnn.Stacked.create(LSTMCell, 10, 32, **options), struct(7, 4, 10))
    paths = ["", "layers[0]", "layers[0].cell", "norms[0]", "layers[1]", "layers[1].cell"]
    assert [found.path for found in table.rows] == paths
    assert numbers(table, "layers[0].cell") == LSTM_NUMBERS
    assert numbers(table, "layers[1].cell") == (4 * 32 * 65, 4 * 32 * 64)
    assert numbers(table, "norms[0]") == (64, 0)
    assert row(table, "norms[0]").outputs.shape == (7, 4, 32)
    assert row(table, "layers[1].cell").outputs.shape == (4, 32)


def test_wrappers_and_stacked_cells():
    gru = eqx_rnn.LearnedCarry(GRUCell(32, 8, **F32))
    dropout = eqx_rnn.RecurrentDropout(eqx_rnn.Zoneout(LSTM, 0.1), 0.1, 0.2)
    table = summary(eqx_rnn.StackedCell([dropout, gru]), struct(4, 10))
    paths = ["", "cells[0]", "cells[0].cell", "cells[0].cell.cell", "cells[1]", "cells[1].cell"]
    assert [found.path for found in table.rows] == paths
    assert numbers(table, "cells[0].cell.cell") == LSTM_NUMBERS
    assert numbers(table, "cells[0]") == (0, 0)
    assert numbers(table, "cells[1]") == (8, 0)
    assert numbers(table, "cells[1].cell") == (3 * 8 * 40 + 4 * 8, 3 * 8 * 40)
    assert row(table, "cells[0]").carry.masks.inputs.shape == (4, 10)


@jax.custom_vjp
def product(x):
    return x @ x


product.defvjp(lambda x: (x @ x, x), lambda x, d_y: (d_y @ x.T + x.T @ d_y,))
LOOPS = {
    "jit": (jax.jit(lambda x: x @ x), 27),
    "checkpoint": (jax.checkpoint(lambda x: jax.nn.relu(x @ x)), 27),
    "custom_vjp": (product, 27),
    "cond": (lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x, lambda x: x @ x, x), 27),
    "fori_loop": (lambda x: jax.lax.fori_loop(0, 4, lambda _, x: x @ x, x), 4 * 27),
    "while_loop": (lambda x: jax.lax.while_loop(lambda x: x[0, 0] > 0, lambda x: x @ x, x), 27),
    "batch": (lambda x: jnp.stack([x, x]) @ jnp.stack([x, x]), 2 * 27),
}


@pytest.mark.parametrize("name", LOOPS)
def test_equations_with_jaxprs(name):
    function, number = LOOPS[name]
    assert count(function, struct(3, 3)).multiply_adds == number


def test_nothing_is_computed():
    """A model without weights, and inputs without values, give the same table."""
    model = eqx.filter_eval_shape(lambda: RNN(LSTMCell(10, 32, **F32)))
    tables = {str(summary(rnn, struct(4, 7, 10))) for rnn in (model, RNN(LSTM))}
    tables.add(str(summary(RNN(LSTM), np.zeros((4, 7, 10), np.float32))))
    assert len(tables) == 1


@pytest.mark.quick
def test_the_table_of_the_guide():
    layers = eqx_rnn.Stacked.create(LSTMCell, 10, 32, num_layers=2, **F32)

    class Classifier(eqx.Module):
        layers: eqx_rnn.Stacked
        head: eqx.nn.Linear

        def __call__(self, x):
            return jax.vmap(self.head)(self.layers(x)[:, -1])

    table = summary(Classifier(layers, linear(32, 5)), struct(4, 12, 10))
    assert f"```text\n{table}\n```" in GUIDE.read_text()
    assert repr(table) == str(table)


def test_long_carries_take_several_lines():
    cell = eqx_rnn.RecurrentDropout(LSTM, 0.1, 0.1)
    lines = str(summary(RNN(cell), struct(4, 7, 10))).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[3].startswith(27 * " ")
    assert all(not line.endswith("inputs") for line in lines)  # a name stays with its shape


def test_html():
    text = summary(RNN(LSTM), struct(4, 7, 10))._repr_html_()
    assert text.startswith("<table>")
    assert text.count("<tr>") == 4
    assert "└─ cell: LSTMCell</td>" in text
    assert "5,504" in text


@pytest.mark.parametrize(
    ("module", "inputs", "call"),
    [
        (LSTM, jnp.zeros((4, 9), jnp.float32), lambda m, x: m(m.initialize_carry(None, x), x)),
        (LSTM, jnp.zeros((4, 10), int), None),
        (RNN(LSTM), jnp.zeros((4, 7, 9), jnp.float32), lambda m, x: m(x)),
        (RNN(LSTM), [1.0], lambda m, x: m(x)),
        (eqx_rnn.Stacked([RNN(LSTM)]), jnp.zeros((7, 9), jnp.float32), lambda m, x: m(x)),
        (linear(3, 4), jnp.zeros(5), lambda m, x: m(x)),
    ],
)
def test_wrong_inputs(module, inputs, call):
    carry = lambda m, x: m(LSTM.initialize_carry(None, struct(4, 10)), x)
    with pytest.raises((TypeError, ValueError)) as expected:
        (carry if isinstance(module, LSTMCell) else call)(module, inputs)
    with pytest.raises(expected.type) as found:
        summary(module, inputs)
    assert str(found.value) == str(expected.value)


def test_wrong_modules():
    class NoCall(eqx.Module):
        size: int = 3

    for module in (3, NoCall(), jnp.ones(3), lambda x: x):
        with pytest.raises(TypeError, match=r"^summary: `module` must be a cell, a layer or"):
            summary(module, struct(3))
    with pytest.raises(TypeError, match=r"Build one first: `LSTMCell\(...\)`"):
        summary(LSTMCell, struct(3))
    with pytest.raises(TypeError, match=r"jax.ShapeDtypeStruct\(\(4, 12, 3\), jnp.float32\)"):
        summary(LSTM, (4, 12, 3))
    with pytest.raises(TypeError, match="`inputs` is missing"):
        summary(LSTM)
