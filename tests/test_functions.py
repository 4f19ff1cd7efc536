"""Functions in cells: copies, pickles and comparison. Modules in their place are trained."""

import copy
import functools
import inspect
import operator
import pickle
import pickletools
import subprocess
import sys
import typing

import cloudpickle
import equinox as eqx
import jax
import jax.nn.initializers as jinit
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from cases import CELLS, EACH_CLASS, FEW_CASES
from helpers import EXACT, assert_close, random_like
from jax.nn import relu, sigmoid

import eqx_rnn
from eqx_rnn import RNN, Bidirectional, LSTMCell, Stacked, StackedCell, interop

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda tree: pickle.loads(pickle.dumps(tree)),
    "cloudpickle": lambda tree: cloudpickle.loads(cloudpickle.dumps(tree)),
}
KEY = jr.key(0)
XS = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 3)))


def lstm(**options):
    return LSTMCell(3, 3, dtype=jnp.float64, key=KEY, **options)


def bidirectional(merge):
    return Bidirectional(RNN(lstm()), RNN(LSTMCell(3, 3, key=jr.key(1))), merge)


def normed():
    norms = [eqx.nn.LayerNorm(6)]
    upper = RNN(LSTMCell(6, 3, key=KEY), checkpoint=2, truncate=3)
    return Stacked([bidirectional("concat"), upper], dropout=0.2, norms=norms)


