"""A `ChunkCell` gives the same numbers in chunks of any length as step by step."""

import functools

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from cases_linear import FEW_LINEAR, LINEAR
from helpers import random_like

import eqx_rnn
from eqx_rnn import RNN

STEPS, BATCH = 13, 4
FIRST_OF_CLASS = {type(case.cell()): case for case in reversed(LINEAR)}
# Layers whose chunk is that of their core, between projections, have tests of their own.
THIN = "gla", "linear-attention", "hgrn2", "delta-net", "gated-delta-net", "mamba2", "rwkv6"
CHUNKED = [
    case
    for kind, case in FIRST_OF_CLASS.items()
    if issubclass(kind, eqx_rnn.ChunkCell) and case.name not in THIN
]
FEW_CHUNKED = [case for case in FEW_LINEAR if isinstance(case.cell(), eqx_rnn.ChunkCell)]
CLOSE = dict(rtol=0, atol=1e-10)
NAN = float("nan")


def is_sequential_only(case):
    return case.name.startswith(("lin-oss", "legendre"))


def masks():
    """Pairs of a mask and resets, both `(time, batch)`, by name."""
    rng = np.random.default_rng(0)
    time = np.arange(STEPS)[:, None]
    all_steps, none = np.ones((STEPS, BATCH), bool), np.zeros((STEPS, BATCH), bool)
    holes = rng.random((STEPS, BATCH)) < 0.6
    lengths = time < np.array([STEPS, 5, 0, 9])
    many = rng.random((STEPS, BATCH)) < 0.3
    many[[0, 3, 4, 6], 1] = True  # several in one chunk, and at the first step
    many[-1, 0] = True
    late = np.zeros((STEPS, BATCH), bool)
    late[6] = True
    return {
        f"{mask_name}, {reset_name}": (mask, resets)
        for mask_name, mask in [("all", all_steps), ("holes", holes), ("lengths", lengths)]
        for reset_name, resets in [("none", none), ("many", many), ("late", late)]
    }


MASKS = masks()


def step_by_step(cell, carry, x, mask, resets, reverse, keep=False):
    """The definition: one `__call__` after another, with explicit selects.

    With `keep`, the outputs of each step are a pair with its new carry.
    """
    initial = cell.initialize_carry(None, x[0])

    def select(condition, on_true, on_false):
        spread = lambda a: condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim))
        return jax.tree.map(lambda a, b: jnp.where(spread(a), a, b), on_true, on_false)

    def step(carry, xs):
        x, valid, reset = xs
        new, y = cell(select(reset, initial, carry), x)
        new, y = select(valid, new, carry), jnp.where(valid[:, None], y, 0)
        return new, (new, y) if keep else y

    return lax.scan(step, carry, (x, mask, resets), reverse=reverse)


def in_chunks(cell, carry, x, mask, resets, reverse, **options):
    rnn = RNN(cell, time_major=True, reverse=reverse, keep_order=True, **options)
    return rnn(x, initial_carry=carry, mask=mask, resets=resets, return_carry=True)


def with_gradients(run):
    """The results, and the gradients of a function of them."""

    def loss(differentiable, others, mask, resets):
        cell, carry, x = eqx.combine(differentiable, others)
        final, y = run(cell, carry, x, mask, resets)
        total = jnp.sum(y * random_like(y, 1))
        for k, leaf in enumerate(jax.tree.leaves(final)):
            if eqx.is_inexact_array(leaf):
                # A carry that no step used is held as it is, NaN or not.
                known = jnp.where(jnp.isnan(leaf), 0, leaf)
                total += jnp.sum((known * random_like(leaf, k)).real)
        return total, (final, y)

    def call(cell, carry, x, mask, resets):
        differentiable, others = eqx.partition((cell, carry, x), eqx.is_inexact_array)
        value_and_grad = eqx.filter_value_and_grad(loss, has_aux=True)
        return value_and_grad(differentiable, others, mask, resets)

    return eqx.filter_jit(call)


