"""Cells print as they were built: sizes, options that differ from their defaults, arrays."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from cases import CELLS

import eqx_rnn
from eqx_rnn import RNN, ConvGRUCell, CTRNNCell, IndRNNCell, LSTMCell, SimpleCell

KEY = jax.random.key(0)


def lstm(**options):
    return LSTMCell(10, 32, dtype=jnp.float32, key=KEY, **options)


def simple(**options):
    return SimpleCell(1, 2, dtype=jnp.float32, key=KEY, **options)


class Own(LSTMCell):
    """A subclass with another signature and one more field."""

    extra: jax.Array
    scale: float = eqx.field(static=True)

    def __init__(self, size, scale=2.0, *, key):
        super().__init__(size, size, dtype=jnp.float32, key=key)
        self.extra, self.scale = jnp.ones(3, jnp.float32), scale


PLAIN = "SimpleCell(1, 2, weight_ih=f32[2,1], weight_hh=f32[2,2], bias=f32[2])"
TEXTS = {
    "defaults": (simple, PLAIN),
    "own options": (
        lambda: lstm(proj_size=8),
        "LSTMCell(10, 32, proj_size=8, weight_ih=f32[128,10], weight_hh=f32[128,8], "
        "weight_hr=f32[8,32], bias=f32[128])",
    ),
    "no bias": (
        lambda: simple(use_bias=False),
        "SimpleCell(1, 2, use_bias=False, weight_ih=f32[2,1], weight_hh=f32[2,2])",
    ),
    "functions": (
        lambda: simple(activation=jax.nn.relu, carry_init=jax.nn.initializers.ones),
        "SimpleCell(1, 2, activation=<function relu>, carry_init=<function ones>, "
        "weight_ih=f32[2,1], weight_hh=f32[2,2], bias=f32[2])",
    ),
    "functions equal to the defaults": (
        lambda: simple(activation=jnp.tanh, carry_init=jax.nn.initializers.zeros),
        PLAIN,
    ),
    "another default": (
        lambda: IndRNNCell(1, 2, dtype=jnp.float32, key=KEY),
        "IndRNNCell(1, 2, weight_ih=f32[2,1], weight_hh=f32[2], bias=f32[2])",
    ),
    "the usual function where another is the default": (
        lambda: IndRNNCell(1, 2, activation=jnp.tanh, dtype=jnp.float32, key=KEY),
        "IndRNNCell(1, 2, activation=<function tanh>, weight_ih=f32[2,1], weight_hh=f32[2], "
        "bias=f32[2])",
    ),
    "a module": (
        lambda: simple(activation=eqx.nn.PReLU(jnp.float32(0.1))),
        "SimpleCell(1, 2, activation=PReLU(negative_slope=f32[]), weight_ih=f32[2,1], "
        "weight_hh=f32[2,2], bias=f32[2])",
    ),
    "a convolution": (
        lambda: ConvGRUCell(1, 2, (3, 5), strides=(2, 1), dtype=jnp.float32, key=KEY),
        "ConvGRUCell(1, 2, (3, 5), strides=(2, 1), weight_ih=f32[6,1,3,5], "
        "weight_hh=f32[6,2,3,5], bias=f32[6], bias_n=f32[2])",
    ),
    "numbers": (
        lambda: CTRNNCell(1, 2, dt=1, tau=2, state="current", dtype=jnp.float32, key=KEY),
        "CTRNNCell(1, 2, dt=1.0, fixed_tau=2.0, state='current', weight_ih=f32[2,1], "
        "weight_hh=f32[2,2], bias=f32[2])",
    ),
    "without arrays": (
        lambda: eqx.filter(lstm(proj_size=8), eqx.is_array, inverse=True),
        "LSTMCell(10, 32, proj_size=8, weight_ih=None, weight_hh=None)",
    ),
    "a user's subclass": (
        lambda: Own(1, key=KEY),
        "Own(input_size=1, hidden_size=1, weight_ih=f32[4,1], weight_hh=f32[4,1], bias=f32[4], "
        "extra=f32[3])",
    ),
    "other leaves": (
        lambda: jax.tree.map(lambda _: "x", simple()),
        "SimpleCell(1, 2, weight_ih='x', weight_hh='x', bias='x')",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts(name):
    make, text = TEXTS[name]
    assert eqx.tree_pformat(make(), width=1000) == text
    assert " ".join(repr(make()).split()) == text


def test_structs():
    struct = eqx.filter_eval_shape(simple)
    assert eqx.tree_pformat(struct, struct_as_array=True) == PLAIN
    assert "weight_ih=ShapeDtypeStruct(shape=(2, 1), dtype=float32)" in repr(struct)


def test_tracers():
    texts = []
    jax.jit(lambda cell: texts.append(repr(cell)))(simple())
    assert texts == [PLAIN]


def test_other_formats():
    assert "weight_hh=Array([[" in eqx.tree_pformat(simple(), short_arrays=False)
    is_cell = lambda node: isinstance(node, SimpleCell)
    layer = RNN(simple(), reverse=True)
    assert "cell=SimpleCell(...)" in eqx.tree_pformat(layer, truncate_leaf=is_cell)
    assert f"cell={PLAIN}" in eqx.tree_pformat(layer, width=1000)


@pytest.mark.parametrize("wrap", ["Zoneout", "Residual", "LearnedCarry"])
def test_in_wrappers(wrap):
    cell = SimpleCell(2, 2, dtype=jnp.float32, key=KEY)
    text = eqx.tree_pformat(getattr(eqx_rnn, wrap)(cell), width=1000)
    assert text.startswith(f"{wrap}(cell=SimpleCell(2, 2, weight_ih=f32[2,2], ")


def test_in_a_stack():
    cells = [SimpleCell(1, 2, key=KEY, dtype=jnp.float32), SimpleCell(2, 2, key=KEY)]
    text = eqx.tree_pformat(eqx_rnn.StackedCell(cells), width=1000)
    assert text.startswith(f"StackedCell(cells=({PLAIN}, SimpleCell(2, 2, ")


def test_lines_are_filled():
    """Equinox prints one field per line, or all on one line. Cells use as few lines as possible."""
    lines = repr(lstm(proj_size=8)).splitlines()
    assert len(lines) == 2
    assert all(len(line) <= 81 for line in lines)


@pytest.mark.parametrize("case", CELLS, ids=lambda case: case.name)
def test_every_cell_is_short(case):
    cell = case.cell()
    text = " ".join(repr(cell).split())
    assert text.startswith(f"{type(cell).__name__}({cell.input_size}, {cell.hidden_size}, ")
    assert "zeros" not in text  # the default of `carry_init`
    for name, value in vars(cell).items():
        if isinstance(value, jax.Array):
            assert f"{name}={eqx.tree_pformat(value)}" in text
    assert len(text) < 300
