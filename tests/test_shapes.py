"""Run-time checks of the annotated shapes of weights, carries, gates and outputs."""

import functools
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from cases import CELLS
from jaxtyping import TypeCheckError

import eqx_rnn
from eqx_rnn import RNN, GRUCell, LSTMCarry, LSTMCell

pytestmark = pytest.mark.skipif(
    jaxtyping.config.jaxtyping_disable, reason="the checks are switched off"
)
KEY = jax.random.key(0)
X, H = jnp.ones((2, 3)), jnp.ones((2, 4))
GATES = jnp.ones((2, 16))
every_cell = pytest.mark.parametrize("case", CELLS, ids=lambda case: case.name)


def lstm(**options):
    return LSTMCell(3, 4, key=KEY, **options)


def arrays_of(cell):
    fields = (field.name for field in cell.__dataclass_fields__.values())
    return [name for name in fields if eqx.is_array(getattr(cell, name))]


def with_array(cell, name, array):
    return eqx.tree_at(lambda cell: getattr(cell, name), cell, array)


@every_cell
def test_a_weight_of_a_wrong_shape(case):
    """A single row, which would be broadcast, and one row too many."""
    cell, xs = case.cell(), case.inputs(2, 2)
    carry = case.carry(cell, 2)
    for name in arrays_of(cell):
        array = getattr(cell, name)
        for wrong in (array[:1], jnp.concatenate([array, array[:1]])):
            if wrong.shape == array.shape:  # the weights of one head
                continue
            broken = with_array(cell, name, wrong)
            message = rf"{type(cell).__name__}: `(weight_ih|{name})` must be a Float array of shape"
            with pytest.raises(ValueError, match=message):
                broken(carry, xs[:, 0])
            with pytest.raises(ValueError, match=message):
                RNN(broken)(xs)


def test_the_error_of_a_weight():
    broken = with_array(lstm(), "weight_hh", jnp.ones((16, 1)))
    message = r"LSTMCell: `weight_hh` .* \(4\*hidden_size, output_size\), got float..\[16,1\]"
    with pytest.raises(ValueError, match=message):
        broken(LSTMCarry(H, H), X)
    broken = with_array(lstm(), "bias", jnp.ones(16, int))
    with pytest.raises(ValueError, match=r"`bias` .* \(4\*hidden_size,\) or None, got int"):
        RNN(broken)(X[:, None])


def test_weights_of_numpy_serve():
    cell = lstm()
    copy = jax.tree.map(np.asarray, cell)
    ours, theirs = cell(LSTMCarry(H, H), X), copy(LSTMCarry(H, H), X)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


@pytest.mark.parametrize("option", ["weight", "recurrent_weight", "bias", "carry"])
@pytest.mark.parametrize("cell_type", [GRUCell, LSTMCell, eqx_rnn.PeepholeLSTMCell])
def test_an_initialiser_that_returns_no_such_array(option, cell_type):
    results = {
        "longer": lambda key, shape, dtype: jnp.zeros((*shape[:-1], shape[-1] + 1), dtype),
        "scalar": lambda key, shape, dtype: jnp.zeros((), dtype),
        "integers": lambda key, shape, dtype: jnp.zeros(shape, int),
        "nothing": lambda key, shape, dtype: None,
    }
    for init in results.values():
        with pytest.raises(TypeError, match=r"an initialiser .* must return .* of the shape"):
            cell_type(3, 4, key=KEY, **{f"{option}_init": init}).initialize_carry(None, X)
    numpy = lambda key, shape, dtype: np.zeros(shape, dtype)
    cell = cell_type(3, 4, key=KEY, **{f"{option}_init": numpy})
    leaves = jax.tree.leaves((cell, cell.initialize_carry(None, X)))
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)


WRONG = {
    "inputs": lambda: lstm().project_input(H),
    "inputs of integers": lambda: lstm().project_input(jnp.ones((2, 3), int)),
    "no carry": lambda: lstm().project_hidden(H),
    "a tuple as carry": lambda: lstm().update((H, H), GATES),
    "gates": lambda: lstm().update(LSTMCarry(H, H), GATES[:, :15]),
    "gates of another batch": lambda: GRUCell(3, 4, key=KEY).project_hidden(jnp.ones((2, 5))),
    "outputs": lambda: lstm().update(LSTMCarry(H, jnp.ones((2, 1, 4))), GATES),
    "outputs read out": lambda: GRUCell(3, 4, key=KEY).read_out(X),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_wrong_arguments_and_results(call):
    with pytest.raises(TypeCheckError):
        call()


@pytest.mark.parametrize("wrong", [jnp.sum, lambda x: x[..., :1], lambda x: x > 0, lambda x: None])
def test_an_activation_that_changes_the_shape_or_kind(wrong):
    """The cell calls it on each gate. No wrong result broadcasts silently."""
    for options in ({"activation": wrong}, {"gate_activation": wrong}):
        with pytest.raises(TypeError, match="an activation must return"):
            lstm(**options)(LSTMCarry(H, H), X)


def test_checks_are_switched_off_while_running():
    wrong = functools.partial(lstm().update, (H, H), GATES)  # a tuple without the names of fields
    with pytest.raises(TypeCheckError):
        wrong()
    broken = with_array(lstm(), "bias", jnp.ones(1))
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(AttributeError):
            wrong()
        broken(LSTMCarry(H, H), X)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    with pytest.raises(ValueError, match="`bias`"):
        broken(LSTMCarry(H, H), X)


class Mine(LSTMCell):
    """A user's class. Its own methods have no checks, but the inherited methods have."""

    def __init__(self, size: "int", *, key):
        super().__init__(size, size, key=key)

    def read_out(self, carry: "int") -> "str":
        return carry


def test_a_subclass_of_a_user():
    cell = Mine(4, key=KEY)
    assert cell.read_out("as it is") == "as it is"
    with pytest.raises(TypeCheckError):
        cell.update((H, H), GATES)
    with pytest.raises(ValueError, match="Mine: `bias`"):
        with_array(cell, "bias", jnp.ones(1))(LSTMCarry(H, H), H)


def test_methods_are_the_same_object_before_and_after_a_call():
    """The cache of `jit` finds the method again, and the method shows its own source."""
    before = eqx_rnn.JANETCell.update
    cell = eqx_rnn.JANETCell(3, 4, key=KEY)
    traces = []

    @eqx.filter_jit
    def run(method, x):
        traces.append(x)
        return method(x)

    for _ in range(2):
        run(cell.project_input, X)
    assert len(traces) == 1
    assert eqx_rnn.JANETCell.update is before
    assert inspect.getsource(before).lstrip().startswith("def update(")
    assert list(inspect.signature(before).parameters) == ["self", "carry", "gates", "key"]
    assert RNN.__call__.__qualname__ == "RNN.__call__"
