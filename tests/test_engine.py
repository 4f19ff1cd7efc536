"""The factored engine against the plain scan: values and all kinds of derivatives, in float64."""

import functools
from typing import NamedTuple

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from helpers import random_like

import eqx_rnn
from eqx_rnn._base.cells import is_chunked, is_factored
from eqx_rnn._scan import Steps, plain
from eqx_rnn._scan.factored import engine as factored
from eqx_rnn._scan.factored.plan import Plan, plan
from eqx_rnn._scan.skipped import find_substitute
from eqx_rnn._scan.steps import Options

EXACT = dict(rtol=1e-10, atol=1e-10)
assert_close = functools.partial(helpers.assert_close, **EXACT)
BATCH = (3,)
OPTIONS = {"options": Options(), "substitute": None}
NO_STEPS = Steps(None, None, None)
# Cells that run in chunks have tests of their own.
CASES = [case for case in CASES if not is_chunked(case.cell())]
BY_NAME = {case.name: case for case in CASES}

# 11 steps are two chunks of 4 and one of 3.
fast_scan = functools.partial(factored.scan, chunk_size=4)


def steps(num_steps, *names, batch=BATCH):
    rng = np.random.default_rng(4)
    lengths = rng.integers(0, num_steps + 1, batch)
    time = np.arange(num_steps).reshape(-1, *len(batch) * (1,))
    resets = jnp.asarray(rng.random((num_steps, *batch)) < 0.3)
    return Steps(
        jnp.asarray(time < lengths) if "lengths" in names else None,
        resets if "resets" in names else None,
        None,
    )


class Problem:
    """A cell on both engines: functions of `(parameters, carry, inputs, initial)`, and a loss."""

    def __init__(self, case, num_steps, steps, batch=BATCH, **options):
        cell, options = case.cell(), Options(**options)
        begun, carry, _ = cell.begin(case.carry(cell, *batch))
        initial = cell.begin(case.carry(cell, *batch, seed=5))[1]
        self.parameters, static = eqx.partition(begun, eqx.is_array)
        self.arguments = self.parameters, carry, case.inputs(num_steps, *batch), initial

        def run(scan):
            def call(parameters, carry, inputs, initial):
                cell, substitute = eqx.combine(parameters, static), None
                if steps.valid is not None:
                    row = steps.valid, steps.resets, options.reverse
                    substitute = find_substitute(*row, carry, inputs, initial)
                arguments = cell, carry, inputs, initial, steps, options
                return scan(*arguments, substitute=substitute)

            return call

        fast = fast_scan if is_factored(begun) else plain.scan
        self.fast, self.slow = run(fast), run(plain.scan)

    def both(self, transform):
        """Applies a transformation to both functions, and runs the compiled results."""
        return [jax.jit(transform(run))(*self.arguments) for run in (self.fast, self.slow)]

    def loss(self, run):
        weights = random_like(jax.eval_shape(run, *self.arguments), seed=6)

        def loss(*arguments):
            terms = jax.tree.map(lambda w, r: jnp.vdot(w, jnp.sin(r)), weights, run(*arguments))
            return sum(jax.tree.leaves(terms))

        return loss

    def gradients(self, run):
        return lambda *arguments: (
            run(*arguments),
            jax.grad(self.loss(run), argnums=(0, 1, 2, 3))(*arguments),
        )

    def forward_mode(self, run):
        tangents = random_like(self.arguments, seed=7)
        return lambda *arguments: jax.jvp(run, arguments, tangents)

    def hessian_vector(self, run):
        tangents = random_like(self.arguments, seed=7)
        gradient = jax.grad(self.loss(run), argnums=(0, 1, 2, 3))
        return lambda *arguments: jax.jvp(gradient, arguments, tangents)[1]

    def gradient_of_gradient(self, run):
        gradient = jax.grad(self.loss(run), argnums=(0, 1, 2, 3))
        weights = random_like(self.arguments, seed=8)

        def loss(*arguments):
            terms = jax.tree.map(jnp.vdot, weights, gradient(*arguments))
            return sum(jax.tree.leaves(terms))

        return jax.grad(loss, argnums=(0, 1, 2, 3))


