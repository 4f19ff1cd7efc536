"""A JAX in which a name or an attribute that the engine needs is missing, or works differently."""

import ast
import contextlib
import importlib
import os
import pathlib
import re
import subprocess
import sys
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS
from helpers import assert_close
from jax.lax import conv_general_dilated_p, dot_general_p

import eqx_rnn
import eqx_rnn._kernels
from eqx_rnn._kernels.convolutions import is_channels_last
from eqx_rnn._kernels.dots import product_of

PACKAGE = pathlib.Path(eqx_rnn.__file__).parent
GRU = next(case for case in CELLS if case.name == "gru")
RELOADED = ("eqx_rnn._kernels", "eqx_rnn._scan")


def names_in_the_table():
    """The full names in the tables of `eqx_rnn._kernels`."""
    prefix, names = "", []
    for line in (eqx_rnn._kernels.__doc__ or "").splitlines():
        if line.startswith("From "):
            prefix = "".join(f"{name}." for name in re.findall(r"`(jax\.[a-z.]+)`", line))
        elif match := re.match(r"\| `([\w.]+)` \|", line):
            names.append(prefix + match[1])
    return names


NAMES = names_in_the_table()
OPTIONAL = ("jax.lax.pcast", "jax.sharding.reshard")  # read where a mesh needs them
TRACER = "jax.core.Tracer"  # Equinox reads it at run time


@contextlib.contextmanager
def reloaded():
    """Loads the engine again, in the current state of JAX."""
    ours = [name for name in sys.modules if name.startswith(RELOADED)]
    saved = {name: sys.modules.pop(name) for name in ours}
    parents = {name: getattr(eqx_rnn, name.rpartition(".")[2]) for name in RELOADED}
    try:
        yield importlib.import_module("eqx_rnn._scan").scan
    finally:
        for name in [name for name in sys.modules if name.startswith(RELOADED)]:
            del sys.modules[name]
        sys.modules.update(saved)
        for name, module in parents.items():
            setattr(eqx_rnn, name.rpartition(".")[2], module)


def value_and_gradient(scan):
    cell, xs = GRU.cell(), GRU.inputs(5, 2)
    options = dict(reverse=False, unroll=1, checkpoint=None, truncate=None, all_carries=False)
    steps = eqx_rnn._scan.Steps(jnp.asarray(np.arange(5)[:, None] < [5, 3]), None, None)
    carry = GRU.carry(cell, 2)

    def loss(cell, xs):
        final, (_, ys) = scan(cell, carry, xs, None, steps, **options)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(final)

    return jax.value_and_grad(loss, (0, 1))(cell, xs)


def run_reloaded():
    """The results of two calls with a reloaded engine, and the warnings."""
    with reloaded() as scan, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first, second = value_and_gradient(scan), value_and_gradient(scan)
    assert_close(first, second)
    return first, [str(w.message) for w in caught if "eqx_rnn" in str(w.message)]


@pytest.fixture(scope="module")
def expected():
    return value_and_gradient(eqx_rnn._scan.scan)


def test_the_table_is_read():
    assert len(NAMES) > 15
    assert all(name.startswith("jax.") for name in NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != TRACER])
def test_a_name_is_missing(name, expected, monkeypatch):
    module, _, attribute = name.rpartition(".")
    monkeypatch.delattr(importlib.import_module(module) if module != "jax" else jax, attribute)
    results, messages = run_reloaded()
    assert_close(results, expected)
    if name in OPTIONAL:
        assert not messages
    else:
        assert len(messages) == 1
        assert attribute in messages[0]
        assert "EQX_RNN_ENGINE=plain" in messages[0]


def test_the_class_of_tracers_is_missing(monkeypatch):
    expected = jax.core.Tracer
    with monkeypatch.context() as patch:
        patch.delattr(jax.core, "Tracer")
        with reloaded():
            found = importlib.import_module("eqx_rnn._kernels.tracers").Tracer
    assert found is expected


class Without:
    """An object without some of its attributes."""

    def __init__(self, inner, *hidden):
        self.inner, self.hidden = inner, hidden

    def __getattr__(self, name):
        if name in self.hidden:
            raise AttributeError(f"no attribute {name}")
        value = getattr(self.inner, name)
        return Without(value, *self.hidden) if name in ("jaxpr", "debug_info") else value


