"""Common behaviour of layers: first carries, sizes, steps of a stack, layers of users."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from cases import FEW_CASES
from helpers import assert_close, random_cell, random_like

import eqx_rnn
from eqx_rnn import RNN, AbstractLayer, Bidirectional, GRUCell, LSTMCell, Stacked

LENGTHS = np.array([4, 0, 6])
PREFIX = np.arange(6) < LENGTHS[:, None]
HOLES = np.random.default_rng(6).random((3, 6)) < 0.6
XS = random_like(jax.ShapeDtypeStruct((3, 6, 3), float), 2)


def lstm(*sizes, seed=0, **options):
    return RNN(random_cell(LSTMCell, *sizes, seed=seed, **options))


def gru(*sizes, seed=1, **options):
    return RNN(random_cell(GRUCell, *sizes, seed=seed), **options)


def both(*sizes, merge="concat"):
    return Bidirectional(lstm(*sizes, seed=2), gru(*sizes, seed=3), merge)


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@pytest.mark.parametrize("case", FEW_CASES, ids=lambda case: case.name)
def test_the_first_carry_of_an_rnn(case):
    cell, xs = case.cell(), case.inputs(2, 3)
    rnn = RNN(cell, time_major=True)
    carry = rnn.initialize_carry(None, xs[:, 0])
    assert_close(carry, cell.initialize_carry(None, xs[:, 0]))
    steps = jnp.moveaxis(xs, 1, 0)
    run = lambda carry: rnn(steps, initial_carry=carry, return_carry=True)[0]
    assert shapes(jax.eval_shape(run, carry)) == shapes(carry)


def mixed():
    """A projection, two directions, a norm, and a stack in a stack."""
    inner = Stacked([gru(5, 5), both(5, 5, merge="sum")], residual=True)
    layers = [lstm(3, 4, proj_size=2), both(2, 3), gru(6, 5, reverse=True, keep_order=True), inner]
    return Stacked(layers, norms=[eqx.nn.LayerNorm(n, dtype=float) for n in (2, 6, 5)])


@pytest.mark.parametrize("make", [lambda: both(3, 4), mixed], ids=["bidirectional", "stacked"])
def test_the_first_carry_of_a_layer(make):
    layer = make()
    carry = layer.initialize_carry(None, jax.ShapeDtypeStruct((3, 3), float))
    final, outputs = layer(XS, return_carry=True)
    assert shapes(carry) == shapes(final)
    assert_close(layer(XS, initial_carry=carry), outputs)
    unbatched = layer.initialize_carry(None, XS[0, 0])
    assert_close(unbatched, jax.tree.map(lambda leaf: leaf[0], carry))


def test_a_stack_of_images_starts_from_images():
    cells = [random_cell(eqx_rnn.ConvGRUCell, n, 3, (3,), seed=n, strides=2) for n in (2, 3)]
    stacked = Stacked([RNN(cell) for cell in cells])
    carry = stacked.initialize_carry(None, jnp.zeros((2, 8, 2)))
    assert [leaf.shape for leaf in jax.tree.leaves(carry)] == [(2, 4, 3), (2, 2, 3)]


def test_layers_draw_their_first_carries_apart():
    make = lambda *sizes: GRUCell(*sizes, carry_init=jax.nn.initializers.normal(), key=jr.key(0))
    stacked = Stacked([RNN(make(3, 4)), Stacked([RNN(make(4, 4))]), RNN(make(4, 4))])
    carry = stacked.initialize_carry(jr.key(1), XS[:, 0])
    assert len(np.unique(jax.tree.leaves(carry))) == 3 * 3 * 4
    assert_close(carry, stacked.as_cell().initialize_carry(jr.key(1), XS[:, 0]))
    pair = Bidirectional(RNN(make(3, 4)), RNN(make(3, 4))).initialize_carry(jr.key(1), XS[:, 0])
    assert not np.any(pair[0] == pair[1])


def test_sizes():
    assert (lstm(3, 4).input_size, lstm(3, 4).hidden_size, lstm(3, 4).output_size) == (3, 4, 4)
    wrapped = RNN(eqx_rnn.Zoneout(random_cell(LSTMCell, 3, 4, seed=0, proj_size=2)))
    assert (wrapped.input_size, wrapped.hidden_size, wrapped.output_size) == (3, 4, 2)
    assert (both(3, 4).input_size, both(3, 4).output_size) == (3, 8)
    assert both(3, 4, merge=jnp.maximum).output_size == 4
    assert (mixed().input_size, mixed().output_size, mixed().num_layers) == (3, 5, 4)
    conv = RNN(random_cell(eqx_rnn.ConvLSTMCell, 2, 5, (3, 3), seed=0))
    assert (conv.input_size, conv.output_size) == (2, 5)
    assert Stacked([lstm(3, 4), Dense(eqx.nn.Linear(4, 2, key=jr.key(0)))]).input_size == 3
    with pytest.raises(AttributeError, match="RNN has no `output_size`"):
        _ = RNN(Add()).output_size
    assert not hasattr(both(3, 4, merge=None), "output_size")  # a pair


class Add(eqx_rnn.RNNCellBase):
    """A cell whose sizes are those of its inputs."""

    num_feature_dims = property(lambda self: 1)

    def initialize_carry(self, key, sample_input):
        return jnp.zeros(sample_input.shape)

    def __call__(self, carry, inputs, *, key=None):
        return carry + inputs, carry


# Steps of a stack.


def stack(residual):
    """A stack in a stack, with an LSTM and a projection in it."""
    inner = Stacked([gru(3, 3), lstm(3, 5, proj_size=3)], residual=residual)
    return Stacked([lstm(3, 3), inner, gru(3, 3, seed=5)], residual=residual)


@pytest.mark.parametrize("residual", [False, True])
def test_a_stack_goes_on_step_by_step(residual):
    """The layer runs a prefix of each sequence. The cell continues where the prefix ended."""
    stacked = stack(residual)
    cell = stacked.as_cell()
    pairs = zip(jax.tree.leaves(cell), jax.tree.leaves(stacked), strict=True)
    assert all(a is b for a, b in pairs)

    more = random_like(jax.ShapeDtypeStruct((3, 2, 3), float), 4)
    carry, _ = stacked(XS, seq_lengths=LENGTHS, return_carry=True)
    assert shapes(carry) == shapes(cell.initialize_carry(None, XS[:, 0]))
    step, outputs = eqx.filter_jit(cell), []
    for t in range(2):
        carry, output = step(carry, more[:, t])
        outputs.append(output)
    whole = np.zeros((3, 8, 3))
    for b, n in enumerate(LENGTHS):
        whole[b, : n + 2] = np.concatenate([XS[b, :n], more[b]])
    final, expected = stacked(whole, seq_lengths=LENGTHS + 2, return_carry=True)
    assert_close(carry, final)
    for b, n in enumerate(LENGTHS):
        assert_close(jnp.stack(outputs, 1)[b], expected[b, n : n + 2])


def test_steps_of_layers_with_options_that_do_not_matter():
    cells = random_cell(GRUCell, 3, 4, seed=0), random_cell(GRUCell, 4, 4, seed=1)
    options = dict(time_major=True, unroll=2, checkpoint=True, truncate=3, check_lengths=False)
    stacked = Stacked([RNN(cell, **options) for cell in cells], dropout=0.5)
    cell = eqx.nn.inference_mode(stacked).as_cell()
    assert_close(RNN(cell)(XS), RNN(cells[1])(RNN(cells[0])(XS)))
    assert Stacked([lstm(3, 4)], dropout=0.5, norms=[]).as_cell().cells[0].hidden_size == 4


def test_steps_of_tied_layers():
    cell_of = lambda k: lambda stacked: stacked.layers[k].cell
    apart = Stacked([gru(3, 3), gru(3, 3, seed=8)])
    tied = eqx.nn.Shared(apart, cell_of(1), cell_of(0))()
    assert_close(RNN(tied.as_cell())(XS), tied(XS))


class Dense(AbstractLayer):
    linear: eqx.nn.Linear
    time_major: bool = eqx.field(static=True, default=False)
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return ()

    def __call__(self, inputs, *, return_carry=False, **options):
        outputs = jnp.vectorize(self.linear, signature="(n)->(m)")(inputs)
        return ((), outputs) if return_carry else outputs


class Readout(RNN):
    """A user's layer that changes the outputs of `RNN`."""

    def __call__(self, inputs, **options):
        carry, outputs = super().__call__(inputs, **options)
        return carry, outputs[..., :2]