# `test_quick.py` compares the gradients of all cells with a loop.
DERIVED = [
    BY_NAME[name]
    for name in (
        "simple",
        "lstm",
        "lstm-proj",
        "gru",
        "gru-reset-before",
        "conv-lstm-1d",
        "layer-norm-lstm",
        "peephole-lstm",
        "slstm",
        "lem",
        "ctrnn",
        "lmu",
        "sru2",
        "zoneout-lstm",
        "dropout-lstm",
        "drop-connect-lstm",
    )
]


@pytest.mark.parametrize("case", DERIVED, ids=lambda case: case.name)
def test_values_and_all_derivatives(case):
    """Values, gradients and their forward derivatives, including Hessian-vector products."""
    problem = Problem(case, 11, steps(11, "lengths", "resets"))
    tangents = random_like(problem.arguments, seed=7)
    transform = lambda run: lambda *args: jax.jvp(problem.gradients(run), args, tangents)
    assert_close(*problem.both(transform))


REVERSE = {"reverse": True}


@pytest.mark.parametrize(
    ("name", "names", "options"),
    [
        ("lstm", (), REVERSE),
        ("lstm", ("lengths",), {}),
        ("lstm", ("lengths",), REVERSE),
        ("lstm", ("resets",), REVERSE),
        ("lstm", ("lengths", "resets"), REVERSE | {"checkpoint": 3, "all_carries": True}),
        ("lstm", (), {"all_carries": True}),
        ("lstm", (), {"unroll": 3}),
        ("lstm-proj", ("lengths", "resets"), {"checkpoint": 3}),
        ("simple", ("lengths",), {"unroll": 2, "all_carries": True}),
        ("simple", ("lengths", "resets"), REVERSE | {"checkpoint": 3}),
        ("gru", (), {"checkpoint": 11}),
        ("gru", ("lengths", "resets"), REVERSE | {"all_carries": True}),
        ("gru-reset-before", ("resets",), {"checkpoint": 1}),
        ("gru-reset-before", ("lengths", "resets"), REVERSE | {"unroll": 2}),
    ],
    ids=str,
)
def test_options(name, names, options):
    problem = Problem(BY_NAME[name], 11, steps(11, *names), **options)
    assert_close(*problem.both(problem.gradients))


@pytest.mark.parametrize("num_steps", [1, 2, 4, 8])
def test_lengths_of_the_time_axis(num_steps):
    problem = Problem(BY_NAME["lstm"], num_steps, steps(num_steps))
    assert_close(*problem.both(problem.gradients))


@pytest.mark.parametrize("name", ["lstm", "conv-lstm-1d"])
def test_a_single_row(name):
    """A batch of one row takes another product in the backward pass."""
    problem = Problem(BY_NAME[name], 5, steps(5, "resets", batch=(1,)), batch=(1,))
    assert_close(*problem.both(problem.gradients))


@pytest.mark.parametrize(
    ("name", "options"),
    [("lstm", REVERSE | {"checkpoint": 2}), ("simple", REVERSE)],
    ids=str,
)
def test_higher_orders_with_lengths_and_resets(name, options):
    problem = Problem(BY_NAME[name], 5, steps(5, "lengths", "resets"), **options)
    assert_close(*problem.both(problem.forward_mode))
    assert_close(*problem.both(problem.hessian_vector))
    assert_close(*problem.both(problem.gradient_of_gradient))


@pytest.mark.parametrize(
    "name", ["lstm", "gru", "simple", "conv-lstm-1d", "slstm", "ctrnn", "lmu", "zoneout-lstm"]
)
def test_vmap_of_gradients(name):
    problem = Problem(BY_NAME[name], 8, steps(8, "lengths"))
    stacked = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), problem.arguments)
    runs = problem.fast, problem.slow
    assert_close(*(jax.jit(jax.vmap(problem.gradients(run)))(*stacked) for run in runs))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_engine_applies(case):
    """These tests compare two engines, except for cells without a hidden part."""
    cell, carry, _ = case.cell().begin(case.carry(case.cell(), *BATCH))
    assert is_factored(cell) == (not case.name.endswith("-plain"))
    if is_factored(cell):
        assert isinstance(plan(cell, carry, case.inputs(11, *BATCH), NO_STEPS, Options()), Plan)


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (functools.partial(eqx_rnn.SimpleCell, activation=jnp.tanh), 1),
        (functools.partial(eqx_rnn.SimpleCell, activation=jax.nn.sigmoid), 1),
        (functools.partial(eqx_rnn.SimpleCell, activation=jnp.sin), 2),
        (eqx_rnn.GRUCell, 5),
        (eqx_rnn.LSTMCell, 6),
    ],
    ids=["tanh", "sigmoid", "sin", "gru", "lstm"],
)
def test_arrays_are_kept_only_if_the_derivative_needs_them(make, number):
    """Counts the arrays of all steps.

    They are the carries; for `sin` also the gates, because the derivative is a cosine. A GRU and an
    LSTM keep the activated gates, and a GRU also the hidden part of the candidate.
    """
    cell, inputs = make(5, 7, key=jax.random.key(0)), jnp.zeros((8, 3, 5))
    carry = cell.initialize_carry(None, inputs[0])
    run = lambda inputs: fast_scan(cell, carry, inputs, None, NO_STEPS, **OPTIONS)
    _, pull = jax.vjp(run, inputs)
    kept = [leaf for leaf in jax.tree.leaves(pull) if leaf.shape in [(1, 8, 3, 7), (1, 8, 3, 28)]]
    assert len(kept) == number


