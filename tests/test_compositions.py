"""Cells whose parts JAX treats in special ways, within `jax.vmap`, gradients and callbacks."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, random_like
from jax.experimental import io_callback

import eqx_rnn

W, U, X = random_like([jax.ShapeDtypeStruct(s, float) for s in ((3, 4), (4, 4), (2, 6, 3))], 0)
LENGTHS = np.array([6, 4])


class Base(eqx_rnn.FactoredCell):
    """h' = tanh(W x + U h)."""

    w: jax.Array
    u: jax.Array
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return jnp.zeros((*sample_input.shape[:-1], 4), sample_input.dtype)

    def project_input(self, inputs):
        return inputs @ self.w

    def project_hidden(self, carry):
        return carry @ self.u

    def update(self, carry, gates, *, key=None):
        hidden = jnp.tanh(gates)
        return hidden, hidden


def loop(cell, xs):
    """One sequence, step by step, by a plain `lax.scan`."""
    step = lambda carry, x: cell(carry, x)
    return jax.lax.scan(step, cell.initialize_carry(None, xs[0]), xs)[1]


def gradient(run, cell):
    return eqx.filter_jit(eqx.filter_grad(lambda cell: jnp.sum(jnp.sin(run(cell)))))(cell)


@jax.custom_vjp
def spike(x):
    return jnp.where(x > 0, 1.0, 0.0)


spike.defvjp(lambda x: (spike(x), x), lambda x, d: (d / (1 + jnp.abs(x)) ** 2,))


class Spiking(Base):
    """A surrogate gradient, which has no forward mode."""

    def update(self, carry, gates, *, key=None):
        hidden = 0.9 * carry + spike(gates) - 0.1 * gates
        return hidden, spike(hidden)


class PlainSpiking(eqx_rnn.RNNCellBase):
    cell: Spiking
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return self.cell.initialize_carry(key, sample_input)

    def __call__(self, carry, inputs, *, key=None):
        return self.cell(carry, inputs)


class SpikingGates(Base):
    def project_hidden(self, carry):
        return spike(carry) @ self.u


@pytest.mark.parametrize(
    "cell", [Spiking(W, U), PlainSpiking(Spiking(W, U)), SpikingGates(W, U)], ids=lambda c: type(c)
)
def test_surrogate_gradients(cell):
    """In a native batch, under one and two `vmap`s, and in an ensemble."""
    want = gradient(lambda cell: jax.vmap(functools.partial(loop, cell))(X), cell)
    assert_close(gradient(lambda cell: eqx_rnn.RNN(cell)(X), cell), want)
    assert_close(gradient(lambda cell: jax.vmap(eqx_rnn.RNN(cell))(X), cell), want)
    twice = lambda cell: jax.vmap(jax.vmap(eqx_rnn.RNN(cell)))(X[:, None])
    assert_close(gradient(twice, cell), want)
    cells = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), cell)
    run = lambda cell: eqx.filter_vmap(lambda cell, x: eqx_rnn.RNN(cell)(x))(cell, X)
    one_by_one = lambda cell: eqx.filter_vmap(loop)(cell, X)
    assert_close(gradient(run, cells), gradient(one_by_one, cells))
    shared = lambda cell: eqx.filter_vmap(lambda cell: jax.vmap(eqx_rnn.RNN(cell))(X))(cell)
    shared_loop = lambda cell: eqx.filter_vmap(lambda c: jax.vmap(lambda x: loop(c, x))(X))(cell)
    assert_close(gradient(shared, cells), gradient(shared_loop, cells))


class Centred(Base):
    """Reads the other rows of a mapped axis, in all three parts."""

    def project_input(self, inputs):
        return (inputs - jax.lax.pmean(inputs, "rows")) @ self.w

    def project_hidden(self, carry):
        return jax.lax.psum(carry, "rows") @ self.u

    def update(self, carry, gates, *, key=None):
        hidden = jnp.tanh(gates - 0.5 * jax.lax.pmean(gates, "rows"))
        return hidden, hidden * jax.lax.axis_index("rows")


def test_collectives_over_a_mapped_axis():
    over = lambda run: lambda cell: jax.vmap(functools.partial(run, cell), axis_name="rows")(X)
    ours = over(lambda cell, x: eqx_rnn.RNN(cell)(x))
    cell = Centred(W, U)
    assert_close(ours(cell), over(loop)(cell))
    assert_close(gradient(ours, cell), gradient(over(loop), cell))
    ensemble = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), cell)
    every = lambda run: lambda cells: jax.vmap(run, axis_name="rows")(cells, X)
    ours_of_ensemble = every(lambda cell, x: eqx_rnn.RNN(cell)(x))
    assert_close(gradient(ours_of_ensemble, ensemble), gradient(every(loop), ensemble))
    tangents = random_like(cell, 5)
    moved = [jax.jvp(run, (cell,), (tangents,)) for run in (ours, over(loop))]
    assert_close(*moved)


def double(x):
    return 2 * np.asarray(x)


