"""`summary` of models, cells and layers that users write."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
from summary_case import F32, KEY, LSTM, LSTM_NUMBERS, linear, numbers, row, struct

import eqx_rnn
from eqx_rnn import RNN, GRUCell, LSTMCell, summary


class Tagger(eqx.Module):
    embedding: eqx.nn.Embedding
    rnn: RNN
    head: eqx.nn.Linear

    def __call__(self, tokens):
        x = jax.vmap(jax.vmap(self.embedding))(tokens)
        return jax.vmap(self.head)(self.rnn(x)[:, -1])


def test_a_model():
    embedding = eqx.nn.Embedding(100, 10, **F32)
    table = summary(Tagger(embedding, RNN(LSTM), linear(32, 5)), struct(4, 7, dtype=jnp.int32))
    assert [found.path for found in table.rows] == ["", "embedding", "rnn", "rnn.cell", "head"]
    assert numbers(table, "embedding") == (1000, 0)
    assert numbers(table, "rnn.cell") == LSTM_NUMBERS
    assert numbers(table, "head") == (165, 160)
    assert (row(table, "head").outputs.shape, table.rows[0].outputs.shape) == ((5,), (4, 5))
    assert table.parameters == 1000 + LSTM_NUMBERS[0] + 165
    assert "neither cells nor layers: per call" in str(table)
    assert "per call" not in str(summary(RNN(LSTM), struct(4, 7, 10)))


class Decoder(eqx.Module):
    """Steps a cell in a loop, with a product of its own."""

    cell: LSTMCell
    head: eqx.nn.Linear
    weight: jax.Array

    def __call__(self, x, length=3, *, key):
        def step(carry, _):
            carry, y = self.cell(carry, x)
            return carry, self.head(y) @ self.weight

        first = self.cell.initialize_carry(key, x)
        return jax.lax.scan(step, first, None, length=length)[1]


def test_a_loop_counts_own_products_at_each_iteration():
    decoder = Decoder(LSTM, linear(32, 5), jnp.ones((5, 2), jnp.float32))
    for inputs, length in ((struct(10), 3), ((struct(10), 7), 7)):
        table = summary(decoder, inputs)
        assert table.rows[0].outputs.shape == (length, 2)
        assert numbers(table, "") == (10, 10 * length)
        assert numbers(table, "cell") == LSTM_NUMBERS
        assert numbers(table, "head") == (165, 160)


class Fading(eqx_rnn.LinearCell):
    gate: eqx.nn.Linear
    unused: eqx.nn.Linear
    num_feature_dims = 1

    def coefficients(self, inputs):
        gate = jnp.vectorize(self.gate, signature="(n)->(n)")
        return eqx_rnn.Blend(jax.nn.sigmoid(gate(gate(inputs))), inputs @ jnp.ones((8, 8)))


def test_a_cell_of_a_user():
    """A part counts as often as a step calls it. The first carry does not count."""
    table = summary(RNN(Fading(linear(8, 8), linear(8, 8))), struct(4, 7, 8))
    assert numbers(table, "cell") == (0, 64)
    assert numbers(table, "cell.gate") == (72, 128)
    assert numbers(table, "cell.unused") == (72, None)
    assert row(table, "cell.unused").outputs is None
    assert row(table, "cell.gate").outputs.shape == (8,)
    assert "per call" not in str(table)


class Dense(eqx_rnn.AbstractLayer):
    linear: eqx.nn.Linear
    num_feature_dims = 1
    time_major = False

    def initialize_carry(self, key, sample_input):
        return ()

    def __call__(self, inputs, *, return_carry=False, **options):
        outputs = jnp.vectorize(self.linear, signature="(n)->(m)")(inputs)
        return ((), outputs) if return_carry else outputs


def test_a_layer_of_a_user():
    table = summary(eqx_rnn.Stacked([RNN(LSTM), Dense(linear(32, 5))]), struct(4, 7, 10))
    assert numbers(table, "layers[1]") == (0, 0)
    assert numbers(table, "layers[1].linear") == (165, 160)
    assert table.rows[0].outputs.shape == (4, 7, 5)


class Both(eqx.Module):
    parts: list

    def __call__(self, x):
        return sum(part(x) for part in self.parts)


def test_shared_weights_count_once():
    first, second = linear(3, 3), linear(3, 3)
    table = summary(Both([first, first]), struct(3))
    assert (table.parameters, table.multiply_adds) == (12, 18)
    assert row(table, "parts[1]").parameters is None
    assert re.search(r"parts\[1\]: Linear +3 +shared +9\n", str(table))
    tied = eqx.tree_at(lambda part: part.weight, second, first.weight)
    assert summary(Both([first, tied]), struct(3)).parameters == 12 + 3


class Language(eqx.Module):
    shared: eqx.nn.Shared
    rnn: RNN

    def __call__(self, tokens):
        embedding, head = self.shared()
        return jax.vmap(head)(self.rnn(jax.vmap(embedding)(tokens)))


def test_equinox_shared():
    pair = eqx.nn.Embedding(20, 8, **F32), linear(8, 20)
    shared = eqx.nn.Shared(pair, lambda pair: pair[1].weight, lambda pair: pair[0].weight)
    table = summary(Language(shared, RNN(GRUCell(8, 8, **F32))), struct(6, dtype=jnp.int32))
    assert numbers(table, "shared.pytree[0]") == (160, 0)
    assert numbers(table, "shared.pytree[1]") == (20, 160)


def test_equinox_containers():
    head = eqx.nn.Lambda(eqx.filter_vmap(linear(32, 5)))
    model = eqx.nn.Sequential([RNN(LSTM), eqx.nn.Dropout(0.1), head])
    table = summary(model, struct(7, 10))
    assert [found.label for found in table.rows][-1].endswith("fn._fun: Linear")
    assert (table.parameters, table.multiply_adds) == (LSTM_NUMBERS[0] + 165, 5376 + 160)


class Ensemble(eqx.Module):
    rnns: eqx_rnn.Stacked

    def __call__(self, x):
        run = lambda rnn, x: rnn(x)
        return eqx.filter_vmap(run, in_axes=(eqx.if_array(0), None))(self.rnns, x)


def test_an_ensemble():
    make = lambda key: eqx_rnn.Stacked([RNN(LSTMCell(10, 32, dtype=jnp.float32, key=key))])
    table = summary(Ensemble(eqx.filter_vmap(make)(jax.random.split(KEY, 5))), struct(4, 7, 10))
    assert numbers(table, "rnns.layers[0].cell") == (5 * LSTM_NUMBERS[0], LSTM_NUMBERS[1])
    assert table.rows[0].outputs.shape == (5, 4, 7, 32)


class Swapped(eqx_rnn.SequentialCell):
    """Holds its cells in another order."""

    second: LSTMCell
    first: LSTMCell
    cells = property(lambda self: (self.first, self.second))


def test_a_sequence_of_cells_of_a_user():
    cell = Swapped(LSTMCell(32, 4, **F32), LSTM)
    table = summary(cell, struct(2, 10))
    assert table.rows[0].outputs.shape == (2, 4)
    assert table.parameters == LSTM_NUMBERS[0] + 4 * 4 * 37
    assert table.multiply_adds == LSTM_NUMBERS[1] + 4 * 4 * 36