LAYERS = {
    "rnn": lambda: RNN(lstm(), time_major=True, reverse=True),
    "bidirectional": lambda: bidirectional("concat"),
    "bidirectional-no-merge": lambda: bidirectional(None),
    "bidirectional-ufunc": lambda: bidirectional(jnp.maximum),
    "stacked": normed,
    "stacked-cell": lambda: StackedCell([lstm(), eqx_rnn.GRUCell(3, 4, key=KEY)]),
    "relu": lambda: RNN(lstm(activation=jax.nn.relu, gate_activation=jax.nn.hard_sigmoid)),
    "partial": lambda: RNN(lstm(activation=functools.partial(jax.nn.gelu, approximate=False))),
    "partial-relu": lambda: RNN(lstm(activation=functools.partial(jax.nn.relu))),
    "prelu": lambda: RNN(lstm(activation=eqx.nn.PReLU())),
    "builtin": lambda: bidirectional(operator.mul),
    "initialiser": lambda: RNN(lstm(carry_init=jinit.normal(0.1))),
    "variance-scaling": lambda: RNN(lstm(carry_init=jinit.he_uniform(in_axis=-1))),
    "chrono": lambda: RNN(lstm(carry_init=eqx_rnn.chrono(9))),
    "initialiser-dtype": lambda: RNN(lstm(carry_init=jinit.he_normal(dtype=jnp.float32))),
    "module-without-arrays": lambda: RNN(lstm(activation=eqx.nn.Lambda(jnp.tanh))),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("case", FEW_CASES, ids=lambda case: case.name)
def test_copies_of_cells(case, how):
    """Copies have equal structure, equal numbers, and the same operations in a step."""
    cell = case.cell()
    other = COPIES[how](cell)
    assert other is not cell
    assert_close(other, cell, rtol=0, atol=0)
    carry, x = case.carry(cell, 2), case.inputs(2)
    jaxprs = [
        str(eqx.filter_make_jaxpr(lambda c, *args: c(*args))(c, carry, x)[0]) for c in (cell, other)
    ]
    assert jaxprs[0] == jaxprs[1]


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", LAYERS)
def test_copies_of_layers(name, how):
    layer = LAYERS[name]()
    other = COPIES[how](layer)
    assert jax.tree.structure(other) == jax.tree.structure(layer)
    for a, b in zip(*map(jax.tree.leaves, (layer, other)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", EACH_CLASS, ids=lambda case: case.name)
def test_pickles_survive_a_move_of_files(case):
    """Pickles name no private module, neither of this package nor of `jax.nn`."""
    cell = case.cell()
    sample = jax.ShapeDtypeStruct((2, *case.features), jnp.float64)
    carry = cell.initialize_carry(KEY, sample)
    words = [word for _, word, _ in pickletools.genops(pickle.dumps((cell, carry)))]
    ours = {word for word in words if isinstance(word, str) and word.startswith("eqx_rnn")}
    assert not any("._" in word for word in ours)
    assert not any("jax._src.nn" in word for word in words if isinstance(word, str))


def test_public_objects_name_the_package():
    for home in (eqx_rnn, interop):
        for name, value in vars(home).items():
            home_of = getattr(value, "__module__", "")
            if not name.startswith("_") and home_of.startswith("eqx_rnn"):
                assert home_of == home.__name__, name
                assert getattr(home, value.__qualname__) is value
                assert inspect.signature(value)
                assert typing.get_type_hints(value) is not None


LOAD = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    rnn, lam, x, y, z = pickle.load(file)
assert "eqx_rnn" in sys.modules
import numpy as np
np.testing.assert_allclose(rnn(x), y, rtol=1e-6)
np.testing.assert_allclose(lam(x), z, rtol=1e-6)
"""


def test_a_pickle_in_another_process(tmp_path):
    x = np.ones((2, 4, 3), np.float32)
    rnn = RNN(LSTMCell(3, 4, activation=jax.nn.relu, dtype=jnp.float32, key=KEY))
    rate = 0.1
    other = LSTMCell(
        3,
        4,
        activation=lambda x: jax.nn.leaky_relu(x, rate),
        carry_init=jinit.constant(0.5),
        dtype=jnp.float32,
        key=KEY,
    )
    models = rnn, RNN(other)
    path = tmp_path / "models.pickle"
    path.write_bytes(cloudpickle.dumps((*models, x, *(np.asarray(m(x)) for m in models))))
    subprocess.run([sys.executable, "-c", LOAD, str(path)], check=True, timeout=300)


def test_the_error_of_pickle_names_the_remedy():
    with pytest.raises(pickle.PicklingError, match=r"<lambda>.*cloudpickle"):
        pickle.dumps(RNN(lstm(activation=lambda x: x)))


def scaled(scale):
    return lambda x: scale * x


def recursive(n):
    def f(x, depth=n):
        return x if depth == 0 else f(jnp.tanh(x), depth - 1)

    return f


def with_jvp(scale, slope):
    @jax.custom_jvp
    def f(x):
        return scale * x

    f.defjvp(lambda x, dx: (f(*x), slope * dx[0]))
    return f


def with_vjp(scale, slope):
    f = jax.custom_vjp(lambda x: scale * x)
    f.defvjp(lambda x: (f(x), None), lambda _, g: (slope * g,))
    return f


class Scale:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x):
        return self.scale * x


class Valued(Scale):
    def __eq__(self, other):
        return self.scale == other.scale

    def __hash__(self):
        return hash(self.scale)


SHARED, SHARED_SCALE = Scale(2.0), 4.0
NAN, MINUS_NAN = np.array([np.nan]), -np.array([np.nan])
EQUAL = {
    "importable": lambda: jax.nn.relu,
    "a lambda": lambda: lambda x: 2 * x,
    "an initialiser": jinit.normal,
    "an initialiser of ours": lambda: eqx_rnn.chrono(9),
    "a closure": lambda: scaled(2.0),
    "an array": lambda: scaled(np.arange(3.0)),
    "a JAX array": lambda: scaled(jnp.arange(3.0)),
    "a bfloat16 array": lambda: scaled(jnp.array([1, jnp.nan], jnp.bfloat16)),
    "nan": lambda: scaled(float("nan")),
    "nan of either sign": iter([scaled(NAN), scaled(MINUS_NAN)]).__next__,
    "a container": lambda: scaled({"a": [1.0, (2, None)], "b": {3}}),
    "a module": lambda: scaled(eqx.nn.Linear(2, 2, key=KEY)),
    "a random key": lambda: scaled(jr.key(3)),
    "itself": lambda: recursive(3),
    "a partial": lambda: functools.partial(lambda x, a: a * x, a=2.0),
    "a jitted one": lambda: jax.jit(lambda x: 2 * x),
    "custom_jvp": lambda: with_jvp(2.0, 3.0),
    "custom_vjp": lambda: with_vjp(2.0, 3.0),
    "vectorize": lambda: jnp.vectorize(lambda x: 2 * x),
    "a bound method": lambda: SHARED.__call__,
    "equal objects": lambda: Valued(2.0),
    "an empty module": lambda: eqx.nn.Lambda(jnp.tanh),
    "filter_jit": lambda: eqx.filter_jit(jnp.tanh),
    "a copy of a lambda": lambda: cloudpickle.loads(cloudpickle.dumps(lambda x: jnp.sin(x) + 1)),
    "a copy of one that reads globals": lambda: cloudpickle.loads(
        cloudpickle.dumps(lambda x: NAN * SHARED_SCALE * relu(sigmoid(x)))
    ),
    "a copy of a jitted one": lambda: cloudpickle.loads(
        cloudpickle.dumps(eqx_rnn.as_function(jax.jit(lambda x: jnp.sin(x) + 1)))
    ),
    "a copy of a custom_jvp": lambda: cloudpickle.loads(
        cloudpickle.dumps(eqx_rnn.as_function(with_jvp(2.0, 3.0)))
    ),
}
DIFFERENT = {
    "importable": (jnp.tanh, jnp.sin),
    "importable, one name": (jax.nn.relu, lambda: 0),
    "1 and 2": (lambda x: 1 * x, lambda x: 2 * x),
    "1 and 1.0": (lambda x: 1 * x, lambda x: 1.0 * x),
    "1 and True": (lambda x: 1 * x, lambda x: True * x),
    "0.0 and -0.0": (lambda x: 0.0 * x, lambda x: -0.0 * x),
    "inner lambdas": (lambda x: (lambda y: y + 1)(x), lambda x: (lambda y: y + 2)(x)),
    "attributes": (lambda x: jnp.sin(x), lambda x: jnp.cos(x)),
    "closed-over 1 and 1.0": (scaled(1), scaled(1.0)),
    "closed-over 1 and True": (scaled(1), scaled(True)),
    "closed-over 0.0 and -0.0": (scaled(0.0), scaled(-0.0)),
    "closed-over containers": (scaled([1, 2]), scaled([1, 2.0])),
    "closed-over sets": (scaled({1}), scaled({True})),
    "closed-over functions": (scaled(lambda x: x), scaled(lambda x: -x)),
    "arrays": (scaled(np.arange(3)), scaled(np.arange(1, 4))),
    "arrays' shapes": (scaled(np.ones(3)), scaled(np.ones((1, 3)))),
    "arrays' dtypes": (scaled(np.ones(3)), scaled(np.ones(3, np.float32))),
    "arrays' zeros": (scaled(np.zeros(3)), scaled(-np.zeros(3))),
    "weak types": (scaled(jnp.asarray(1.0)), scaled(jnp.asarray(1.0, float))),
    "libraries": (scaled(np.ones(3)), scaled(jnp.ones(3))),
    "defaults": (lambda x, a=1: x, lambda x, a=2: x),
    "keyword defaults": (lambda x, *, a=1: x, lambda x, *, a=1.0: x),
    "depths": (recursive(3), recursive(4)),
    "partials": (functools.partial(jnp.add, 1), functools.partial(jnp.add, 1.0)),
    "jitted": (jax.jit(lambda x: x), jax.jit(lambda x: -x)),
    "jitted and not": (jax.jit(lambda x: x), lambda x: x),
    "custom_jvp": (with_jvp(2.0, 3.0), with_jvp(2.0, 4.0)),
    "custom_vjp": (with_vjp(2.0, 3.0), with_vjp(2.0, 4.0)),
    "vectorize": (jnp.vectorize(lambda x: x), jnp.vectorize(lambda x: -x)),
    "bound methods": (Scale(2.0).__call__, Scale(2.0).__call__),
    "objects": (Scale(2.0), Scale(2.0)),
    "initialisers": (jinit.normal(1.0), jinit.normal(2.0)),
    "initialisers of ours": (eqx_rnn.chrono(8), eqx_rnn.chrono(9)),
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_functions(name):
    a, b = (eqx_rnn.as_function(EQUAL[name]()) for _ in range(2))
    assert a == b
    assert hash(a) == hash(b)
    assert jax.tree.structure(a) == jax.tree.structure(b)


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_functions(name):
    a, b = map(eqx_rnn.as_function, DIFFERENT[name])
    assert a != b
    assert jax.tree.structure(a) != jax.tree.structure(b)


def test_names_do_not_make_functions_equal():
    def one(x):
        return x + 1

    def two(x):
        return x + 2

    two.__name__, two.__qualname__ = one.__name__, one.__qualname__
    assert eqx_rnn.as_function(one) != eqx_rnn.as_function(two)


def test_globals_count():
    load = lambda scale: eval("lambda x: scale * x", {"scale": scale})
    a, b, c = (eqx_rnn.as_function(load(scale)) for scale in (1.0, 1.0, 1))
    assert a == b
    assert a != c


def test_a_traced_closure_equals_itself_only():
    def f(x):
        a, b = eqx_rnn.as_function(scaled(x)), eqx_rnn.as_function(scaled(x * 1))
        assert a == eqx_rnn.as_function(scaled(x))
        assert a != b
        assert hash(a) == hash(b)
        return a(x)

    assert jax.jit(f)(3.0) == 9.0


def test_two_cells_are_mapped_together():
    make = lambda key: LSTMCell(
        3, 4, activation=lambda x: jnp.tanh(x), carry_init=jinit.normal(), key=key
    )
    a, b = make(jr.key(1)), make(jr.key(2))
    mean = jax.tree.map(lambda x, y: (x + y) / 2, a, b)
    np.testing.assert_array_equal(mean.weight_ih, (a.weight_ih + b.weight_ih) / 2)
    assert mean.activation(0.5) == jnp.tanh(0.5)


def test_copies_do_not_compile_again():
    traced = []

    @eqx.filter_jit
    def run(cell):
        traced.append(cell)
        return RNN(cell)(XS)

    cell = lstm(activation=lambda x: jnp.tanh(x), carry_init=jinit.constant(0.1))
    copies = [cell, copy.copy(cell), copy.deepcopy(cell), COPIES["cloudpickle"](cell)]
    results = [run(cell) for cell in copies]
    assert len(traced) == 1
    for result in results:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("case", CELLS, ids=lambda case: case.name)
def test_leaves_are_arrays(case):
    cell = case.cell()
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(cell))
    assert repr(cell.carry_init) == "<function zeros>"
    assert jax.tree.structure(jax.jit(lambda cell: cell)(cell)) == jax.tree.structure(cell)


# The first case of each cell, except for `AntisymmetricRNNCell`, where the case has a gate.
ONE_OF_EACH = {
    type(case.cell()): case for case in reversed(CELLS) if case.name != "antisymmetric-rnn-no-bias"
}
SLOTS = [
    (case, slot)
    for cell_type, case in ONE_OF_EACH.items()
    for slot in ("activation", "gate_activation")
    if slot in cell_type.__dataclass_fields__
]


@pytest.mark.parametrize(("case", "slot"), SLOTS, ids=lambda value: getattr(value, "name", value))
def test_a_module_is_trained(case, slot):
    """The gradient of `PReLU` in every cell, through `RNN`, against a difference quotient."""
    make = lambda **options: case.make(**{slot: eqx.nn.PReLU(0.3)}, **options)
    cell = random_like(eqx.filter_eval_shape(make, dtype=jnp.float64, key=KEY), 0, scale=0.5)
    cell = eqx.tree_at(lambda c: getattr(c, slot).negative_slope, cell, jnp.asarray(0.3, float))
    assert isinstance(getattr(cell, slot), eqx.nn.PReLU)
    assert_close(copy.deepcopy(cell), cell, rtol=0, atol=0)
    xs = case.inputs(2, 3)

    @jax.jit
    def loss(slope):
        model = eqx.tree_at(lambda c: getattr(c, slot).negative_slope, cell, slope)
        return jnp.sum(jnp.sin(RNN(model)(xs)))

    gradient = jax.jit(jax.grad(lambda cell: jnp.sum(jnp.sin(RNN(cell)(xs)))))(cell)
    quotient = (loss(0.3 + 1e-6) - loss(0.3 - 1e-6)) / 2e-6
    assert quotient != 0
    np.testing.assert_allclose(getattr(gradient, slot).negative_slope, quotient, rtol=1e-6)


def test_a_module_as_merge_is_trained():
    class Weighted(eqx.Module):
        weight: jax.Array

        def __call__(self, forward, backward):
            return self.weight * forward + (1 - self.weight) * backward

    layer = bidirectional(Weighted(jnp.asarray(0.3)))
    forward, backward = eqx.tree_at(lambda layer: layer.merge, layer, None)(XS)
    gradient = eqx.filter_grad(lambda layer: jnp.sum(layer(XS)))(layer)
    np.testing.assert_allclose(gradient.merge.weight, jnp.sum(forward - backward), **EXACT)


def test_interop_knows_no_modules():
    cell = lstm(activation=eqx.nn.PReLU())
    for write in (interop.to_torch, interop.to_equinox, interop.to_onnx, interop.to_haiku):
        with pytest.raises(ValueError, match=r"activation=.*PReLU"):
            write(cell)


def test_interop_reads_with_a_module():
    weights = interop.to_keras(lstm())
    cell = interop.from_keras(weights, "LSTM", activation=eqx.nn.PReLU(0.3))
    assert_close(cell.activation(jnp.array(-1.0)), jnp.array(-0.3), rtol=1e-6)
    assert_close(RNN(cell)(XS), RNN(lstm(activation=eqx.nn.PReLU(0.3)))(XS), rtol=1e-6)


def test_what_is_no_function():
    for value in (3, "relu"):
        with pytest.raises(TypeError, match=rf"`value` must be a function.*got {value!r}"):
            eqx_rnn.as_function(value)
