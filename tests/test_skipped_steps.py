"""Values at skipped steps and carries that a reset replaces have no effect on gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FEW_CASES
from helpers import assert_close, random_like

import eqx_rnn

NAN = float("nan")


class Volatility(eqx_rnn.FactoredCell):
    """s' = sqrt(w + a x^2 + b s^2). The derivative is infinite at 0, and follows from s' alone."""

    w: jax.Array
    a: jax.Array
    b: jax.Array
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return jnp.zeros(sample_input.shape)

    def project_input(self, inputs):
        return self.w + self.a * inputs**2

    def project_hidden(self, carry):
        return self.b * carry**2

    def update(self, carry, gates, *, key=None):
        new = jnp.sqrt(gates)
        return new, new


class Divides(Volatility):
    """The projection of the inputs is singular where the inputs are 0."""

    def project_input(self, inputs):
        return self.w / inputs + self.a

    def update(self, carry, gates, *, key=None):
        new = jnp.tanh(gates) + 1.5
        return new, new


class Normalised(Volatility):
    """The projection of the carry has no derivative where the carry is 0."""

    def project_hidden(self, carry):
        return self.b * carry / jnp.sqrt(jnp.sum(carry**2, -1, keepdims=True))

    def update(self, carry, gates, *, key=None):
        new = jnp.tanh(gates) + carry
        return new, new * carry


class Plain(eqx_rnn.RNNCellBase):
    """s' = log(w x s). There is no derivative where the inputs or the carry are 0."""

    w: jax.Array
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return jnp.zeros(sample_input.shape)

    def __call__(self, carry, inputs, *, key=None):
        new = jnp.log(self.w * inputs * carry) + 3.0
        return new, new


NUMBERS = [jnp.asarray(value) for value in (0.1, 0.2, 0.7)]
SINGULAR = [Volatility(*NUMBERS), Divides(*NUMBERS), Normalised(*NUMBERS), Plain(NUMBERS[2])]
INPUTS = 0.5 + jax.random.uniform(jax.random.key(0), (3, 7, 2), float)
START = 0.5 + jax.random.uniform(jax.random.key(1), (3, 2), float)
MASK = np.array([[0, 0, 1, 0, 1, 1, 0], [1, 1, 0, 0, 1, 0, 1], 7 * [0]], bool)
RESETS = np.array([[0, 1, 1, 0, 0, 1, 1], [0, 0, 1, 0, 1, 0, 0], 7 * [1]], bool)


def valid_steps_alone(cell, start, inputs, mask, reverse, resets=None, first=None):
    """The sum of a loss over the valid steps, row by row. No other step is computed."""
    total = 0.0
    for row in range(mask.shape[0]):
        carry = start[row]
        for t in np.flatnonzero(mask[row])[:: -1 if reverse else 1]:
            if resets is not None and resets[row, t]:
                carry = first[row]
            carry, outputs = cell(carry, inputs[row, t])
            total += jnp.sum(jnp.sin(outputs))
        total += jnp.sum(jnp.cos(carry)) if mask[row].any() else 0.0
    return total


