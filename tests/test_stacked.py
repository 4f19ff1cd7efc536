"""`Stacked` against its layers called by hand, `StackedCell` against single steps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import assert_close, random_cell, random_like

import eqx_rnn
from eqx_rnn import RNN, Bidirectional, Stacked, StackedCell

LENGTHS = np.array([4, 0, 6])
RESETS = np.random.default_rng(5).random((3, 6)) < 0.4
HOLES = np.random.default_rng(6).random((3, 6)) < 0.6
XS = random_like(jax.ShapeDtypeStruct((3, 6, 3), float), 2)


def layers(**options):
    """Every kind of layer, each with a different width."""
    return [
        RNN(random_cell(eqx_rnn.LSTMCell, 3, 5, seed=0, proj_size=4), **options),
        Bidirectional(
            RNN(random_cell(eqx_rnn.GRUCell, 4, 2, seed=1), **options),
            RNN(random_cell(eqx_rnn.SimpleCell, 4, 3, seed=2), **options),
        ),
        RNN(random_cell(eqx_rnn.MGUCell, 5, 4, seed=3), reverse=True, keep_order=True, **options),
        Stacked([RNN(random_cell(eqx_rnn.GRUCell, 4, 2, seed=4), **options)]),
    ]


@pytest.mark.parametrize("return_carry", [True, "all"])
@pytest.mark.parametrize("options", [{}, {"seq_lengths": LENGTHS}, {"mask": HOLES}], ids=", ".join)
def test_equals_its_layers_by_hand(options, return_carry):
    parts = layers()
    start, _ = Stacked(parts)(XS, return_carry=True)
    start = random_like(start, 9)
    result = Stacked(parts)(XS, initial_carry=start, return_carry=return_carry, **options)
    carries, ys = [], XS
    for layer, carry in zip(parts, start, strict=True):
        carry, ys = layer(ys, initial_carry=carry, return_carry=return_carry, **options)
        carries.append(carry)
    assert_close(result, (tuple(carries), ys))


@pytest.mark.parametrize("options", [{}, {"seq_lengths": LENGTHS}], ids=", ".join)
def test_resets_mean_the_first_step_in_every_layer(options):
    parts = layers()
    ys = Stacked(parts)(XS, resets=RESETS, **options)
    expected = parts[1](parts[0](XS, resets=RESETS, **options), resets=RESETS, **options)
    beside = RNN(random_cell(eqx_rnn.SimpleCell, 5, 1, seed=8))
    _, expected = Bidirectional(beside, parts[2], None)(expected, resets=RESETS, **options)
    assert_close(ys, parts[3](expected, resets=RESETS, **options))


def test_time_major_vmap_and_jit():
    stacked, options = Stacked(layers()), {"seq_lengths": LENGTHS, "resets": RESETS}
    expected = stacked(XS, **options)
    major = Stacked(layers(time_major=True))
    ys = major(jnp.moveaxis(XS, 1, 0), seq_lengths=LENGTHS, resets=RESETS.T)
    assert_close(jnp.moveaxis(ys, 0, 1), expected)
    assert_close(eqx.filter_jit(stacked)(XS, **options), expected)
    single = lambda x, n, r: stacked(x, seq_lengths=n, resets=r)
    assert_close(jax.vmap(single)(XS, LENGTHS, RESETS), expected)


def test_none_in_a_carry_is_the_layers_own():
    stacked = Stacked(layers())
    (first, *_), _ = stacked(XS, return_carry=True)
    ys = stacked(XS, initial_carry=(first, None, None, None))
    own = stacked(XS[:, :0], return_carry=True)[0]
    assert_close(ys, stacked(XS, initial_carry=(first, *own[1:])))


def test_norms_and_residual_connections():
    sizes = [(3, 4), (4, 4), (4, 4)]
    parts = [RNN(random_cell(eqx_rnn.GRUCell, *size, seed=k)) for k, size in enumerate(sizes)]
    norms = [random_like(eqx.nn.LayerNorm(4), 5), random_like(eqx.nn.RMSNorm(4), 6)]
    ys = Stacked(parts, residual=True, norms=norms)(XS, seq_lengths=LENGTHS)

    h = np.asarray(parts[0](XS, seq_lengths=LENGTHS))
    centred = h - h.mean(-1, keepdims=True)
    normed = centred / np.sqrt(centred.var(-1, keepdims=True) + norms[0].eps)
    normed = normed * norms[0].weight + norms[0].bias
    h = h + parts[1](normed, seq_lengths=LENGTHS)
    normed = h / np.sqrt((h**2).mean(-1, keepdims=True) + norms[1].eps)
    normed = normed * norms[1].weight + norms[1].bias
    h = h + parts[2](normed, seq_lengths=LENGTHS)
    np.testing.assert_allclose(ys, h, rtol=1e-6, atol=1e-6)  # the norms' weights are float32
    assert np.all(ys[1] == 0)


class Echo(eqx_rnn.RNNCellBase):
    """Returns its inputs. With a key, its new carry is random."""

    num_feature_dims = property(lambda self: 1)

    def initialize_carry(self, key, sample_input):
        return jnp.zeros(sample_input.shape)

    def __call__(self, carry, inputs, *, key=None):
        return carry if key is None else jr.normal(key, carry.shape), inputs


def test_dropout_between_layers_only():
    ones, key = jnp.ones((50, 40, 2)), jr.key(0)
    three = Stacked([RNN(Echo()), RNN(Echo()), RNN(Echo())], dropout=0.5)
    ys = three(ones, key=key)
    assert set(np.unique(ys)) == {0, 4}  # twice dropped, the rest twice doubled
    assert 0.22 < np.mean(ys != 0) < 0.28
    np.testing.assert_array_equal(ys, three(ones, key=key))
    assert np.any(ys != three(ones, key=jr.key(1)))
    np.testing.assert_array_equal(Stacked([RNN(Echo())], dropout=0.5)(ones), ones)
    nested = Stacked([three, RNN(Echo())], dropout=0.5)
    still = eqx.nn.inference_mode(nested)
    np.testing.assert_array_equal(still(ones), ones)
    assert 0.1 < np.mean(eqx.nn.inference_mode(still, value=False)(ones, key=key) != 0) < 0.15


def test_each_layer_draws_for_itself():
    two = Stacked([RNN(Echo()), RNN(Echo())])
    (first, second), _ = two(XS, return_carry=True, key=jr.key(0))
    assert not np.any(first == second)


def test_without_dropout_only_arrays_are_leaves():
    """So `jax.grad` and `jax.jit` accept a stack directly."""
    stacked = Stacked(layers())
    gradient = jax.jit(jax.grad(lambda stacked: jnp.sum(stacked(XS))))(stacked)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient))


def test_create():
    make = lambda *args, **options: Stacked.create(*args, key=jr.key(0), **options)
    stacked = make(
        eqx_rnn.LSTMCell,
        3,
        5,
        num_layers=3,
        bidirectional=True,
        proj_size=2,
        dropout=0.25,
        residual=True,
        layer_norm=True,
        time_major=True,
        dtype=jnp.float64,
    )
    assert [layer.forward_rnn.cell.input_size for layer in stacked.layers] == [3, 4, 4]
    assert [layer.time_major for layer in stacked.layers] == [True] * 3
    assert [(norm.shape, norm.weight.dtype) for norm in stacked.norms] == [((4,), float)] * 2
    assert stacked.dropout.p == 0.25
    assert stacked(jnp.moveaxis(XS, 1, 0), key=jr.key(0)).shape == (6, 3, 4)
    cells = [rnn.cell for two in stacked.layers for rnn in (two.forward_rnn, two.backward_rnn)]
    assert len({float(cell.weight_hh[0, 0]) for cell in cells}) == 6

    conv = make(eqx_rnn.ConvLSTMCell, 2, 4, num_layers=2, kernel_size=(3, 3), padding="VALID")
    assert conv(jnp.ones((2, 5, 7, 8, 2))).shape == (2, 5, 3, 4, 4)
    assert make(eqx_rnn.GRUCell, 3, 4, num_layers=1, dropout=0.5)(XS).shape == (3, 6, 4)


def test_tied_layers():
    """`eqx.nn.Shared` ties the cells of two layers. The gradient is the sum over both layers."""
    cells = [random_cell(eqx_rnn.GRUCell, 3, 3, seed=seed) for seed in (0, 1)]
    cell_of = lambda k: lambda stacked: stacked.layers[k].cell
    loss = lambda stacked: jnp.sum(jnp.sin(stacked(XS)))
    shared = eqx.nn.Shared(Stacked([RNN(cell) for cell in cells]), cell_of(1), cell_of(0))
    tied = eqx.filter_grad(lambda shared: loss(shared()))(shared).pytree.layers[0].cell
    same = random_cell(eqx_rnn.GRUCell, 3, 3, seed=0)
    apart = eqx.filter_grad(loss)(Stacked([RNN(cells[0]), RNN(same)]))
    both = jax.tree.map(jnp.add, apart.layers[0].cell, apart.layers[1].cell)
    assert_close(tied, both)


def stacked_cell():
    """A nested stack with an LSTM and a projection in it."""
    lower = [
        random_cell(eqx_rnn.LSTMCell, 3, 5, seed=0, proj_size=4),
        random_cell(eqx_rnn.GRUCell, 4, 2, seed=1),
    ]
    return StackedCell([StackedCell(lower), random_cell(eqx_rnn.LSTMCell, 2, 3, seed=2)])


class OneCell(eqx_rnn.RNNCellBase):
    """Hides the parts of a cell, so that `RNN` runs it step by step."""

    cell: eqx_rnn.RNNCellBase
    num_feature_dims = property(lambda self: self.cell.num_feature_dims)

    def initialize_carry(self, key, sample_input):
        return self.cell.initialize_carry(key, sample_input)

    def __call__(self, carry, inputs, *, key=None):
        return self.cell(carry, inputs, key=key)


@pytest.mark.parametrize(
    ("rnn_options", "options", "return_carry"),
    [
        ({}, {"seq_lengths": LENGTHS, "resets": RESETS}, True),
        ({"reverse": True}, {"seq_lengths": LENGTHS, "resets": RESETS}, "all"),
        ({"reverse": True, "keep_order": True, "checkpoint": 4}, {"mask": HOLES}, True),
        ({"truncate": 4, "unroll": 2}, {"resets": RESETS}, "all"),
        ({"truncate": 4, "reverse": True}, {}, False),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_layer_by_layer_equals_step_by_step(rnn_options, options, return_carry):
    """Values and gradients, from a given carry."""
    cell = stacked_cell() if not rnn_options else stacked_cell().cells[0]
    start = random_like(cell.initialize_carry(None, XS[:, 0]), 7)

    def value_and_gradients(wrap):
        def loss(args):
            cell, xs, start = args
            rnn = RNN(wrap(cell), **rnn_options)
            result = rnn(xs, initial_carry=start, return_carry=return_carry, **options)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(result)), result

        return eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))((cell, XS, start))

    assert_close(value_and_gradients(lambda cell: cell), value_and_gradients(OneCell))


class Noisy(Echo):
    """Adds noise to its inputs."""

    def __call__(self, carry, inputs, *, key=None):
        return carry + inputs, inputs + jr.normal(key, inputs.shape)

    def initialize_carry(self, key, sample_input):
        return jr.normal(key, sample_input.shape)


@pytest.mark.parametrize("make_key", [jr.key, jr.PRNGKey])
def test_layer_by_layer_draws_as_step_by_step(make_key):
    cell = StackedCell([Noisy(), StackedCell([Noisy(), Noisy()])])
    run = lambda cell: RNN(cell)(XS, key=make_key(0), return_carry="all", resets=RESETS)
    (first, (second, third)), ys = run(cell)
    assert_close(run(OneCell(cell)), ((first, (second, third)), ys))
    assert len(np.unique(ys - XS)) == ys.size
    assert not np.any((first == second) | (second == third))


def test_steps_of_a_stack():
    """The cell has the same arrays, not copies, and gives the same numbers."""
    stacked = Stacked.create(eqx_rnn.LSTMCell, 3, 4, num_layers=3, dtype=float, key=jr.key(0))
    cell = StackedCell([layer.cell for layer in stacked.layers])
    pairs = zip(jax.tree.leaves(cell), jax.tree.leaves(stacked), strict=True)
    assert all(a is b for a, b in pairs)
    carry = cell.initialize_carry(None, jax.ShapeDtypeStruct((3, 3), float))
    step, ys = eqx.filter_jit(cell), []
    for t in range(6):
        carry, y = step(carry, XS[:, t])
        ys.append(y)
    assert_close((carry, jnp.stack(ys, 1)), stacked(XS, return_carry=True))
    assert_close((carry, jnp.stack(ys, 1)), RNN(cell)(XS, return_carry=True))
    assert_close(jax.vmap(RNN(cell))(XS), jnp.stack(ys, 1))


def test_a_stacked_cell_in_both_directions():
    halves = stacked_cell(), random_like(stacked_cell(), 11)
    forward, backward = Bidirectional(RNN(halves[0]), RNN(halves[1]), None)(
        XS, seq_lengths=LENGTHS, resets=RESETS
    )
    assert_close(forward, RNN(OneCell(halves[0]))(XS, seq_lengths=LENGTHS, resets=RESETS))
    one_cell = Bidirectional(RNN(OneCell(halves[0])), RNN(OneCell(halves[1])), None)
    assert_close(backward, one_cell(XS, seq_lengths=LENGTHS, resets=RESETS)[1])


def test_layers_with_other_inputs_than_vectors():
    """Tokens at the bottom, vectors above. Each layer finds its own axes."""

    class Embed(eqx_rnn.RNNCellBase):
        rows: jax.Array
        num_feature_dims = property(lambda self: 0)

        def initialize_carry(self, key, sample_input):
            return jnp.zeros(sample_input.shape)

        def __call__(self, carry, inputs, *, key=None):
            return carry, self.rows[inputs]

    embed, gru = Embed(XS[0]), random_cell(eqx_rnn.GRUCell, 3, 2, seed=0)
    tokens = np.random.default_rng(0).integers(0, 6, (3, 6))
    expected = RNN(gru)(XS[0][tokens], seq_lengths=LENGTHS)
    assert_close(Stacked([RNN(embed), RNN(gru)])(tokens, seq_lengths=LENGTHS), expected)
    assert_close(RNN(StackedCell([embed, gru]))(tokens, seq_lengths=LENGTHS), expected)


def test_a_stack_of_convolutions():
    cells = [random_cell(eqx_rnn.ConvGRUCell, n, 3, (2,), seed=n, strides=2) for n in (2, 3)]
    xs = random_like(jax.ShapeDtypeStruct((2, 3, 8, 2), float), 0)
    assert_close(RNN(StackedCell(cells))(xs), RNN(cells[1])(RNN(cells[0])(xs)))


def test_wrapped_cells_as_one_cell():
    """Each wrapper in a stack draws its masks once. Single steps by hand draw the same masks."""
    cells = [
        eqx_rnn.DropConnect(eqx_rnn.LSTMCell(3, 4, key=jr.key(0)), 0.5),
        eqx_rnn.RecurrentDropout(eqx_rnn.GRUCell(4, 5, key=jr.key(1)), 0.3, 0.4),
    ]
    stacked = StackedCell(cells)
    xs, key = jr.normal(jr.key(2), (2, 6, 3)), jr.key(3)
    final, ys = RNN(stacked)(xs, key=key, return_carry=True)

    carry_key, step_key, begin_key = jr.split(key, 3)
    start = stacked.initialize_carry(carry_key, xs[:, 0])
    cell, carry, finish = stacked.begin(start, key=begin_key)
    for t, one_key in enumerate(jr.split(step_key, 6)):
        carry, y = cell(carry, xs[:, t], key=one_key)
        np.testing.assert_allclose(ys[:, t], y, rtol=1e-10, atol=1e-10)
    jax.tree.map(np.testing.assert_allclose, final, finish(carry))

    at_inference = RNN(eqx.nn.inference_mode(stacked))(xs)
    assert not np.allclose(at_inference, ys)
    inner = StackedCell([cell.cell for cell in cells])
    np.testing.assert_allclose(at_inference, RNN(inner)(xs), rtol=1e-10, atol=1e-10)
