"""Sequences that arrive in pieces, and consecutive episodes, as in reinforcement learning."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import reference
from helpers import EXACT, assert_close, random_cell, random_like

import eqx_rnn
from eqx_rnn import RNN, Bidirectional, Stacked, StackedCell

TIME = 7
LENGTHS = np.array([4, 0, 7])
RESETS = np.random.default_rng(5).random((3, TIME)) < 0.3
XS = random_like(jax.ShapeDtypeStruct((3, TIME, 3), float), 2)
PIECES = [slice(0, 1), slice(1, 1), slice(1, 5), slice(5, 7)]


LSTM, GRU, MGU = (
    random_cell(eqx_rnn.LSTMCell, 3, 4, seed=0),
    random_cell(eqx_rnn.GRUCell, 4, 3, seed=1),
    random_cell(eqx_rnn.MGUCell, 3, 4, seed=2),
)
FORWARD = {
    "rnn": RNN(LSTM),
    "stacked cell": RNN(StackedCell([LSTM, GRU])),
    "stacked": Stacked(
        [RNN(LSTM), Stacked([RNN(GRU), RNN(MGU)])],
        residual=True,
        norms=[random_like(eqx.nn.LayerNorm(4), 3)],
    ),
}


def wrap(cell, key):
    cell = eqx_rnn.DropConnect(eqx_rnn.RecurrentDropout(cell, 0.2, 0.3), 0.4)
    cell = eqx_rnn.LearnedCarry(eqx_rnn.Zoneout(cell, 0.3), key=key)
    return eqx_rnn.Residual(random_like(cell, 9, scale=0.5))


# At inference: in training only the masks of `RecurrentDropout` outlive a call.
FORWARD["wrapped"] = eqx.nn.inference_mode(
    Stacked.create(
        lambda *sizes, key: wrap(eqx_rnn.SLSTMCell(*sizes, dtype=jnp.float64, key=key), key),
        3,
        3,
        num_layers=2,
        dropout=0.3,
        key=jr.key(0),
    )
)
FORWARD["wrapped stacked cell"] = RNN(
    StackedCell([part.cell for part in FORWARD["wrapped"].layers])
)
BACKWARD = RNN(StackedCell([LSTM, GRU]), reverse=True, keep_order=True)
BOTH = Bidirectional(RNN(LSTM), RNN(MGU))


def arguments_of(piece, lengths, resets):
    """The lengths and resets of one piece of the time axis."""
    lengths = np.clip(lengths - piece.start, 0, piece.stop - piece.start)
    return {"seq_lengths": lengths, "resets": resets[:, piece]}


def stream(module, pieces, lengths, resets, carry=None):
    outputs = {}
    for piece in pieces:
        carry, outputs[piece.start, piece.stop] = module(
            XS[:, piece],
            initial_carry=carry,
            return_carry=True,
            **arguments_of(piece, lengths, resets),
        )
    return carry, jnp.concatenate([outputs[key] for key in sorted(outputs)], 1)


@pytest.mark.parametrize("name", FORWARD)
def test_pieces_equal_the_whole(name):
    module = FORWARD[name]
    whole = module(XS, seq_lengths=LENGTHS, resets=RESETS, return_carry=True)
    assert_close(stream(module, PIECES, LENGTHS, RESETS), whole)


def test_pieces_from_the_last_to_the_first():
    """In a reversed run, the carry goes from each piece to the previous piece."""
    whole = BACKWARD(XS, seq_lengths=LENGTHS, resets=RESETS, return_carry=True)
    assert_close(stream(BACKWARD, PIECES[::-1], LENGTHS, RESETS), whole)


def test_pieces_in_both_directions():
    """One sweep per direction. Each half of the outputs is from the sweep of its direction."""
    starts = np.zeros((3, TIME), bool)
    carry, whole = BOTH(XS, seq_lengths=LENGTHS, return_carry=True)
    own = BOTH(XS[:, :0], return_carry=True)[0]

    def sweep(pieces, direction):
        carry, outputs = own, {}
        for piece in pieces:
            after, outputs[piece.start, piece.stop] = BOTH(
                XS[:, piece],
                initial_carry=carry,
                return_carry=True,
                **arguments_of(piece, LENGTHS, starts),
            )
            carry = tuple(
                a if k == direction else o for k, (a, o) in enumerate(zip(after, own, strict=True))
            )
        return carry[direction], jnp.concatenate([outputs[key] for key in sorted(outputs)], 1)

    ahead, forward = sweep(PIECES, 0)
    back, backward = sweep(PIECES[::-1], 1)
    assert_close((ahead, back), carry)
    assert_close(jnp.concatenate([forward[..., :4], backward[..., 4:]], -1), whole)


@pytest.mark.parametrize("name", ["rnn", "stacked cell", "wrapped stacked cell"])
def test_environments_stepped_equal_the_training_pass(name):
    """Step by step, with the carry replaced where an episode has just ended."""
    rnn = FORWARD[name]
    own = rnn.cell.initialize_carry(None, XS[:, 0])
    start = random_like(own, 4)

    @eqx.filter_jit
    def act(cell, carry, obs, is_first):
        where = lambda a, b: jnp.where(is_first[:, None], a, b)
        return cell(jax.tree.map(where, own, carry), obs)

    carry, outputs = start, []
    for t in range(TIME):
        carry, y = act(rnn.cell, carry, XS[:, t], RESETS[:, t])
        outputs.append(y)
    trained = rnn(XS, initial_carry=start, resets=RESETS, return_carry=True)
    assert_close((carry, jnp.stack(outputs, 1)), trained)


def test_a_stack_with_something_between_is_stepped_by_pieces_of_one():
    module = FORWARD["stacked"]
    step = eqx.filter_jit(module)
    carry, outputs = module(XS[:, :0], return_carry=True)[0], []
    for t in range(TIME):
        carry, y = step(
            XS[:, t : t + 1],
            initial_carry=carry,
            resets=RESETS[:, t : t + 1],
            return_carry=True,
        )
        outputs.append(y)
    whole = module(XS, resets=RESETS, return_carry=True)
    assert_close((carry, jnp.concatenate(outputs, 1)), whole)


EPISODIC = FORWARD | {
    "both": BOTH,
    "stacked both": Stacked(
        [
            BOTH,
            RNN(random_cell(eqx_rnn.SimpleCell, 8, 3, seed=5), reverse=True, keep_order=True),
            Bidirectional(
                RNN(random_cell(eqx_rnn.LSTMCell, 3, 4, seed=6)),
                RNN(random_cell(eqx_rnn.GRUCell, 3, 2, seed=7)),
            ),
        ]
    ),
}


@pytest.mark.parametrize(
    ("name", "lengths"),
    [pytest.param(name, LENGTHS, id=name) for name in EPISODIC]
    + [pytest.param("stacked", np.full(3, TIME), id="stacked-full")],
)
def test_episodes_do_not_see_each_other(name, lengths):
    """A loop over the episodes gives the same results, although one has NaN in its carries."""
    module = EPISODIC[name]
    xs = XS.at[2, 2].set(jnp.nan)  # in the first of two episodes
    ys = module(xs, seq_lengths=lengths, resets=RESETS)
    expected = np.zeros(ys.shape)
    for b in range(3):
        for episode in reference.episodes(RESETS[b], np.arange(TIME) < lengths[b]):
            expected[b, episode] = module(xs[b, episode])
    np.testing.assert_allclose(ys, expected, **EXACT)
    assert np.all(np.any(np.isnan(ys[2, 2:5]), -1))
    assert np.all(np.isfinite(ys[2, 5:]))


@pytest.mark.parametrize("name", [*FORWARD, "backward"])
def test_a_dead_carry_ends_at_a_reset(name):
    """This holds for values and gradients, including the gradients of the weights."""
    module = (FORWARD | {"backward": BACKWARD})[name]
    dead = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), module(XS, return_carry=True)[0])
    first = np.zeros((3, TIME), bool)
    first[:, -1 if name == "backward" else 0] = True

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def value_and_gradients(args, **options):
        module, xs = args
        floats = eqx.filter(module(xs, **options), eqx.is_inexact_array)
        return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(floats))

    options = {"initial_carry": dead, "resets": first, "return_carry": True}
    ended = value_and_gradients((module, XS), **options)
    assert_close(ended, value_and_gradients((module, XS), return_carry=True))