@pytest.mark.parametrize("cell", SINGULAR, ids=lambda cell: type(cell).__name__)
@pytest.mark.parametrize(
    ("options", "padding"),
    [
        ({}, 0.0),
        ({}, NAN),
        ({"reverse": True}, NAN),
        ({"checkpoint": 2}, 0.0),
        ({"truncate": 7, "unroll": 3}, float("inf")),
    ],
    ids=str,
)
def test_cells_that_are_singular_where_steps_are_skipped(cell, options, padding):
    reverse = options.get("reverse", False)
    inputs = jnp.where(MASK[..., None], INPUTS, padding)
    has_valid_step = MASK.any(1)[:, None]
    start = jnp.where(has_valid_step, START, padding)

    def loss(cell, start, inputs):
        rnn = eqx_rnn.RNN(cell, **options)
        final, outputs = rnn(inputs, initial_carry=start, mask=MASK, return_carry=True)
        last = jnp.where(has_valid_step, jnp.cos(jnp.where(has_valid_step, final, 0)), 0)
        return jnp.sum(jnp.sin(outputs)) + jnp.sum(last)

    alone = lambda *args: valid_steps_alone(*args, MASK, reverse)
    got = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(cell, start, inputs)
    want = jax.value_and_grad(alone, (0, 1, 2))(cell, START, INPUTS)
    assert_close(got, want)
    tangents = random_like((cell, start, inputs), 3)
    _, moved = jax.jit(lambda *args: jax.jvp(loss, args, tangents))(cell, start, inputs)
    _, want_moved = jax.jvp(alone, (cell, START, INPUTS), tangents)
    np.testing.assert_allclose(moved, want_moved)


@pytest.mark.parametrize("cell", SINGULAR, ids=lambda cell: type(cell).__name__)
def test_second_derivatives_and_vmap(cell):
    rows = jnp.where(MASK[:2, :, None], INPUTS[:2], 0.0)

    def curvature(loss):
        gradient = jax.grad(loss)
        return lambda cell: jax.grad(lambda c: sum(jax.tree.leaves(gradient(c))))(cell)

    def batched(cell):
        return jnp.sum(eqx_rnn.RNN(cell)(rows, initial_carry=START[:2], mask=MASK[:2]) ** 2)

    def mapped(cell):
        run = lambda x, start, mask: eqx_rnn.RNN(cell)(x, initial_carry=start, mask=mask)
        return jnp.sum(jax.vmap(run)(rows, START[:2], MASK[:2]) ** 2)

    def alone(cell):
        total = 0.0
        for x, carry, mask in zip(INPUTS, START, MASK[:2], strict=False):
            for t in np.flatnonzero(mask):
                carry, outputs = cell(carry, x[t])
                total += jnp.sum(outputs**2)
        return total

    want = curvature(alone)(cell)
    assert_close(jax.jit(curvature(batched))(cell), want)
    assert_close(jax.jit(jax.grad(mapped))(cell), jax.grad(alone)(cell))


@pytest.mark.parametrize("options", [{}, {"checkpoint": 2}], ids=str)
@pytest.mark.parametrize("cell", SINGULAR, ids=lambda cell: type(cell).__name__)
def test_second_derivatives_where_a_nan_carry_is_held(cell, options):
    """JAX differentiates the forward pass with saved arrays again."""
    mask, resets = MASK.copy(), np.zeros(MASK.shape, bool)
    resets[0, 2] = True  # the first valid step of a row that starts from NaN
    inputs = jnp.where(mask[..., None], INPUTS, NAN)
    start = START.at[jnp.array([0, 2])].set(NAN)
    first = jnp.ones((3, 2))

    class FromOne(type(cell)):
        def initialize_carry(self, key, sample_input):
            return jnp.ones(sample_input.shape)

    cell = FromOne(*jax.tree.leaves(cell))

    def curvature(loss):
        gradient = jax.grad(loss)
        return jax.grad(lambda c: sum(jnp.sum(jnp.sin(g)) for g in jax.tree.leaves(gradient(c))))(
            cell
        )

    def masked(cell):
        rnn = eqx_rnn.RNN(cell, **options)
        outputs = rnn(inputs, initial_carry=start, mask=mask, resets=resets)
        return jnp.sum(jnp.sin(outputs))

    def alone(cell):
        total = 0.0
        for row in range(2):
            carry = START[row]
            for t in np.flatnonzero(mask[row]):
                carry = first[row] if resets[row, t] else carry
                carry, outputs = cell(carry, INPUTS[row, t])
                total += jnp.sum(jnp.sin(outputs))
        return total

    assert_close(jax.jit(lambda: curvature(masked))(), curvature(alone))