def dense(*sizes, **options):
    return Dense(random_like(eqx.nn.Linear(*sizes, dtype=float, key=jr.key(0)), 9), **options)


NO_STEPS = {
    "two directions": (lambda: [both(3, 4)], {}, r"`layers\[0\]` must run forward, got a `Bidir"),
    "reversed": (lambda: [gru(3, 4, reverse=True)], {}, r"`layers\[0\]` must run forward, got rev"),
    "reversed inside": (
        lambda: [lstm(3, 4), Stacked([gru(4, 4), gru(4, 4, reverse=True, seed=4)])],
        {},
        r"`layers\[1\].layers\[1\]` must run forward",
    ),
    "norms": (
        lambda: [lstm(3, 4), gru(4, 4)],
        {"norms": [eqx.nn.LayerNorm(4)]},
        "`norms` must be None, got 1. .* time axis of length 1",
    ),
    "norms inside": (
        lambda: [lstm(3, 3), Stacked([lstm(3, 4, seed=5), gru(4, 4)], norms=[eqx.nn.RMSNorm(4)])],
        {},
        r"`layers\[1\].norms` must be None",
    ),
    "dropout": (
        lambda: [lstm(3, 4), gru(4, 4)],
        {"dropout": 0.5},
        "`dropout` must be off, got dropout=0.5.*inference_mode",
    ),
    "a user's layer": (
        lambda: [lstm(3, 4), dense(4, 4)],
        {},
        r"`layers\[1\]` must be an `RNN` or a `Stacked`, got Dense",
    ),
    "a user's subclass": (
        lambda: [Readout(random_cell(GRUCell, 3, 4, seed=0))],
        {},
        r"`layers\[0\]` must be an `RNN` or a `Stacked`, got Readout",
    ),
}