@pytest.mark.parametrize(
    ("function", "hidden"),
    [
        *(("typeof", name) for name in ("sharding", "manual_axis_type")),
        *(("make_jaxpr", name) for name in ("jaxpr", "consts", "constvars", "invars", "outvars")),
        *(("make_jaxpr", name) for name in ("eqns", "effects", "replace", "with_unknown_names")),
    ],
)
def test_an_attribute_is_missing(function, hidden, expected, monkeypatch):
    real = getattr(jax, function)

    def typeof(a):
        return Without(real(a), hidden)

    def make_jaxpr(function, **options):
        def make(*args):
            closed, shapes = real(function, **options)(*args)
            return Without(closed, hidden), shapes

        return make

    monkeypatch.setattr(jax, function, {"typeof": typeof, "make_jaxpr": make_jaxpr}[function])
    results, messages = run_reloaded()
    assert_close(results, expected)
    assert len(messages) == 1


def test_a_function_with_another_signature(expected, monkeypatch):
    monkeypatch.setattr("jax.extend.core.jaxpr_as_fun", lambda jaxpr, consts: None)
    results, messages = run_reloaded()
    assert_close(results, expected)
    assert len(messages) == 1
    assert "TypeError" in messages[0]


@pytest.mark.quick
def test_the_engine_works_in_this_jax(expected):
    results, messages = run_reloaded()
    assert_close(results, expected)
    assert not messages


# A process that imports the whole package without any of the names. It loads JAX and Equinox
# before, because Equinox reads some of these names.
WITHOUT_NAMES = """
import importlib, sys, warnings
import jax, jax.numpy as jnp, numpy as np, equinox as eqx
import jax.extend.core, jax.interpreters.ad, jax.interpreters.batching, jax.interpreters.mlir
import jax.custom_derivatives, jax.export

eqx.filter_jit(lambda x: eqx.error_if(x, x < 0, "negative"))(jnp.ones(()))
missing = {}
for name in sys.argv[1:]:
    module, _, attribute = name.rpartition(".")
    module = jax if module == "jax" else importlib.import_module(module)
    missing[module, attribute] = getattr(module, attribute)
    delattr(module, attribute)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import eqx_rnn

    cell = eqx_rnn.GRUCell(3, 4, key=jax.random.key(0))
    dropout = eqx_rnn.RecurrentDropout(cell, 0.5, 0.0)
    eqx_rnn._kernels.support.unsupported()
    for (module, attribute), value in missing.items():
        setattr(module, attribute, value)
    rnn, xs = eqx_rnn.RNN(cell), jax.random.normal(jax.random.key(1), (2, 5, 3))
    lengths = np.array([5, 3])
    loss = lambda rnn: jnp.sum(rnn(xs, seq_lengths=lengths) ** 2)
    gradient = eqx.filter_jit(eqx.filter_grad(loss))(rnn)
    eqx_rnn.RNN(dropout)(xs, key=jax.random.key(2))
    print(rnn.explain(xs[:, 0]))

total, h = 0.0, jnp.zeros((2, 4))
def by_hand(cell):
    total, h = 0.0, jnp.zeros((2, 4))
    for t in range(5):
        new, _ = cell(h, xs[:, t])
        valid = t < lengths[:, None]
        h, total = jnp.where(valid, new, h), total + jnp.sum(jnp.where(valid, new, 0) ** 2)
    return total
want = eqx.filter_grad(by_hand)(cell)
for a, b in zip(jax.tree.leaves(gradient.cell), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
print(len([w for w in caught if "eqx_rnn" in str(w.message)]), "warnings")
try:
    eqx_rnn.RNN(cell)(xs, seq_lengths=np.array([5, 9]))
except eqx.EquinoxRuntimeError as error:
    print("checked" if "between 0 and 5" in str(error) else error)
"""


