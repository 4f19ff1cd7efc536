"""Options that every cell has: signature, help, errors, and the fields that hold them."""

import inspect
import pydoc
from typing import Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS, EACH_CLASS
from helpers import EXACT
from jaxtyping import Array

import eqx_rnn
from eqx_rnn._cells.base import CellOptions, HiddenCell, NonlinearCell, VectorCell
from eqx_rnn._kernels.products import affine

KEY = jax.random.key(0)
FIRST_OF_CLASS = {case.call[0].__name__: case for case in reversed(CELLS)}
COMMON = {
    "use_bias": True,
    "activation": jnp.tanh,
    "weight_init": inspect.Parameter.empty,  # a call creates it, so it is not compared
    "recurrent_weight_init": inspect.Parameter.empty,
    "bias_init": jax.nn.initializers.zeros,
    "carry_init": jax.nn.initializers.zeros,
    "dtype": None,
}
all_classes = pytest.mark.parametrize("case", FIRST_OF_CLASS.values(), ids=FIRST_OF_CLASS)


@all_classes
def test_signature_shows_all_options(case):
    cell_type, *_ = case.call
    parameters = inspect.signature(cell_type).parameters
    assert list(parameters)[:2] == ["input_size", "hidden_size"]
    assert all(p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in parameters.values())
    assert all(p.annotation is not p.empty for p in parameters.values())
    has_gates = hasattr(case.cell(), "gate_activation")
    assert ("gate_activation" in parameters) == has_gates
    for name, default in COMMON.items():
        found = parameters[name].default
        assert found is not inspect.Parameter.empty
        if default is not inspect.Parameter.empty and cell_type is not eqx_rnn.IndRNNCell:
            assert found is default, name
    assert parameters["key"].kind is inspect.Parameter.KEYWORD_ONLY
    assert parameters["key"].default is inspect.Parameter.empty


def test_defaults_that_differ_are_in_the_signature():
    parameters = inspect.signature(eqx_rnn.IndRNNCell).parameters
    assert parameters["activation"].default is jax.nn.relu
    drawn = parameters["recurrent_weight_init"].default(KEY, (100,), jnp.float32)
    assert np.all((drawn >= 0) & (drawn < 1))
    assert inspect.signature(eqx_rnn.SimpleCell).parameters["activation"].default is jnp.tanh


@pytest.mark.skipif(not __doc__, reason="docstrings are stripped")
@all_classes
def test_help_explains_every_argument(case):
    cell_type, *_ = case.call
    doc = inspect.getdoc(cell_type.__init__)
    bullets = [line.partition(": ")[0] for line in doc.splitlines() if line.startswith("- ")]
    explained = [name for bullet in bullets for name in bullet[2:].replace("`", "").split(", ")]
    names = list(inspect.signature(cell_type).parameters)
    assert set(explained) == set(names)
    text = pydoc.plain(pydoc.render_doc(cell_type))
    assert all(f"{name}: " in text for name in names)


MISTAKES = {
    "a number for a function": ({"activation": 5}, "`activation` must be a function, got int 5"),
    "a name for a function": ({"activation": "relu"}, "`jax.nn.relu`"),
    "a class for a module": ({"activation": eqx.nn.PReLU}, "`PReLU(...)`"),
    "a number for a flag": ({"use_bias": "no"}, "`use_bias` must be True or False, got str 'no'"),
    "a flag's other name": ({"bias": False}, "Did you mean `use_bias`?"),
    "a maker of initialisers": ({"weight_init": jax.nn.initializers.normal}, "`normal()`"),
    "a name for an initialiser": ({"bias_init": "zeros"}, "`bias_init` must be a function"),
    "a dtype of integers": ({"dtype": jnp.int32}, "`dtype` must be a floating-point dtype"),
    "a dtype's name": ({"dtype": "bf16"}, "`dtype` must be a floating-point dtype"),
    "no key": ({"key": None}, "`key` must be a random key for the initial weights, got none"),
    "a seed": ({"key": 3}, "`key=jax.random.key(3)`"),
    "a seed's name": ({"seed": 3}, "Did you mean `key`?"),
    "no such thing": ({"zzz": 1}, "got an unexpected argument `zzz`. The arguments are"),
}