@pytest.mark.parametrize(
    ("case", "reverse"),
    [pytest.param(case, k % 2 == 1, id=case.name) for k, case in enumerate(FEW_CASES)],
)
def test_a_nan_carry_that_a_reset_replaces(case, reverse):
    """Skipped steps hold it first. A row that starts at the reset has the same results.

    Every other cell runs in reverse: a reversed run of flipped inputs is the same run.
    """
    cell, inputs = case.cell(), case.inputs(2, 4)
    mask = np.array([4 * [True], [False, False, True, True]])
    resets = np.array([4 * [False], [False, False, True, False]])
    start = case.carry(cell, 2)
    poisoned = jax.tree.map(lambda a: a.at[1].set(NAN) if eqx.is_inexact_array(a) else a, start)
    poisoned_inputs = jnp.where(mask.reshape(2, 4, *len(case.features) * (1,)), inputs, NAN)
    total = lambda ys: sum(jnp.sum(y**2) for y in jax.tree.leaves(ys))

    @eqx.filter_value_and_grad
    def masked(cell):
        rnn = eqx_rnn.RNN(cell, reverse=reverse)
        order = lambda a: jnp.flip(a, 1) if reverse else a
        steps = {"mask": order(mask), "resets": order(resets)}
        return total(rnn(order(poisoned_inputs), initial_carry=poisoned, **steps))

    @eqx.filter_value_and_grad
    def apart(cell):
        rnn = eqx_rnn.RNN(cell)
        whole = rnn(inputs[:1], initial_carry=jax.tree.map(lambda a: a[:1], start))
        return total((whole, rnn(inputs[1:, 2:])))

    expected, result = eqx.filter_jit(lambda cell: (apart(cell), masked(cell)))(cell)
    assert_close(result, expected)


@pytest.mark.parametrize("time_major", [False, True])
def test_norms_without_eps_between_layers(time_major):
    """A norm of the zeros in the padding would have no derivative."""
    keys = jax.random.split(jax.random.key(0))
    cells = [eqx_rnn.GRUCell(3, 4, key=keys[0]), eqx_rnn.LSTMCell(4, 4, key=keys[1])]
    layers = [eqx_rnn.RNN(cell, time_major=time_major) for cell in cells]
    norms = [eqx.nn.LayerNorm(4, eps=0.0, dtype=float)]
    stacked = random_like(eqx_rnn.Stacked(layers, norms=norms), 0)
    inputs = random_like(jax.ShapeDtypeStruct((2, 5, 3), float), 1)
    lengths = np.array([5, 2])
    order = lambda x: jnp.moveaxis(x, 1, 0) if time_major else x

    def loss(stacked):
        return jnp.sum(jnp.sin(stacked(order(inputs), seq_lengths=lengths)))

    def alone(stacked):
        rows = [stacked(order(inputs[k : k + 1, :n])) for k, n in enumerate(lengths)]
        return sum(jnp.sum(jnp.sin(row)) for row in rows)

    got, want = (eqx.filter_jit(eqx.filter_value_and_grad(f))(stacked) for f in (loss, alone))
    assert_close(got, want)


def test_a_call_without_a_valid_step():
    """Here no valid step can be the substitute, so skipped steps are computed from zeros."""
    cell = eqx_rnn.GRUCell(3, 4, dtype=jnp.float64, key=jax.random.key(0))
    start = jnp.full((2, 4), NAN)
    inputs = jnp.full((2, 5, 3), NAN)

    def loss(cell):
        ys = eqx_rnn.RNN(cell)(inputs, initial_carry=start, seq_lengths=np.array([0, 0]))
        return jnp.sum(ys)

    value, gradient = eqx.filter_jit(eqx.filter_value_and_grad(loss))(cell)
    assert value == 0
    jax.tree.map(lambda g: np.testing.assert_array_equal(g, 0), gradient)