class Pure(Base):
    def update(self, carry, gates, *, key=None):
        hidden = jax.pure_callback(double, gates, gates, vmap_method="expand_dims")
        return hidden, hidden


class Counted(Base):
    calls: list = eqx.field(static=True)
    ordered: bool = eqx.field(static=True)

    def update(self, carry, gates, *, key=None):
        io_callback(lambda g: self.calls.append(g.shape), None, gates, ordered=self.ordered)
        return super().update(carry, gates)


class CountedInputs(Base):
    calls: list = eqx.field(static=True)

    def project_input(self, inputs):
        io_callback(lambda x: self.calls.append(x.shape), None, inputs, ordered=True)
        return super().project_input(inputs)


class Rounded(Base):
    """A loop of unknown length has no reverse mode."""

    def update(self, carry, gates, *, key=None):
        halve = lambda g: g / 2
        hidden = jax.lax.while_loop(lambda g: jnp.any(jnp.abs(g) > 0.1), halve, gates)
        return hidden, hidden


class Twice(Base):
    def update(self, carry, gates, *, key=None):
        return 2 * gates, 2 * gates


@pytest.mark.parametrize("options", [{}, {"checkpoint": 2, "reverse": True}], ids=str)
def test_parts_without_a_derivative_run_forward(options):
    rnn = lambda cell: eqx_rnn.RNN(cell, **options)(X, seq_lengths=LENGTHS)
    assert_close(rnn(Pure(W, U)), rnn(Twice(W, U)))
    for ordered in (False, True):
        calls = []
        outputs = rnn(Counted(W, U, calls, ordered))
        jax.effects_barrier()
        assert_close(outputs, rnn(Base(W, U)))
        assert len(calls) == 6
    calls = []
    assert_close(rnn(CountedInputs(W, U, calls)), rnn(Base(W, U)))
    jax.effects_barrier()
    assert calls == 6 * [(2, 3)]
    assert np.all(np.abs(rnn(Rounded(W, U))) <= 0.1)


@pytest.mark.parametrize("part", ["project_input", "project_hidden", "update"])
def test_a_traced_array_in_a_function_that_a_part_calls(part):
    class Scaled(Base):
        function: object = eqx.field(static=True, default=None)

        def project_input(self, inputs):
            return super().project_input(self.scale("project_input", inputs))

        def project_hidden(self, carry):
            return super().project_hidden(self.scale("project_hidden", carry))

        def update(self, carry, gates, *, key=None):
            return super().update(carry, self.scale("update", gates))

        def scale(self, name, array):
            return self.function(array) if name == part else array

    def loss(run, scale):
        return jnp.sum(jnp.sin(run(Scaled(W, U, lambda x: scale * x))))

    ours = lambda cell: eqx_rnn.RNN(cell)(X)
    plain = lambda cell: jax.vmap(functools.partial(loop, cell))(X)
    got, want = (jax.jit(jax.grad(functools.partial(loss, f)))(1.5) for f in (ours, plain))
    np.testing.assert_allclose(got, want)


@pytest.mark.parametrize(
    ("mapped", "lengths"), [(False, None), (True, LENGTHS)], ids=["native", "mapped"]
)
def test_no_tracer_leaks(mapped, lengths):
    """Also within `jit`, where the error about wrong lengths is first traced."""
    cell = eqx_rnn.LSTMCell(3, 4, dtype=jnp.float64, key=jax.random.key(0))
    # The text of the error contains the number of steps, which no other test uses.
    xs = random_like(jax.ShapeDtypeStruct((2, 29 + mapped, 3), float), 1)
    with jax.checking_leaks():
        if mapped:
            call = lambda cell: jax.vmap(lambda x, n: eqx_rnn.RNN(cell)(x, seq_lengths=n))
            run = lambda cell: call(cell)(xs, lengths)
        else:
            run = lambda cell: eqx_rnn.RNN(cell)(xs, seq_lengths=lengths)
        assert np.any(gradient(run, cell).weight_hh != 0)