def test_a_remainder_is_no_second_loop():
    """Seven steps in chunks of three compile to as many loops as six."""
    cell = eqx_rnn.LSTMCell(5, 7, key=jax.random.key(0))

    def loops(num_steps):
        inputs = jnp.zeros((num_steps, 2, 5))
        carry = cell.initialize_carry(None, inputs[0])
        run = lambda x: fast_scan(cell, carry, x, None, NO_STEPS, **OPTIONS | {"chunk_size": 3})
        loss = lambda x: jnp.sum(run(x)[1][1])
        return jax.jit(jax.grad(loss)).lower(inputs).as_text().count("stablehlo.while")

    assert loops(7) == loops(6) > 2


def test_vmap_of_a_run_forms_one_gradient_of_the_weights():
    """It does not form one gradient per row of the batch and sum afterwards."""
    cell = eqx_rnn.LSTMCell(5, 7, key=jax.random.key(0))
    parameters, static = eqx.partition(eqx_rnn.RNN(cell), eqx.is_array)
    xs = random_like(jax.ShapeDtypeStruct((17, 11, 5), float), 2)
    over = lambda run: lambda p, x: jnp.sum(jnp.sin(run(eqx.combine(p, static))(x)))
    mapped, native = (
        jax.jit(jax.grad(over(run))).lower(parameters, xs).compile()
        for run in (jax.vmap, lambda rnn: rnn)
    )
    assert_close(mapped(parameters, xs), native(parameters, xs))
    weights = {leaf.shape for leaf in jax.tree.leaves(parameters) if leaf.ndim == 2}
    for shape in weights | {shape[::-1] for shape in weights}:
        assert f"[17,{shape[0]},{shape[1]}]" not in mapped.as_text()


@pytest.mark.parametrize("name", ["lstm", "gru-reset-before"])
def test_vmap_of_other_derivatives(name):
    """With the mapped axis on all arguments, and on the inputs only."""
    problem = Problem(BY_NAME[name], 5, steps(5))
    stacked = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), problem.arguments)
    only_inputs = (*problem.arguments[:2], stacked[2], problem.arguments[3])
    for transform in (problem.gradients, problem.forward_mode, problem.hessian_vector):
        for arguments, axes in ((stacked, 0), (only_inputs, (None, None, 0, None))):
            results = [
                jax.jit(jax.vmap(transform(run), in_axes=axes))(*arguments)
                for run in (problem.fast, problem.slow)
            ]
            assert_close(*results)


def test_linearize_and_jacobians():
    problem = Problem(BY_NAME["gru"], 5, steps(5))
    tangents = random_like(problem.arguments, seed=7)
    linear = [jax.linearize(run, *problem.arguments)[1] for run in (problem.fast, problem.slow)]
    assert_close(*(f(*tangents) for f in linear))
    final = lambda run: lambda *arguments: run(*arguments)[0]
    for jacobian in (jax.jacfwd, jax.jacrev):
        assert_close(*problem.both(lambda run, j=jacobian: j(final(run), argnums=1)))


@pytest.mark.parametrize("argnum", [0, 1, 2, 3])
def test_gradients_for_one_argument_alone(argnum):
    problem = Problem(BY_NAME["lstm"], 5, steps(5, "resets"))
    assert_close(*problem.both(lambda run: jax.grad(problem.loss(run), argnums=argnum)))