@pytest.mark.parametrize("time_major", [False, True])
def test_a_merge_that_is_singular_at_the_padding(time_major):
    """The merge has no derivative at the zeros of skipped steps, and is not zero there."""

    class Merge(eqx.Module):
        scale: jax.Array

        def __call__(self, forward, backward):
            norm = jnp.linalg.norm(backward, axis=-1, keepdims=True)
            return {"ratio": self.scale * forward / norm, "sum": jnp.sum(forward + 1, -1)}

    cells = [eqx_rnn.GRUCell(3, 4, dtype=float, key=jax.random.key(seed)) for seed in (0, 1)]
    rnns = [eqx_rnn.RNN(cell, time_major=time_major) for cell in cells]
    layer = eqx_rnn.Bidirectional(*rnns, Merge(jnp.linspace(0.5, 1, 4, dtype=float)))
    inputs = random_like(jax.ShapeDtypeStruct((3, 5, 3), float), 1)
    lengths = np.array([5, 2, 0])
    order = lambda x: jnp.moveaxis(x, 1, 0) if time_major else x
    total = lambda ys: sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(ys))
    masked = lambda layer: total(layer(order(inputs), seq_lengths=lengths))
    rows = [order(inputs[k : k + 1, :n]) for k, n in enumerate(lengths[:2])]
    alone = lambda layer: sum(total(layer(row)) for row in rows)
    got, want = (eqx.filter_jit(eqx.filter_value_and_grad(f))(layer) for f in (masked, alone))
    assert_close(got, want)

    over_time = eqx_rnn.Bidirectional(*rnns, lambda a, b: jnp.mean(a + b, (0, 1)))
    with pytest.raises(ValueError, match="Bidirectional: `merge` must keep the batch and time"):
        over_time(order(inputs), seq_lengths=lengths)


def test_no_rows():
    """A batch of size 0, with lengths, masks and resets."""
    cell = eqx_rnn.GRUCell(3, 4, key=jax.random.key(0))
    inputs, none = jnp.zeros((0, 5, 3)), np.zeros((0, 5), bool)
    for steps in ({"seq_lengths": np.zeros(0, int)}, {"mask": none, "resets": none}):
        loss = lambda cell, steps=steps: jnp.sum(eqx_rnn.RNN(cell)(inputs, **steps))
        value, gradient = eqx.filter_value_and_grad(loss)(cell)
        assert value == 0
        jax.tree.map(lambda g: np.testing.assert_array_equal(g, 0), gradient)


class Guarded(eqx_rnn.FactoredCell):
    """An Elman cell that fails for large inputs, and reports its steps."""

    weight: jax.Array
    seen: list = eqx.field(static=True)

    @property
    def num_feature_dims(self):
        return 1

    def initialize_carry(self, key, sample_input):
        return jnp.zeros_like(sample_input)

    def project_input(self, inputs):
        return eqx.error_if(inputs, jnp.any(inputs > 50), "a large input")

    def project_hidden(self, carry):
        return eqx_rnn.project(self.weight, carry)

    def update(self, carry, gates, *, key=None):
        report = lambda carry: jax.debug.callback(lambda _: self.seen.append(1), carry) or carry
        carry = jnp.tanh(gates) * jnp.cos(jax.jit(report)(carry)[..., :1])
        return carry, carry


@pytest.mark.parametrize("train", [False, True])
def test_a_cell_never_sees_the_padding_and_runs_once_per_step(train):
    cell = Guarded(0.1 * jnp.eye(3), [])
    xs = jnp.ones((2, 5, 3)).at[1, 2:].set(1000.0)
    loss = lambda cell: jnp.sum(eqx_rnn.RNN(cell)(xs, seq_lengths=jnp.array([5, 2])) ** 2)
    result = eqx.filter_jit(eqx.filter_grad(loss) if train else loss)(cell)
    jax.effects_barrier()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
    assert len(cell.seen) == 5