@pytest.mark.parametrize(
    "options",
    [
        {"checkpoint": True},
        {"checkpoint": 3},
        {"truncate": 2},
        {"checkpoint": 2, "truncate": 3},
        {"reverse": True, "checkpoint": True, "unroll": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("stacked", [False, True])
def test_no_steps(options, stacked):
    """Empty outputs and the initial carry, with every option."""
    cell = eqx_rnn.GRUCell(3, 4, key=jax.random.key(0))
    if stacked:
        cell = eqx_rnn.StackedCell([cell, eqx_rnn.LSTMCell(4, 5, key=jax.random.key(1))])
    inputs = jnp.zeros((2, 0, 3), jnp.float32)
    start = random_like(cell.initialize_carry(None, inputs.sum(1)), 1)
    none = np.zeros((2, 0), bool)
    for steps in ({}, {"seq_lengths": np.array([0, 0])}, {"mask": none, "resets": none}):
        given = dict(initial_carry=start, return_carry=True) | steps
        run = lambda cell, given=given: eqx_rnn.RNN(cell, **options)(inputs, **given)
        final, outputs = run(cell)
        assert_close(final, start)
        assert outputs.shape == (2, 0, 5 if stacked else 4)
        gradient = eqx.filter_grad(lambda cell, run=run: jnp.sum(run(cell)[1]))(cell)
        jax.tree.map(lambda g: np.testing.assert_array_equal(g, 0), gradient)


class Dict(Base):
    """Gates in a dict, one of them without an input part."""

    def project_input(self, inputs):
        return {"a": inputs @ self.w, "b": (None, inputs @ self.w)}

    def project_hidden(self, carry):
        return {"a": carry @ self.u, "b": (carry @ self.u.T, None)}

    def update(self, carry, gates, *, key=None):
        hidden = jnp.tanh(gates["a"]) * jnp.cos(gates["b"][0]) + jnp.sin(gates["b"][1])
        return hidden, {"hidden": hidden, "gate": gates["a"]}


def test_gates_of_any_structure():
    cell = Dict(W, U)
    ours = lambda cell: eqx_rnn.RNN(cell)(X)["hidden"]
    plain = lambda cell: jax.vmap(functools.partial(loop, cell))(X)["hidden"]
    assert_close(ours(cell), plain(cell))
    assert_close(gradient(ours, cell), gradient(plain, cell))

    class Other(Dict):
        def project_hidden(self, carry):
            return {"a": carry @ self.u}

    with pytest.raises(TypeError, match="`project_input` and `project_hidden` must return gates"):
        eqx_rnn.RNN(Other(W, U))(X)


class InputFree(Base):
    """A cell without gates from the inputs, and without outputs."""

    def project_input(self, inputs):
        return None

    def update(self, carry, gates, *, key=None):
        return jnp.tanh(gates + 1), None


@pytest.mark.parametrize("options", [{}, {"checkpoint": 2}, {"reverse": True}], ids=str)
def test_no_gates_from_the_inputs(options):
    def ours(cell):
        return eqx_rnn.RNN(cell, **options)(X, return_carry=True)[0]

    def plain(cell):
        step = lambda carry, x: cell(carry, x)
        return jax.lax.scan(step, cell.initialize_carry(None, X[:, 0]), X.swapaxes(0, 1))[0]

    cell = InputFree(W, U)
    assert_close(ours(cell), plain(cell))
    assert_close(gradient(ours, cell), gradient(plain, cell))


class OneRow(Base):
    """A cell whose parts lose or mix the rows of a batch."""

    wrong: str = eqx.field(static=True, default="")

    def mix(self, name, array):
        return jnp.mean(array**2) if name == self.wrong else array

    def initialize_carry(self, key, sample_input):
        carry = super().initialize_carry(key, sample_input)
        return carry[0] if self.wrong == "initialize_carry" else carry

    def project_input(self, inputs):
        return self.mix("project_input", super().project_input(inputs))

    def project_hidden(self, carry):
        return self.mix("project_hidden", super().project_hidden(carry))

    def update(self, carry, gates, *, key=None):
        new, outputs = super().update(carry, gates)
        return self.mix("carry", new), self.mix("outputs", outputs)


class PlainOneRow(eqx_rnn.RNNCellBase):
    cell: OneRow
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return self.cell.initialize_carry(key, sample_input)

    def __call__(self, carry, inputs, *, key=None):
        gates = self.cell.project_input(inputs) + self.cell.project_hidden(carry)
        return self.cell.update(carry, gates)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("initialize_carry", r"every array in the carry must have the batch axes .* \(2,\)"),
        ("carry", "a step must return a carry like the old one.*The shapes differ"),
        ("outputs", r"every array in the outputs must have the batch axes .*got float64\[\]"),
        ("project_input", "every array in the gates of `project_input`"),
        ("project_hidden", "every array in the gates of `project_hidden`"),
    ],
)
@pytest.mark.parametrize("steps", [{}, {"seq_lengths": LENGTHS}], ids=["all", "lengths"])
def test_rows_are_never_broadcast(wrong, message, steps):
    cell = OneRow(W, U, wrong)
    with pytest.raises(ValueError, match=f"OneRow: {message}"):
        eqx_rnn.RNN(cell)(X, **steps)
    with pytest.raises(ValueError, match=f"OneRow: {message}"):
        cell(cell.initialize_carry(None, X[:, 0]), X[:, 0])
    if not wrong.startswith("project"):
        with pytest.raises(ValueError, match=f"PlainOneRow: {message}"):
            eqx_rnn.RNN(PlainOneRow(cell))(X, **steps)
    if wrong != "initialize_carry":  # the error asks to change the innermost cell
        dropout = eqx_rnn.RecurrentDropout(eqx_rnn.Zoneout(cell, 0.0), 0.1)
        with pytest.raises(ValueError, match=f"OneRow: {message}"):
            eqx_rnn.RNN(dropout)(X, **steps, key=jax.random.key(0))
    assert_close(eqx_rnn.RNN(OneRow(W, U))(X), eqx_rnn.RNN(Base(W, U))(X))