def test_some_weights_frozen():
    problem = Problem(BY_NAME["lstm"], 5, steps(5))

    def transform(run):
        def loss(weight_hh, parameters, *rest):
            parameters = eqx.tree_at(lambda p: p.weight_hh, parameters, weight_hh)
            return problem.loss(run)(parameters, *rest)

        return lambda parameters, *rest: jax.grad(loss)(parameters.weight_hh, parameters, *rest)

    assert_close(*problem.both(transform))


def test_only_the_final_carry_is_used():
    problem = Problem(BY_NAME["gru"], 5, steps(5))
    final = lambda run: lambda *arguments: jnp.sum(jnp.sin(run(*arguments)[0]))
    assert_close(*problem.both(lambda run: jax.grad(final(run), argnums=(0, 1, 2))))


def test_inside_jax_checkpoint_and_scan():
    problem = Problem(BY_NAME["lstm"], 5, steps(5))
    again = lambda run: jax.grad(jax.checkpoint(problem.loss(run)), argnums=(0, 1, 2))
    assert_close(*problem.both(again))

    def layers(run):
        def loss(parameters, carry, inputs, initial):
            layer = lambda x, _: (run(parameters, carry, x, initial)[1][1][..., :3], None)
            return jnp.sum(jnp.sin(jax.lax.scan(layer, inputs, None, length=2)[0]))

        return jax.grad(loss, argnums=(0, 1, 2))

    assert_close(*problem.both(layers))


def test_bfloat16():
    """Both engines round, at different places. Their errors against float64 have similar size."""
    case = BY_NAME["lstm"]
    cell = case.cell(jnp.bfloat16)
    xs = case.inputs(11, *BATCH, dtype=jnp.bfloat16)
    carry = jax.tree.map(lambda a: a.astype(jnp.bfloat16), case.carry(cell, *BATCH))

    def gradients(scan, cell, carry, xs):
        def loss(cell):
            _, (_, ys) = scan(cell, carry, xs, carry, steps(11), **OPTIONS)
            assert ys.dtype == xs.dtype
            return jnp.sum(jnp.sin(ys.astype(jnp.float64)))

        return eqx.filter_jit(eqx.filter_grad(loss))(cell)

    wide = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float64), tree)
    exact = gradients(plain.scan, wide(cell), wide(carry), wide(xs))
    error = lambda scan: [
        np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)
        for a, b in zip(
            jax.tree.leaves(gradients(scan, cell, carry, xs)), jax.tree.leaves(exact), strict=True
        )
    ]
    for fast, slow in zip(error(fast_scan), error(plain.scan), strict=True):
        assert fast < 1.5 * slow + 0.005


class Own(eqx_rnn.FactoredCell):
    """A cell with parameters in all parts, one parameter in two parts, and an integer array."""

    w: jax.Array
    u: jax.Array
    scale: jax.Array
    order: jax.Array

    class Gates(NamedTuple):
        a: jax.Array
        b: jax.Array | None

    num_feature_dims = property(lambda self: 1)

    def initialize_carry(self, key, sample_input):
        return {"h": jnp.zeros((*sample_input.shape[:-1], 3))}

    def project_input(self, inputs):
        return self.Gates(inputs @ self.w, None)

    def project_hidden(self, carry):
        h = jnp.tanh(self.scale * carry["h"])  # a projection that is not linear
        return self.Gates(h @ self.u, h[..., self.order])

    def update(self, carry, gates, *, key=None):
        h = jnp.tanh(gates.a) * self.scale + 0.5 * carry["h"] * jnp.cos(gates.b)
        return {"h": h}, {"h": h, "twice": 2 * h}


OWN = Own(
    *random_like([jax.ShapeDtypeStruct(s, float) for s in ((3, 3), (3, 3), (3,))], 0),
    order=jnp.array([2, 0, 1]),
)


class OwnCase:
    def cell(self):
        return OWN

    def carry(self, cell, *batch, seed=3):
        return random_like({"h": jax.ShapeDtypeStruct((*batch, 3), float)}, seed)

    def inputs(self, *leading):
        return random_like(jax.ShapeDtypeStruct((*leading, 3), float), 2)