@pytest.mark.parametrize("name", NO_STEPS)
def test_a_stack_that_cannot_be_stepped_says_why(name):
    make, options, message = NO_STEPS[name]
    stacked = Stacked(make(), **options)
    with pytest.raises((TypeError, ValueError), match=f"Stacked.as_cell: {message}"):
        stacked.as_cell()


# Layers that users write.


class Smooth(AbstractLayer):
    """The mean of a step and the previous step, if both are valid, with a carry and keys."""

    scale: jax.Array
    num_feature_dims = 1
    time_major = False

    def initialize_carry(self, key, sample_input):
        return jnp.zeros(sample_input.shape, sample_input.dtype)

    def __call__(
        self,
        inputs,
        *,
        initial_carry=None,
        seq_lengths=None,
        mask=None,
        resets=None,
        return_carry=False,
        key=None,
    ):
        before = jnp.zeros_like(inputs[:, 0]) if initial_carry is None else initial_carry
        steps = jnp.concatenate([before[:, None], inputs], 1)
        mean = self.scale * (steps[:, 1:] + steps[:, :-1]) / 2
        if resets is not None:
            mean = jnp.where(resets[..., None], inputs, mean)
        if key is not None:
            mean = mean + jr.normal(key, mean.shape)
        carry = eqx_rnn.last_valid(inputs, mask=jnp.ones(inputs.shape[:2], bool))
        if seq_lengths is not None:
            carry = eqx_rnn.last_valid(inputs, seq_lengths=seq_lengths)
        if return_carry == "all":
            carry = steps[:, 1:]
        return (carry, mean) if return_carry else mean


@pytest.mark.parametrize("options", [{}, {"seq_lengths": LENGTHS}, {"mask": HOLES}], ids=str)
def test_own_layers_in_a_stack(options):
    """Compares with single layers. Skipped steps are zero before and after a user's layer."""
    valid = {"seq_lengths": PREFIX, "mask": HOLES}.get(
        next(iter(options), ""), np.ones((3, 6), bool)
    )
    clear = lambda y: np.where(valid[..., None], y, 0)
    layers = [dense(3, 4), lstm(4, 4), Smooth(jnp.asarray(2.0)), gru(4, 4), dense(4, 4)]
    xs = np.where(valid[..., None], XS, np.nan)
    carries, ys = Stacked(layers)(xs, return_carry=True, **options)
    linear = lambda k, y: y @ layers[k].linear.weight.T + layers[k].linear.bias
    h = clear(linear(0, clear(xs)))
    h = np.asarray(layers[1](h, **options))
    h = clear(h + np.pad(h, [(0, 0), (1, 0), (0, 0)])[:, :-1])  # scale / 2 is 1
    final, h = layers[3](h, return_carry=True, **options)
    assert_close(ys, clear(linear(4, h)))
    assert (carries[0], carries[4]) == ((), ())
    assert_close(carries[3], final)


