"""Both sides of each row in `docs/coming_from_elsewhere.md` give the same numbers.

For a row that builds a module, the weights of the left side go into a module of ours. It must have
the structure of the module on the right side.
"""

import ast
import functools
import importlib.util
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_readme import ROOT, blocks

from eqx_rnn import RNN, AbstractLayer, RNNCellBase, interop

PAGE = ROOT / "docs" / "coming_from_elsewhere.md"
SECTION = re.compile(r"^## (.*?)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\| ([^|\n]+) \| `([^|\n]+)` \| `([^|\n]+)` \|$", re.MULTILINE)
PACKAGES = {"PyTorch": "torch", "Keras": "keras", "Flax linen": "flax", "Flax nnx": "flax"}
PACKAGES |= {"Haiku": "haiku", "`eqx.nn`": ""}
EXTRAS = {"flax": "test"}  # the others are in "bench"


def find_rows():
    rows = {}
    for title, text in SECTION.findall(PAGE.read_text()):
        if title in PACKAGES:
            rows[title] = ROW.findall(text)
            assert len(rows[title]) == len(re.findall(r"^\| \w", text, re.MULTILINE)), title
    return rows


ROWS = find_rows()
PARAMETERS = [
    pytest.param(title, left, right, id=f"{title.strip('`')}: {name}")
    for title, rows in ROWS.items()
    for name, left, right in rows
]


@functools.cache
def definitions(title):
    """The names that the code of a section uses."""
    text = PAGE.read_text()
    start = text[: text.index(f"\n## {title}\n")].count("\n")
    first = blocks(PAGE)[0]
    own = next(block for block in blocks(PAGE) if block.line > start)
    assert own.package == PACKAGES[title]
    namespace = {}
    exec(first.code, namespace)
    exec(own.code, namespace)
    return namespace


def evaluate(code, namespace):
    """The value of an expression, or the values of the names that a statement assigns."""
    (statement,) = ast.parse(code).body
    if isinstance(statement, ast.Expr):
        return eval(code, dict(namespace))
    results = dict(namespace)
    exec(code, results)
    (target,) = statement.targets
    names = [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]
    return {name: results[name] for name in names}


def leaves(tree):
    """The arrays of a tree, also those that are tensors with gradients."""
    is_tensor = lambda leaf: hasattr(leaf, "detach")
    return [np.asarray(a.detach() if is_tensor(a) else a) for a in jax.tree.leaves(tree)]


def compare(ours, theirs):
    if isinstance(ours, dict):  # some libraries return no outputs beside the carry
        names = sorted(ours.keys() & theirs.keys())
        ours, theirs = ([results[name] for name in names] for results in (ours, theirs))
    ours, theirs = leaves(ours), leaves(theirs)
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def read(title, module, x):
    """A module of ours with the weights of this module, and the outputs of this module for `x`."""
    name, step = type(module).__name__, x[:, 0]
    if title == "PyTorch":
        options = {"nonlinearity": module.nonlinearity} if hasattr(module, "nonlinearity") else {}
        torch = importlib.import_module("torch")
        result = module(torch.tensor(np.asarray(step if name.endswith("Cell") else x)))
        outputs = result[0] if isinstance(result, tuple) else result
        return interop.from_torch(module.state_dict(), **options), outputs
    if title == "Keras":
        outputs = module(x)  # this builds the weights
        options = {"reset_after": module.reset_after} if name == "GRU" else {}
        return interop.from_keras(module.get_weights(), name, **options), outputs
    if title == "Flax linen":
        carry = module.initialize_carry(jax.random.key(0), step.shape)
        params = module.init(jax.random.key(0), carry, step)
        return interop.from_flax(params["params"], name), module.apply(params, carry, step)[1]
    if title == "Flax nnx":
        nnx = importlib.import_module("flax.nnx")
        weights = nnx.to_pure_dict(nnx.state(module, nnx.Param))
        carry = module.initialize_carry(step.shape, nnx.Rngs(0))
        return interop.from_flax(weights, name), module(carry, step)[1]
    assert title == "`eqx.nn`"
    zeros = jnp.zeros((len(x), module.hidden_size))
    carry = (zeros, zeros) if name == "LSTMCell" else zeros
    carry = jax.vmap(module)(step, carry)
    return interop.from_equinox(module), carry[0] if name == "LSTMCell" else carry


def read_haiku(code, namespace):
    """Haiku builds its modules inside of a transformed function."""
    x = namespace["x"]
    make = eval(f"lambda: {code}", namespace)
    run = namespace["unroll"](make)
    params = run.init(jax.random.key(0), x)
    kind = re.match(r"hk\.(\w+)", code)[1]
    return interop.from_haiku(params, kind), run.apply(params, x)[0]


def check_built(title, ours, filled, theirs, x):
    """`ours` has the structure of the module with their weights, whose outputs are theirs."""
    assert jax.tree.structure(ours) == jax.tree.structure(filled)
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, filled)
    if isinstance(filled, AbstractLayer):
        outputs = filled(x)
    elif title in ("Keras", "Haiku"):
        outputs = RNN(filled)(x)
        outputs = outputs[:, -1] if title == "Keras" else outputs
    else:
        outputs = filled(filled.initialize_carry(None, x[:, 0]), x[:, 0])[1]
    compare(outputs, theirs)


@pytest.mark.parametrize(("title", "left", "right"), PARAMETERS)
def test_row(title, left, right):
    package = PACKAGES[title]
    if package and importlib.util.find_spec(package) is None:
        extra = EXTRAS.get(package, "bench")
        pytest.skip(f"{package} is not installed; the [{extra}] extra has it")
    with warnings.catch_warnings(), jax.enable_x64(False):
        warnings.simplefilter("ignore")  # those of other libraries
        namespace = definitions(title)
        ours = evaluate(right, namespace)
        if not isinstance(ours, RNNCellBase | AbstractLayer):
            compare(ours, evaluate(left, namespace))
        elif title == "Haiku":
            check_built(title, ours, *read_haiku(left, namespace), namespace["x"])
        else:
            filled, theirs = read(title, evaluate(left, namespace), namespace["x"])
            check_built(title, ours, filled, theirs, namespace["x"])


def test_every_framework_has_rows():
    assert set(ROWS) == set(PACKAGES)
    assert all(len(rows) >= 8 for rows in ROWS.values())
