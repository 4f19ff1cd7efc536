"""Combining cells or layers whose widths never fit is an error."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from cases import EACH_CLASS

import eqx_rnn
from eqx_rnn import (
    RNN,
    Bidirectional,
    ConvLSTMCell,
    GRUCell,
    LSTMCell,
    Residual,
    RNNCellBase,
    SequentialCell,
    Stacked,
    StackedCell,
    Zoneout,
)
from eqx_rnn._base.structs import output_struct
from eqx_rnn._base.widths import cell_outputs, input_struct

KEY = jax.random.key(0)


def lstm(input_size, hidden_size, **options):
    return LSTMCell(input_size, hidden_size, key=KEY, **options)


def gru(input_size, hidden_size=4):
    return GRUCell(input_size, hidden_size, key=KEY)


def conv(input_size, hidden_size):
    return ConvLSTMCell(input_size, hidden_size, (3, 3), key=KEY)


def both(merge, *hidden_sizes):
    return Bidirectional(*(RNN(lstm(3, n)) for n in hidden_sizes), merge)


class Own(RNNCellBase):
    """A user's cell whose width is known only from a step."""

    weight: jax.Array
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return jnp.zeros((*sample_input.shape[:-1], self.weight.shape[1]))

    def __call__(self, carry, inputs, *, key=None):
        return carry, inputs @ self.weight


class Sized(Own):
    input_size: int = eqx.field(static=True)


class Failing(Sized):
    def __call__(self, carry, inputs, *, key=None):
        raise RuntimeError("needs more than a shape")


class Row(SequentialCell):
    cells: tuple[RNNCellBase, ...]


def own(input_size, size):
    return Own(jnp.ones((input_size, size)))


def sized(input_size, size, cell_type=Sized):
    return cell_type(jnp.ones((input_size, size)), input_size)


# A first part, and a way to put a part of another width on top of it.
BELOW = {
    "vectors": (lambda: lstm(10, 32), 32),
    "projected": (lambda: lstm(3, 32, proj_size=5), 5),
    "wrapped": (lambda: Zoneout(eqx_rnn.LearnedCarry(lstm(3, 6))), 6),
    "stacked": (lambda: StackedCell([lstm(3, 6), gru(6, 7)]), 7),
    "of a user": (lambda: sized(3, 6), 6),
    "of a user, wrapped": (lambda: Zoneout(sized(3, 6), 0.0), 6),
    "of a user, in a row": (lambda: Row((lstm(3, 6), own(6, 8))), 8),
}
LAYERS_BELOW = {
    "concat": (lambda: both("concat", 4, 6), 10),
    "sum": (lambda: both("sum", 4, 4), 4),
    "a function": (lambda: both(lambda a, b: jnp.maximum(a, b)[..., :3], 4, 4), 3),
    "nested": (lambda: Stacked([RNN(lstm(3, 4)), Stacked([RNN(gru(4, 6))])]), 6),
}


@pytest.mark.parametrize("name", BELOW)
def test_stacked_cell(name):
    make, width = BELOW[name]
    StackedCell([make(), gru(width), gru(4)])
    above = Zoneout(gru(width + 1))
    message = rf"StackedCell: `cells\[1\]` must take in {width} features, as many as `cells\[0\]`"
    with pytest.raises(ValueError, match=message):
        StackedCell([make(), above, gru(4)])
    message = rf"Stacked: `layers\[1\]` must take in {width} features.* got input_size={width + 1}"
    with pytest.raises(ValueError, match=message):
        Stacked([RNN(make()), RNN(above)])


@pytest.mark.parametrize("name", LAYERS_BELOW)
def test_stacked(name):
    make, width = LAYERS_BELOW[name]
    above = lambda size: Bidirectional(RNN(gru(size)), RNN(gru(size)))
    Stacked([make(), above(width)])
    with pytest.raises(ValueError, match=rf"`layers\[1\]` must take in {width} features"):
        Stacked([make(), above(width + 1)])


def test_between_layers():
    two = lambda size: [RNN(gru(3, 5)), RNN(gru(5, size))]
    Stacked(two(5), residual=True, norms=[eqx.nn.LayerNorm(5)])
    with pytest.raises(ValueError, match=r"with `residual`, `layers\[1\]`"):
        Stacked(two(6), residual=True)
    with pytest.raises(ValueError, match=r"`norms\[0\]` must be for 5 features"):
        Stacked(two(5), norms=[eqx.nn.RMSNorm(4)])


def test_two_directions():
    with pytest.raises(ValueError, match=r"`backward_rnn` must take .* input_size=3 .* got 5"):
        Bidirectional(RNN(lstm(3, 4)), RNN(Zoneout(lstm(5, 4))))
    for merge in ("sum", "mul", "ave"):
        with pytest.raises(ValueError, match="return equally many features, got 4 and 6"):
            both(merge, 4, 6)


def test_residual():
    Residual(gru(4))
    Residual(own(3, 4))
    with pytest.raises(ValueError, match="Residual: `cell` must return one array of the shape"):
        Residual(Zoneout(gru(3)))
    with pytest.raises(ValueError, match="Residual: `cell` must return one array of the shape"):
        Residual(ConvLSTMCell(2, 2, (3, 3), strides=2, key=KEY))


