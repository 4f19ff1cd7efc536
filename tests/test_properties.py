"""Random shapes, lengths, resets and options against the loop in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import reference
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import eqx_rnn

LSTM = next(case for case in CASES if case.name == "lstm")


@st.composite
def calls(draw):
    """A layout, its inputs, and options of `RNN` that fit them."""
    batch = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    num_steps = draw(st.integers(0, 6))
    steps = (*batch, num_steps)
    seed = draw(st.integers(0, 99))
    options = {}
    match draw(st.sampled_from(["full", "lengths", "mask"])):
        case "lengths":
            lengths = hnp.arrays(np.int32, batch, elements=st.integers(0, num_steps))
            options["seq_lengths"] = draw(lengths)
        case "mask":
            options["mask"] = draw(hnp.arrays(bool, steps))
    if draw(st.booleans()):
        options["resets"] = draw(hnp.arrays(bool, steps))
    given_carry = draw(st.booleans())
    layout = {name: draw(st.booleans()) for name in ("reverse", "keep_order", "time_major")}
    return batch, num_steps, seed, given_carry, options, layout


@settings(max_examples=30, deadline=None, derandomize=True)
@given(calls())
def test_rnn_equals_a_loop(call):
    batch, num_steps, seed, given_carry, options, layout = call
    time_axis = len(batch)
    cell, xs = LSTM.cell(), LSTM.inputs(*batch, num_steps, seed=seed)
    carry = LSTM.carry(cell, *batch, seed=seed) if given_carry else None
    order = {name: layout[name] for name in ("reverse", "keep_order")}
    final, expected = reference.run(LSTM, cell, xs, carry=carry, **options, **order)

    if layout["time_major"]:
        xs = jnp.moveaxis(xs, time_axis, 0)
        for name in {"mask", "resets"} & set(options):
            options[name] = np.moveaxis(options[name], time_axis, 0)
    rnn = eqx_rnn.RNN(cell, **layout)
    carry, ys = rnn(xs, initial_carry=carry, return_carry=True, **options)
    if layout["time_major"]:
        ys = jnp.moveaxis(ys, 0, time_axis)
    np.testing.assert_allclose(ys, expected, rtol=1e-11, atol=1e-11)
    for leaf, value in zip(jax.tree.leaves(carry), final, strict=True):
        np.testing.assert_allclose(leaf, value, rtol=1e-11, atol=1e-11)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(calls())
def test_flipping_twice_changes_nothing(call):
    batch, num_steps, seed, _, options, _ = call
    time_axis, lengths = len(batch), options.get("seq_lengths")
    xs = LSTM.inputs(*batch, num_steps, seed=seed)
    flip = lambda x: eqx_rnn.flip_sequences(x, lengths, num_batch_dims=time_axis)
    flipped = np.asarray(flip(xs))
    np.testing.assert_array_equal(flip(flipped), xs)
    for b in np.ndindex(*xs.shape[:time_axis]):
        end = xs.shape[time_axis] if lengths is None else lengths[b]
        np.testing.assert_array_equal(flipped[b][:end], xs[b][:end][::-1])
        np.testing.assert_array_equal(flipped[b][end:], xs[b][end:])