@pytest.mark.parametrize("options", [{"seq_lengths": LENGTHS}, {"mask": HOLES}], ids=str)
def test_nan_at_skipped_steps_reaches_no_own_layer(options):
    valid = {"seq_lengths": PREFIX, "mask": HOLES}[next(iter(options))]
    norms = [eqx.nn.LayerNorm(4, dtype=float) for _ in range(2)]
    stacked = Stacked([dense(3, 4), dense(4, 4), lstm(4, 4)], residual=True, norms=norms)

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(args):
        stacked, xs = args
        return jnp.sum(jnp.sin(stacked(xs, **options)))

    assert_close(*(gradient((stacked, jnp.where(valid[..., None], XS, x))) for x in (0, jnp.nan)))


def test_own_layers_get_resets_keys_and_carries():
    smooth = Smooth(jnp.asarray(1.0))
    stacked = Stacked([gru(3, 4), smooth, gru(4, 4, seed=7)])
    carries, ys = stacked(XS[:, :4], return_carry=True)
    after, rest = stacked(XS[:, 4:], initial_carry=carries, return_carry=True)
    whole, together = stacked(XS, return_carry=True)
    assert_close((after, jnp.concatenate([ys, rest], 1)), (whole, together))
    assert shapes(stacked.initialize_carry(None, XS[:, 0])) == shapes(whole)
    every, _ = stacked(XS, return_carry="all")
    assert_close(every[1], stacked.layers[0](XS))
    ends = stacked(XS, seq_lengths=LENGTHS, return_carry=True)[0][1]
    below = stacked.layers[0](XS, seq_lengths=LENGTHS)
    assert_close(ends, eqx_rnn.last_valid(below, seq_lengths=LENGTHS))

    resets = np.zeros((3, 6), bool)
    resets[:, [0, 3]] = True
    ys = stacked(XS, resets=resets)
    parts = gru(3, 4), gru(4, 4, seed=7)
    episodes = [parts[1](smooth(parts[0](x), resets=resets[:, :3])) for x in (XS[:, :3], XS[:, 3:])]
    assert_close(ys, jnp.concatenate(episodes, 1))
    noisy = [stacked(XS, key=jr.key(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert not np.any(noisy[0] == noisy[2])


def test_own_layers_time_major():
    layers = [dense(3, 4, time_major=True), RNN(gru(4, 4).cell, time_major=True)]
    ys = Stacked(layers)(jnp.moveaxis(XS, 1, 0), seq_lengths=LENGTHS)
    expected = Stacked([dense(3, 4), gru(4, 4)])(XS, seq_lengths=LENGTHS)
    assert_close(jnp.moveaxis(ys, 0, 1), expected)


class Forgetful(Dense):
    """Returns no carry."""

    def __call__(self, inputs, **options):
        return inputs


class Half(Dense):
    """Returns every second step."""

    def __call__(self, inputs, **options):
        return (), inputs[:, ::2]


WRONG_LAYERS = {
    "no pair": (Forgetful, {}, r"`layers\[1\]` must return the pair .carry, outputs.* Forgetful"),
    "other steps": (
        Half,
        {"seq_lengths": LENGTHS},
        r"`layers\[1\]` must keep the batch and time axes of its inputs, \(3, 6\), got .*3,3,4",
    ),
}


@pytest.mark.parametrize("name", WRONG_LAYERS)
def test_wrong_layers(name):
    layer_type, options, message = WRONG_LAYERS[name]
    stacked = Stacked([lstm(3, 4), layer_type(dense(4, 4).linear)])
    with pytest.raises((TypeError, ValueError), match=f"Stacked: {message}"):
        stacked(XS, **options)


def test_what_is_no_layer():
    linear = dense(4, 4).linear
    with pytest.raises(TypeError, match=r"`layers\[1\]` must be .* got Linear.*`AbstractLayer`"):
        Stacked([lstm(3, 4), linear])
    with pytest.raises(TypeError, match=r"got LSTMCell.* Wrap a cell first: `RNN\(cell\)`"):
        Stacked([lstm(3, 4), lstm(4, 4).cell])
    with pytest.raises(TypeError, match="abstract"):
        AbstractLayer()


def test_the_inputs_of_a_layer_above_are_named():
    stacked = Stacked([RNN(Add()), lstm(4, 2)])
    with pytest.raises(ValueError, match=r"Stacked: the inputs of `layers\[1\]` must be .*=4"):
        stacked.initialize_carry(None, XS[:, 0])
    for layer in (lstm(4, 2), both(4, 2), Stacked([lstm(4, 2)])):
        owner = type(layer).__name__
        for sample in (XS[:, 0], jnp.ones((2, 4), int), [1, 2]):
            with pytest.raises((TypeError, ValueError), match=f"^{owner}: `sample_input` must be"):
                layer.initialize_carry(None, sample)


# `eqx.nn.Sequential`, which calls `layer(x, key=key)`.


class PerStep(eqx.Module):
    """Maps each step of each sequence by a module that is written for one vector."""

    module: eqx.Module

    def __call__(self, inputs, *, key=None):
        return jnp.vectorize(self.module, signature="(n)->(m)")(inputs)


@pytest.mark.parametrize("key", [None, jr.key(0)], ids=["no key", "key"])
def test_sequential(key):
    norm = eqx.nn.LayerNorm(4, dtype=float)
    linear = dense(4, 2).linear
    layers = [lstm(3, 4), PerStep(norm), both(4, 2), Stacked([gru(4, 4)]), PerStep(linear)]
    model = eqx.nn.Sequential(layers)
    h = layers[0](XS)
    h = h - h.mean(-1, keepdims=True)
    h = h / jnp.sqrt(h.var(-1, keepdims=True) + norm.eps)
    expected = layers[3](layers[2](h)) @ linear.weight.T + linear.bias
    assert_close(model(XS, key=key), expected, rtol=1e-7, atol=1e-7)
    gradient = eqx.filter_grad(lambda model: jnp.sum(model(XS)))(model)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient.layers[-1]))


def test_a_model_of_one_sequence_under_vmap():
    """`eqx.nn` layers take one vector. The model is for one sequence, and `vmap` maps the batch."""
    rnn, linear = lstm(3, 4), dense(4, 2).linear
    model = lambda x, n: linear(eqx_rnn.last_valid(rnn(x, seq_lengths=n), seq_lengths=n))
    batched = jax.vmap(linear)(
        eqx_rnn.last_valid(rnn(XS, seq_lengths=LENGTHS), seq_lengths=LENGTHS)
    )
    assert_close(jax.vmap(model)(XS, LENGTHS), batched)


class Embed(AbstractLayer):
    """Tokens, which have no feature axis, to vectors."""

    rows: jax.Array
    num_feature_dims = 0
    time_major = False

    def initialize_carry(self, key, sample_input):
        return ()

    def __call__(self, inputs, *, return_carry=False, **options):
        return ((), self.rows[inputs]) if return_carry else self.rows[inputs]


class Convolution(AbstractLayer):
    """Sums neighbouring steps, so zeros at skipped steps are its padding."""

    num_feature_dims = 1
    time_major = False

    def initialize_carry(self, key, sample_input):
        return ()

    def __call__(self, inputs, *, return_carry=False, **options):
        padded = jnp.pad(inputs, [(0, 0)] * (inputs.ndim - 2) + [(1, 1), (0, 0)])
        outputs = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
        return ((), outputs) if return_carry else outputs


def test_own_layers_of_other_kinds():
    """Tokens at the bottom, a convolution over time between. Each row is as without its padding."""
    stacked = Stacked([Embed(XS[0]), Convolution(), gru(3, 4)])
    tokens = np.random.default_rng(0).integers(0, 6, (3, 6))
    final, ys = eqx.filter_jit(stacked)(tokens, seq_lengths=LENGTHS, return_carry=True)
    for b, n in enumerate(LENGTHS):
        carry, alone = stacked(tokens[b, :n], return_carry=True)
        assert_close(ys[b, :n], alone)
        assert_close(final[2][b], carry[2])
    assert not np.any(ys * ~PREFIX[..., None])
    assert shapes(stacked.initialize_carry(None, tokens[:, 0])) == shapes(final)
    single = lambda x, n: stacked(x, seq_lengths=n)
    assert_close(jax.vmap(single)(tokens, LENGTHS), ys)