def test_channels_are_known_and_space_is_not():
    StackedCell([conv(2, 3), conv(3, 2)])
    with pytest.raises(ValueError, match=r"`cells\[1\]` must take in 3 features"):
        StackedCell([conv(2, 3), conv(2, 2)])
    small = jax.ShapeDtypeStruct((6, 6, 2), float)
    StackedCell([eqx_rnn.LearnedCarry(conv(2, 3), small), conv(3, 2)])
    StackedCell([ConvLSTMCell(2, 3, (40, 40), padding="VALID", key=KEY), conv(3, 2)])


def test_what_is_unknown_is_no_error():
    StackedCell([own(3, 5), gru(9)])
    StackedCell([sized(3, 5, Failing), gru(9)])
    StackedCell([gru(3), own(9, 5)])
    Stacked([RNN(own(3, 5)), RNN(gru(9))], residual=True)
    Bidirectional(RNN(own(3, 4)), RNN(gru(9)), "sum")
    ensemble = eqx.filter_vmap(lambda key: GRUCell(4, 4, key=key))(jax.random.split(KEY, 2))
    Stacked([RNN(ensemble), RNN(gru(4))])


def test_an_unknown_part_passes_on_what_is_known():
    with pytest.raises(ValueError, match=r"`cells\[2\]` must take in 5 features"):
        StackedCell([gru(3), own(4, 5), gru(9)])


@pytest.mark.parametrize("case", EACH_CLASS, ids=lambda case: case.name)
def test_cells_tell_what_a_step_returns(case):
    cell = case.cell(jnp.float32)
    inputs = input_struct(cell)
    if inputs is None:
        assert case.name.endswith("plain"), "only a user's cell has no `input_size`"
        return
    sample = jax.ShapeDtypeStruct(case.features, jnp.float32)
    outputs = output_struct(cell, sample)
    assert inputs.shape[-1] == case.features[-1]
    assert inputs.ndim == len(case.features)
    known = cell_outputs(cell, inputs)
    assert (known.ndim, known.shape[-1]) == (outputs.ndim, outputs.shape[-1])


class Embedding(GRUCell):
    """A user's cell that inherits its `input_size` from one of our cells."""

    table: jax.Array

    def __init__(self, input_size, embedded_size, hidden_size):
        super().__init__(embedded_size, hidden_size, key=KEY)
        self.table = jnp.ones((input_size, embedded_size))

    def initialize_carry(self, key, sample_input):
        sample = jax.ShapeDtypeStruct((*sample_input.shape[:-1], self.input_size), jnp.float32)
        return super().initialize_carry(key, sample)

    def project_input(self, inputs):
        return super().project_input(inputs @ self.table)


class Around(RNNCellBase):
    """A user's cell with a field `cell`. The checks ignore the content of this field."""

    cell: eqx.Module
    cells: dict
    layers: list
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return jnp.zeros((*sample_input.shape[:-1], self.cell.hidden_size))

    def __call__(self, carry, inputs, *, key=None):
        step = self.cell
        for _ in range(inputs.ndim - 1):
            step = jax.vmap(step)
        inputs = jnp.concatenate([inputs, inputs], axis=-1)
        carry = step(inputs, carry)
        return carry, carry


class Readout(RNN):
    """A user's layer that changes widths."""

    def __call__(self, inputs, **options):
        carry, outputs = super().__call__(inputs[..., :3], **options)
        return carry, outputs[..., :2]


def around(input_size):
    return Around(eqx.nn.GRUCell(2 * input_size, 4, key=KEY), {}, [])


@pytest.mark.parametrize(
    "make",
    [
        lambda: [RNN(gru(3, 5)), RNN(Embedding(5, 6, 4)), RNN(gru(4))],
        lambda: [RNN(around(3)), RNN(gru(4)), RNN(Zoneout(around(4), inference=True))],
        lambda: [Readout(gru(3)), RNN(gru(2)), Readout(gru(3))],
        lambda: [Bidirectional(RNN(gru(3)), RNN(Embedding(3, 6, 4))), RNN(gru(8))],
    ],
)
def test_classes_of_users_are_not_guessed(make):
    layers = make()
    expected = jnp.ones((2, 5, 3))
    for layer in layers:
        expected = layer(expected, return_carry=True)[1]
    assert jnp.array_equal(Stacked(layers)(jnp.ones((2, 5, 3))), expected)


def test_a_user_may_hold_an_ensemble():
    class Heads(RNNCellBase):
        cell: GRUCell
        num_feature_dims = 1

        def initialize_carry(self, key, sample_input):
            return jnp.zeros((*sample_input.shape[:-1], 2, 4))

        def __call__(self, carry, inputs, *, key=None):
            step = lambda cell, carry: cell(carry, inputs)
            carry, outputs = eqx.filter_vmap(step, in_axes=(0, -2), out_axes=-2)(self.cell, carry)
            return carry, outputs.mean(-2)

    cells = eqx.filter_vmap(lambda key: GRUCell(3, 4, key=key))(jax.random.split(KEY))
    assert RNN(Heads(cells))(jnp.ones((2, 5, 3))).shape == (2, 5, 4)