def test_a_users_own_cell():
    case = OwnCase()
    cell = case.cell()
    static = eqx.partition(cell, eqx.is_inexact_array)[1]
    xs, carry, initial = case.inputs(11, 3), case.carry(cell, 3), case.carry(cell, 3, seed=5)

    def gradients(scan):
        def loss(parameters, carry, xs, initial):
            cell = eqx.combine(parameters, static)
            masked = steps(11, "lengths", "resets")
            final, (_, ys) = scan(cell, carry, xs, initial, masked, **OPTIONS)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves((final, ys)))

        parameters = eqx.filter(cell, eqx.is_inexact_array)
        call = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
        return call(parameters, carry, xs, initial)

    assert_close(gradients(fast_scan), gradients(plain.scan))


class Noisy(eqx_rnn.FactoredCell):
    """A cell that draws in `update`, with a `None` in its carry, and tokens as inputs."""

    embedding: jax.Array
    w: jax.Array
    num_feature_dims = property(lambda self: 0)

    def initialize_carry(self, key, sample_input):
        return None, jnp.zeros((*sample_input.shape, 3))

    def project_input(self, inputs):
        return self.embedding[inputs]

    def project_hidden(self, carry):
        return carry[1] @ self.w

    def update(self, carry, gates, *, key=None):
        keep = jax.random.bernoulli(key, 0.5, gates.shape)
        hidden = jnp.where(keep, jnp.tanh(gates), carry[1])
        return (None, hidden), hidden


@pytest.mark.parametrize("options", [{}, {"checkpoint": 3}, REVERSE], ids=str)
@pytest.mark.parametrize(
    "make_key", [jax.random.key, jax.random.PRNGKey, lambda s: jax.random.key(s, impl="rbg")]
)
def test_random_steps_and_tokens(make_key, options):
    weights = random_like([jax.ShapeDtypeStruct(s, float) for s in ((7, 3), (3, 3))], 0)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 7, (11, 2)))
    keys = jax.random.split(make_key(1), 11)

    def value_and_gradients(scan):
        def loss(weights, carry):
            start = None, carry
            arrays = Noisy(*weights), start, tokens, start, Steps(None, None, keys)
            final, (_, ys) = scan(*arrays, Options(**options), substitute=None)
            return jnp.sum(jnp.sin(ys)) + jnp.sum(final[1])

        arguments = weights, random_like(jax.ShapeDtypeStruct((2, 3), float), 3)
        gradients = jax.value_and_grad(loss, argnums=(0, 1))
        moved = lambda *arguments: jax.jvp(gradients, arguments, random_like(arguments, 4))
        return jax.jit(moved)(*arguments)

    assert_close(value_and_gradients(fast_scan), value_and_gradients(plain.scan))


def test_a_traced_array_in_an_activation():
    """The engine leaves such a cell to the plain scan."""
    xs = BY_NAME["lstm"].inputs(2, 5)

    def loss(scale):
        activation = lambda x: scale * jnp.tanh(x)
        cell = eqx_rnn.LSTMCell(3, 4, activation=activation, key=jax.random.key(0))
        return jnp.sum(eqx_rnn.RNN(cell)(xs))

    (gradient,) = jax.jit(jax.grad(lambda s: loss(s[0])))([1.5])
    difference = (jax.jit(loss)(1.5 + 1e-6) - jax.jit(loss)(1.5 - 1e-6)) / 2e-6
    np.testing.assert_allclose(gradient, difference, rtol=1e-6)


def test_an_integer_in_the_carry():
    """The engine leaves such a cell to the plain scan."""

    class Counting(eqx_rnn.FactoredCell):
        w: jax.Array
        num_feature_dims = property(lambda self: 1)

        def initialize_carry(self, key, sample_input):
            batch = sample_input.shape[:-1]
            return jnp.zeros((*batch, 3)), jnp.zeros(batch, int)

        def project_input(self, inputs):
            return inputs

        def project_hidden(self, carry):
            return carry[0] @ self.w

        def update(self, carry, gates, *, key=None):
            hidden = jnp.tanh(gates)
            return (hidden, carry[1] + 1), hidden

    rnn, xs = eqx_rnn.RNN(Counting(OWN.w)), OwnCase().inputs(3, 11)
    (_, count), _ = rnn(xs, seq_lengths=np.array([0, 4, 11]), return_carry=True)
    np.testing.assert_array_equal(count, [0, 4, 11])
    gradient = eqx.filter_grad(lambda rnn: jnp.sum(rnn(xs)))(rnn)
    assert np.all(gradient.cell.w != 0)