def assert_same(got, wanted):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def learned(case):
    """The cell with a random learned first carry, a carry and inputs."""
    cell = eqx_rnn.LearnedCarry(case.cell(), jax.ShapeDtypeStruct(case.features, float))
    cell = eqx.tree_at(lambda c: c.initial, cell, random_like(cell.initial, 7, 0.5))
    x = case.inputs(STEPS, BATCH)
    carry = random_like(jax.eval_shape(lambda: cell.initialize_carry(None, x[0])), 9, 0.5)
    return cell, carry, x


def starts_with_reset(mask, resets, reverse):
    order = slice(None, None, -1) if reverse else slice(None)
    first = mask[order].argmax(0)
    return resets[order][first, np.arange(BATCH)] & mask.any(0)


VARIANTS = [(3, "sequential", False), (5, "associative", True)]


@pytest.mark.parametrize("case", CHUNKED, ids=lambda case: case.name)
def test_chunks_and_steps_agree(case):
    """Values and all gradients, with holes, lengths, resets, and NaN where nothing may be read."""
    arguments = learned(case)
    variants = VARIANTS if case in FEW_CHUNKED else VARIANTS[len(case.name) % 2 :][:1]
    for chunk_size, scan, reverse in variants:
        scan = "sequential" if is_sequential_only(case) else scan
        definition = with_gradients(functools.partial(step_by_step, reverse=reverse))
        options = dict(chunk_size=chunk_size, scan=scan, reverse=reverse)
        chunks = with_gradients(functools.partial(in_chunks, **options))
        for mask, resets in MASKS.values():
            wanted = definition(*arguments, mask, resets)
            assert_same(chunks(*arguments, mask, resets), wanted)
            cell, carry, x = arguments
            unread = starts_with_reset(mask, resets, reverse)
            spoil = lambda a, u=unread: (
                jnp.where(u.reshape(-1, *(1,) * (a.ndim - 1)), NAN, a)
                if eqx.is_inexact_array(a)
                else a
            )
            spoiled = jnp.where(mask[..., None], x, NAN)
            (_, (final, y)), gradients = chunks(
                cell, jax.tree.map(spoil, carry), spoiled, mask, resets
            )
            (_, (wanted_final, wanted_y)), wanted_gradients = wanted
            assert_same((y, gradients), (wanted_y, wanted_gradients))
            keep = lambda a, rows=mask.any(0): a[rows]
            assert_same(jax.tree.map(keep, final), jax.tree.map(keep, wanted_final))


@pytest.mark.parametrize("case", FEW_CHUNKED, ids=lambda case: case.name)
def test_derivatives_of_both_modes_and_all_carries(case):
    """Forward mode, `return_carry="all"`, `checkpoint`, `truncate`, and no remainder."""
    cell, carry, x = learned(case)
    mask, resets = MASKS["holes, many"]
    run = lambda x, **options: RNN(cell, time_major=True, **options)(
        x, initial_carry=carry, mask=mask, resets=resets, return_carry=True
    )
    wanted = step_by_step(cell, carry, x, mask, resets, reverse=False)
    tangent = random_like(x, 5)
    moving = lambda x: eqx.filter(run(x, chunk_size=4), eqx.is_inexact_array)
    by_steps = lambda x: eqx.filter(
        step_by_step(cell, carry, x, mask, resets, reverse=False), eqx.is_inexact_array
    )
    assert_same(jax.jvp(moving, (x,), (tangent,)), jax.jvp(by_steps, (x,), (tangent,)))
    for options in ({}, {"checkpoint": 5}, {"checkpoint": True, "chunk_size": 2}, {"truncate": 6}):
        assert_same(run(x, **options), wanted)
    rnn = RNN(cell, time_major=True, chunk_size=5)
    carries, _ = rnn(x, initial_carry=carry, mask=mask, resets=resets, return_carry="all")
    _, (wanted_carries, _) = step_by_step(cell, carry, x, mask, resets, False, keep=True)
    assert_same(carries, wanted_carries)