@pytest.mark.parametrize("name", MISTAKES)
@all_classes
def test_mistakes_are_reported_by_the_cell(case, name):
    cell_type, sizes, options = case.call
    wrong, text = MISTAKES[name]
    options = {k: v for k, v in options.items() if k != "use_bias"}
    key = {} if "seed" in wrong else {"key": KEY}
    with pytest.raises((TypeError, ValueError)) as raised:
        cell_type(*sizes, **(options | key | wrong))
    message = str(raised.value)
    assert message.startswith((f"{cell_type.__name__}: ", f"{cell_type.__name__}.__init__: ")), (
        message
    )
    assert text in message


@all_classes
def test_sizes_are_reported_by_the_cell(case):
    cell_type, (_, _, *rest), options = case.call
    name = cell_type.__name__
    with pytest.raises(TypeError, match=f"^{name}: `hidden_size` must be an integer, got float"):
        cell_type(3, 4.0, *rest, **options, key=KEY)
    with pytest.raises(ValueError, match=f"^{name}: `input_size` must be an integer of at least 1"):
        cell_type(0, 4, *rest, **options, key=KEY)
    with pytest.raises(TypeError, match=f"^{name}: `key` must be a random key.*got none"):
        cell_type(3, 4, *rest, **options)


@pytest.mark.parametrize("case", EACH_CLASS, ids=lambda case: case.name)
def test_output_size(case):
    cell = case.cell()
    sample = jax.ShapeDtypeStruct((2, *case.features), jnp.float32)
    if not hasattr(type(cell), "output_size"):
        return  # an activation of a wrapper
    step = lambda x: cell(cell.initialize_carry(None, sample), x)[1]
    assert cell.output_size == jax.eval_shape(step, sample).shape[-1]


@all_classes
def test_modules_come_after_the_arrays(case):
    """The order of leaves in a saved file: arrays, then modules in the place of functions."""
    slots = ["activation", "gate_activation"][: 1 + hasattr(case.cell(), "gate_activation")]
    cell = case.make(**dict.fromkeys(slots, eqx.nn.PReLU()), key=KEY)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(cell)]
    assert paths[-len(slots) :] == [f".{slot}.negative_slope" for slot in slots]
    assert paths[0] == ".weight_ih"
    names = [name for name in type(cell).__annotations__ if f".{name}" in paths]
    assert paths[: -len(slots)] == [f".{name}" for name in names]


class Toy(HiddenCell, NonlinearCell, VectorCell, eqx_rnn.FactoredCell, activation=jnp.sin):
    """h' = sin(W x + b + scale h)."""

    weight_ih: Array
    bias: Array | None
    scale: float = eqx.field(static=True)

    def __init__(self, input_size, hidden_size, *, scale=0.5, **options: Unpack[CellOptions]):
        """**Arguments:** the arguments of every cell, and

        - `scale`: the share of the state that is kept.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, b = draw.keys(2)
        self.weight_ih = draw.weight(ih, 1)
        self.bias = draw.bias(b, 1)
        self.scale = scale

    def project_input(self, inputs):
        return affine(self.weight_ih, inputs, self.bias)

    def project_hidden(self, carry):
        return self.scale * carry

    def update(self, carry, gates, *, key=None):
        hidden = self.activation(gates)
        return hidden, hidden


def test_a_new_cell():
    cell = Toy(3, 4, bias_init=jax.nn.initializers.ones, dtype=float, key=KEY)
    assert list(inspect.signature(Toy).parameters)[2:4] == ["scale", "activation"]
    xs = np.random.default_rng(0).standard_normal((2, 5, 3))
    h, weight = np.zeros((2, 4)), np.asarray(cell.weight_ih)
    ys = eqx_rnn.RNN(cell)(jnp.asarray(xs))
    for t in range(5):
        h = np.sin(xs[:, t] @ weight.T + 1 + 0.5 * h)
        np.testing.assert_allclose(ys[:, t], h, **EXACT)
    assert eqx_rnn.Zoneout(cell, 0.1, inference=True).cell.output_size == 4
    with pytest.raises(TypeError, match=r"^Toy: got an unexpected argument `nonsense`"):
        Toy(3, 4, nonsense=1, key=KEY)
    with pytest.raises(TypeError, match=r"^Toy: got an unexpected argument `gate_activation`"):
        Toy(3, 4, gate_activation=jnp.tanh, key=KEY)
    with pytest.raises(TypeError, match=r"^Toy: `key` must be a random key"):
        Toy(3, 4)
