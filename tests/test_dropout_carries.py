"""Carries of `RecurrentDropout` from training to inference and back."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import INNER
from helpers import EXACT, assert_close
from jax import export

import eqx_rnn
from eqx_rnn import (
    RNN,
    Bidirectional,
    DropConnect,
    DropoutCarry,
    LearnedCarry,
    RecurrentDropout,
    Residual,
    Stacked,
    StackedCell,
    Zoneout,
)

LSTM, GRU, CONV, PLAIN = INNER
KEY, OTHER = jax.random.split(jax.random.key(1))
XS = LSTM.inputs(3, 6)


def dropout(cell):
    return RecurrentDropout(cell, 0.3, 0.4)


MODELS = {
    **{case.name: (RNN(dropout(case.cell())), case.inputs(3, 6)) for case in INNER},
    "around wrappers": (RNN(dropout(Residual(LearnedCarry(Zoneout(LSTM.cell()))))), XS),
    "inside wrappers": (RNN(Residual(DropConnect(dropout(GRU.cell()), 0.2))), XS),
    "stack": (RNN(dropout(StackedCell([LSTM.cell(), GRU.cell()]))), XS),
    "in a stack": (RNN(StackedCell([dropout(LSTM.cell()), Residual(dropout(GRU.cell()))])), XS),
    "layers": (Stacked([RNN(dropout(LSTM.cell())), RNN(dropout(GRU.cell()))], dropout=0.2), XS),
    "both directions": (Bidirectional(RNN(dropout(LSTM.cell())), RNN(dropout(GRU.cell()))), XS),
    "inputs only": (RNN(RecurrentDropout(LSTM.cell(), 0.3)), XS),
    "one leaf": (RNN(RecurrentDropout(LSTM.cell(), 0, eqx_rnn.LSTMCarry(0, 0.3))), XS),
    "nothing": (RNN(RecurrentDropout(LSTM.cell())), XS),
}


def is_dropout(node):
    return isinstance(node, DropoutCarry)


def dropout_carries(carry):
    return list(filter(is_dropout, jax.tree.leaves(carry, is_leaf=is_dropout)))


def struct(carry):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), carry)


@pytest.mark.parametrize("name", MODELS)
def test_one_structure_in_training_and_at_inference(name):
    """Before and after the steps, so that pieces of both kinds follow each other."""
    model, xs = MODELS[name]
    inference = eqx.nn.inference_mode(model)
    trained, _ = model(xs[:, :2], key=KEY, return_carry=True)
    inferred, _ = inference(xs[:, :2], return_carry=True)
    assert jax.tree.structure(struct(trained)) == jax.tree.structure(struct(inferred))
    assert struct(trained) == struct(inferred)
    if isinstance(model, RNN):
        fresh = model.cell.initialize_carry(KEY, xs[:, 0])
        assert struct(fresh) == struct(trained)
        assert struct(inference.cell.initialize_carry(None, xs[:, 0])) == struct(trained)

    # From training to inference: masks without effect, and kept.
    carry, ys = inference(xs[:, 2:4], initial_carry=trained, return_carry=True)
    states = lambda carry: jax.tree.map(
        lambda node: node.carry if is_dropout(node) else node, carry, is_leaf=is_dropout
    )
    unmasked = jax.tree.map(
        lambda node, other: node._replace(carry=other.carry) if is_dropout(node) else other,
        inferred,
        trained,
        is_leaf=is_dropout,
    )
    expected, expected_ys = inference(xs[:, 2:4], initial_carry=unmasked, return_carry=True)
    assert_close((states(carry), ys), (states(expected), expected_ys))
    for before, after in zip(*map(dropout_carries, (trained, carry)), strict=True):
        assert_close(before[1:], after[1:])

    # And from inference to training, which draws masks once.
    draws = [
        model(xs[:, 2:4], initial_carry=inferred, return_carry=True, key=k)
        for k in (KEY, KEY, OTHER)
    ]
    for first, again, other in zip(*(dropout_carries(draw[0]) for draw in draws), strict=True):
        assert_close(first.masks, again.masks)
        masks = jax.tree.leaves(first.masks)
        assert bool(masks) == (name != "nothing") == (first.pending is not None)
        if masks:
            assert not np.any(first.pending)
            same = [
                np.all(a == b) for a, b in zip(masks, jax.tree.leaves(other.masks), strict=True)
            ]
            assert not all(same)
    kept, _ = model(xs[:, 4:], initial_carry=draws[0][0], return_carry=True, key=OTHER)
    for before, after in zip(*map(dropout_carries, (draws[0][0], kept)), strict=True):
        assert_close(before[1:], after[1:])


@pytest.mark.parametrize("case", INNER, ids=lambda case: case.name)
def test_training_goes_on_with_the_masks_that_it_draws(case):
    """In one piece, in two pieces, step by step, and after `begin`, the masks are the same."""
    cell, xs = dropout(case.cell()), case.inputs(20, 6)
    rnn = RNN(cell)
    start, _ = eqx.nn.inference_mode(rnn)(xs[:, :2], return_carry=True)
    final, ys = rnn(xs[:, 2:], initial_carry=start, return_carry=True, key=KEY)
    for mask, rate in zip(jax.tree.leaves(final.masks)[:2], (0.3, 0.4), strict=True):
        assert abs(np.mean(~mask) - rate) < 5 * (rate * (1 - rate) / mask.size) ** 0.5

    masked = start._replace(masks=final.masks, pending=final.pending)
    assert_close(rnn(xs[:, 2:], initial_carry=masked, return_carry=True), (final, ys))
    middle, first = rnn(xs[:, 2:4], initial_carry=start, return_carry=True, key=KEY)
    end, second = rnn(xs[:, 4:], initial_carry=middle, return_carry=True)
    np.testing.assert_allclose(np.concatenate([first, second], 1), ys, **EXACT)
    assert_close(end, final)
    begun, carry, finish = cell.begin(start, key=jax.random.split(KEY, 3)[2])  # as `RNN` does
    by_step = masked
    for t in range(2, 6):
        carry, y = begun(carry, xs[:, t])
        by_step, same = cell(by_step, xs[:, t])
        np.testing.assert_allclose(y, ys[:, t - 2], **EXACT)
        np.testing.assert_allclose(same, y, **EXACT)
    assert_close(finish(carry), final)
    assert_close(by_step, final)


def test_a_missing_key():
    """A missing key is an error, also under `jit`, unless the carry already has masks."""
    rnn = RNN(dropout(LSTM.cell()))
    start, _ = eqx.nn.inference_mode(rnn)(XS, return_carry=True)
    text = "RecurrentDropout: `key` must be .*`carry` was made at inference and has no masks"
    for call in (rnn, lambda xs, initial_carry: rnn.cell(initial_carry, xs[:, 0])):
        with pytest.raises(RuntimeError, match=text):
            call(XS, initial_carry=start)
        with pytest.raises(eqx.EquinoxRuntimeError, match=text.replace(".*", "(.|\n)*")):
            jax.block_until_ready(eqx.filter_jit(call)(XS, initial_carry=start))
    with pytest.raises(RuntimeError, match=r"to `begin`"):
        rnn.cell.begin(start)
    drawn, _ = rnn(XS, key=KEY, return_carry=True)
    expected = rnn(XS, initial_carry=drawn)
    compiled = eqx.filter_jit(lambda carry, xs: rnn(xs, initial_carry=carry))
    np.testing.assert_allclose(compiled(drawn, XS), expected, **EXACT)
    mapped = jax.vmap(lambda carry, x: rnn(x, initial_carry=carry))
    np.testing.assert_allclose(mapped(drawn, XS), expected, **EXACT)


def test_rows_of_both_kinds():
    """In one batch, as after a reset by hand. Only the rows without masks get new masks."""
    cell = dropout(LSTM.cell())
    drawn = cell.initialize_carry(KEY, XS[:, 0])
    fresh = eqx.nn.inference_mode(cell).initialize_carry(None, XS[:, 0])
    is_fresh = np.array([False, True, False])
    choose = lambda a, b: jnp.where(is_fresh[:, None], a, b)  # the same for all leaves
    mixed = jax.tree.map(choose, fresh, drawn)
    final = RNN(cell)(XS, initial_carry=mixed, key=OTHER, return_carry=True)[0]
    other = RNN(cell)(XS, initial_carry=fresh, key=OTHER, return_carry=True)[0]
    assert_close(final.masks, jax.tree.map(choose, other.masks, drawn.masks))
    assert not np.any(final.pending)


def test_control_flow_over_both_kinds():
    """`lax.cond` and `lax.scan` see the same structure in training and at inference."""
    rnn = RNN(dropout(LSTM.cell()))
    inference = eqx.nn.inference_mode(rnn)
    run = lambda model: (
        lambda carry, x, key: model(x, initial_carry=carry, key=key, return_carry=True)
    )

    @jax.jit
    def pieces(carry, flags):
        def body(carry, xs):
            flag, x, key = xs
            return jax.lax.cond(flag, run(rnn), run(inference), carry, x, key)

        return jax.lax.scan(body, carry, (flags, XS.reshape(3, 3, 2, 3).swapaxes(0, 1), keys))

    keys = jax.random.split(KEY, 3)
    start = inference.cell.initialize_carry(None, XS[:, 0])
    flags = np.array([False, True, False])
    final, ys = pieces(start, flags)
    carry = start
    for k, flag in enumerate(flags):
        carry, y = run(rnn if flag else inference)(carry, XS[:, 2 * k : 2 * k + 2], keys[k])
        np.testing.assert_allclose(ys[k], y, **EXACT)
    assert_close(final, carry)


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_export(mode):
    """With symbolic sizes; in training with a key, or after `begin`."""
    case = LSTM
    cell = eqx.nn.inference_mode(dropout(case.cell()), mode == "inference")
    batch = export.symbolic_shape("b")
    rnn = RNN(cell)
    call = lambda carry, xs, key: rnn(xs, initial_carry=carry, key=key, return_carry=True)
    sample = lambda *b: jax.ShapeDtypeStruct((*b, 6, 3), float)
    carry = jax.eval_shape(
        lambda xs: cell.initialize_carry(KEY, xs[:, 0]), jax.ShapeDtypeStruct((3, 6, 3), float)
    )
    symbolic = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*batch, *leaf.shape[1:]), leaf.dtype), carry
    )
    raw = jax.random.key_data(KEY)
    of_raw = lambda carry, xs, raw: call(carry, xs, jax.random.wrap_key_data(raw))
    exported = export.export(jax.jit(of_raw))(symbolic, sample(*batch), raw)
    fresh = eqx.nn.inference_mode(cell).initialize_carry(None, XS[:, 0])
    assert_close(exported.call(fresh, XS, raw), call(fresh, XS, KEY))
    if mode == "training":
        without = lambda carry, xs: rnn(xs, initial_carry=carry)
        with pytest.raises(ValueError, match="RecurrentDropout: without a `key`"):
            export.export(jax.jit(without))(carry, sample(3))


def test_gradients_of_a_warm_up():
    """Through pieces at inference and in training, against the pieces run by hand."""
    cell = dropout(LSTM.cell())

    def loss(cell, by_hand):
        inference = eqx.nn.inference_mode(cell)
        carry, _ = RNN(inference)(XS[:, :2], return_carry=True)
        if by_hand:
            carry = inference.initialize_carry(None, XS[:, 0])
            for t in range(2):
                carry, _ = inference(carry, XS[:, t])
        return jnp.sum(jnp.sin(RNN(cell)(XS[:, 2:], initial_carry=carry, key=KEY)))

    ours, by_hand = (eqx.filter_jit(eqx.filter_grad(loss))(cell, flag) for flag in (False, True))
    assert_close(ours, by_hand)
    assert np.all(ours.cell.weight_hh != 0)