@pytest.mark.parametrize("case", FEW_CHUNKED, ids=lambda case: case.name)
@pytest.mark.parametrize("steps", [0, 1])
def test_no_step_and_one_step(case, steps):
    cell, carry, x = learned(case)
    run = lambda x: RNN(cell, time_major=True)(x, initial_carry=carry, return_carry=True)
    final, y = run(x[:steps])
    expected = (carry, x[:0]) if steps == 0 else cell(carry, x[0])
    assert_same(final, expected[0])
    assert y.shape == (steps, BATCH, *eqx.filter_eval_shape(cell, carry, x[0])[1].shape[1:])
    if steps:
        assert_same(y[0], expected[1])


def test_truncation_cuts_the_gradient_of_every_part():
    """The last inputs of a convolution are cut, too."""
    case = next(case for case in FEW_LINEAR if case.name == "hawk")
    cell, _, x = learned(case)
    late = lambda x, **options: jnp.sum(RNN(cell, time_major=True, **options)(x)[9:] ** 2)
    gradient = jax.grad(functools.partial(late, truncate=9, chunk_size=4))(x)
    assert not np.any(gradient[:9])
    assert np.all(np.any(jax.grad(late)(x)[:9], (1, 2)))


@pytest.mark.parametrize("case", FEW_CHUNKED, ids=lambda case: case.name)
def test_second_order(case):
    cell, _, x = learned(case)
    options = {"chunk_size": 3}
    loss = lambda x, **options: jnp.sum(RNN(cell, time_major=True, **options)(x) ** 3)
    x, v = x[:4, 0], random_like(x[:4, 0], 3)
    product = lambda **options: jax.jvp(jax.grad(functools.partial(loss, **options)), (x,), (v,))[1]

    def by_steps(x):
        carry, ys = cell.initialize_carry(None, x[0]), []
        for step in x:
            carry, y = cell(carry, step)
            ys.append(y)
        return jnp.sum(jnp.stack(ys) ** 3)

    wanted = jax.jit(lambda x: jax.jvp(jax.grad(by_steps), (x,), (v,))[1])(x)
    np.testing.assert_allclose(jax.jit(lambda: product(**options))(), wanted, **CLOSE)


def test_vmap_of_gradients():
    cell, _, x = learned(next(case for case in LINEAR if case.name == "lru"))
    gradient = jax.grad(lambda x: jnp.sum(RNN(cell, chunk_size=4)(x) ** 2))
    x = jnp.swapaxes(x, 0, 1)
    np.testing.assert_allclose(jax.vmap(gradient)(x), gradient(x), **CLOSE)


def test_keys_are_per_step():
    class Noisy(eqx_rnn.ChunkCell):
        num_feature_dims = 1

        def initialize_carry(self, key, sample_input):
            return jnp.zeros(sample_input.shape)

        def chunk(self, carry, inputs, time):
            noise = time.draw(lambda key: jr.normal(key, inputs.shape[1:]))
            return time.linear(carry, 0.5 * jnp.ones(3), inputs + noise)

    x, key = jnp.zeros((6, 2, 3)), jr.key(3)
    whole = RNN(Noisy(), time_major=True)(x, key=key)
    for options in ({"chunk_size": 4}, {"chunk_size": 1}, {"scan": "associative"}):
        np.testing.assert_allclose(RNN(Noisy(), time_major=True, **options)(x, key=key), whole)
    assert len(np.unique(whole)) == whole.size
    with pytest.raises(RuntimeError, match="`key` must be a random key"):
        RNN(Noisy(), time_major=True)(x)
    reverse = RNN(Noisy(), time_major=True, reverse=True, chunk_size=4)(x, key=key)
    again = RNN(Noisy(), time_major=True, reverse=True)(x, key=key)
    np.testing.assert_allclose(reverse, again)