def test_the_package_loads_without_any_of_the_names():
    command = [sys.executable, "-c", WITHOUT_NAMES, *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    explained, *rest = done.stdout.splitlines()
    assert "plain scan" in explained
    assert "does not work in this JAX" in explained
    assert rest == ["1 warnings", "checked"]


# Modules of JAX and Equinox that no other folder imports.
INSIDE = ("jax._src", "jax.core", "jax.extend", "jax.interpreters", "jax.custom_derivatives")
INSIDE += ("equinox.internal", "equinox._")


def names_used(path):
    """The full names of imported modules and attributes of modules in a file."""
    tree, modules = ast.parse(path.read_text()), {"jax": "jax"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            full = {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
            modules |= full
            yield from full.values()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, _, rest = ast.unparse(node).partition(".")
            yield f"{modules.get(root, root)}.{rest}"


def test_other_folders_do_not_use_the_inside_of_jax():
    for path in PACKAGE.rglob("*.py"):
        if "_kernels" in path.parts:
            continue
        for name in names_used(path):
            inside = name.startswith(INSIDE) or name in NAMES or re.match(r"jax\.lax\.\w+_p$", name)
            assert not inside, f"{path} uses {name}"


def test_the_table_has_every_name():
    for path in (PACKAGE / "_kernels").glob("*.py"):
        for name in names_used(path):
            if name.startswith(INSIDE) or re.match(r"jax\.lax\.\w+_p\b", name):
                known = any(f"{name}.".startswith(f"{entry}.") for entry in NAMES)
                assert known, f"{path} uses {name}"


def with_params(equation, **params):
    return equation.replace(params=dict(equation.params, **params))


@pytest.mark.quick
def test_equations_of_unknown_form_are_left_to_jax():
    """A parameter of a later JAX may change what an equation means."""
    rows, weight = jnp.ones((2, 3)), jnp.ones((3, 4))
    (dot,) = jax.make_jaxpr(jnp.dot)(rows, weight).eqns
    assert dot.primitive is dot_general_p
    assert product_of(dot) == (0, None)
    images, kernel = jnp.ones((2, 5, 3)), jnp.ones((2, 3, 4))
    convolve = lambda images, kernel: jax.lax.conv_general_dilated(
        images, kernel, (1,), "SAME", dimension_numbers=("NXC", "XIO", "NXC")
    )
    (convolution,) = jax.make_jaxpr(convolve)(images, kernel).eqns
    assert convolution.primitive is conv_general_dilated_p
    assert is_channels_last(convolution)
    is_product = lambda equation: product_of(equation) is not None
    for equation, is_ours in ((dot, is_product), (convolution, is_channels_last)):
        assert not is_ours(with_params(equation, sparsity="2:4"))
        assert not is_ours(with_params(equation, out_sharding=types.SimpleNamespace()))
        fewer = {k: v for k, v in equation.params.items() if k != "precision"}
        assert not is_ours(equation.replace(params=fewer))


@pytest.mark.parametrize("setting", ["plain", "auto", "", "fast"])
def test_the_environment_variable(setting, monkeypatch, expected):
    """It is read at each call, so a change has an effect without a new process."""
    rnn, sample = eqx_rnn.RNN(GRU.cell()), GRU.inputs(2)
    monkeypatch.setitem(os.environ, "EQX_RNN_ENGINE", setting)
    if setting == "fast":
        with pytest.raises(
            ValueError, match="EQX_RNN_ENGINE must be `auto` or `plain`, got 'fast'"
        ):
            rnn(GRU.inputs(2, 3))
        return
    assert_close(value_and_gradient(eqx_rnn._scan.scan), expected)
    assert ("EQX_RNN_ENGINE is `plain`" in rnn.explain(sample)) == (setting == "plain")
    text = str(jax.make_jaxpr(lambda xs: eqx_rnn.RNN(GRU.cell())(xs))(GRU.inputs(2, 3)))
    assert ("custom_jvp_call" in text) == (setting != "plain")


@pytest.mark.quick
def test_plain_gives_no_warning(expected, monkeypatch):
    monkeypatch.setitem(os.environ, "EQX_RNN_ENGINE", "plain")
    monkeypatch.delattr("jax.extend.core.Literal")
    results, messages = run_reloaded()
    assert_close(results, expected)
    assert not messages
