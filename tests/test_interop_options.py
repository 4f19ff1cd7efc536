"""`interop` beyond plain weights: dtypes, containers, prefixes, layouts, activations, states."""

import equinox as eqx
import flax
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interop_case import HIDDEN, INPUT, draw
from interop_cases import CASES

from eqx_rnn import (
    RNN,
    Bidirectional,
    GRUCell,
    LSTMCarry,
    LSTMCell,
    PeepholeLSTMCell,
    interop,
)

KEY = jax.random.key(0)
CASE = {case.name: case for case in CASES}
LSTM, GRU = LSTMCell(INPUT, HIDDEN, key=KEY), GRUCell(INPUT, HIDDEN, key=KEY)


def as_dtype(weights, dtype):
    return jax.tree.map(lambda array: array.astype(dtype), weights)


def leaf_dtypes(module):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(module)}


KEEPING = """torch-gru-1 torch-lstm-2-bi-proj keras-gru-2-6 keras-convlstm1d-8-2 keras-cudnnlstm-16
haiku-lstm haiku-convlstm1 flax-grucell flax-grucell-nnx flax-convlstmcell-1
onnx-lstm-bidirectional-peepholes"""


@pytest.mark.parametrize("name", KEEPING.split())
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_dtype_is_kept(name, dtype):
    module = CASE[name].read(as_dtype(CASE[name].weights(), dtype))
    assert leaf_dtypes(module) == leaf_dtypes(CASE[name].write(module)) == {dtype}


def test_dtype_decides():
    weights = CASE["torch-gru-1"].weights()
    exact, cast = interop.from_torch(weights), interop.from_torch(weights, dtype=jnp.bfloat16)
    assert leaf_dtypes(cast) == {"bfloat16"}
    np.testing.assert_allclose(
        exact.layers[0].cell.weight_ih, cast.layers[0].cell.weight_ih.astype(float), rtol=2**-8
    )
    weights["bias_hh_l0"] = weights["bias_hh_l0"].astype(np.float32)
    with pytest.raises(TypeError, match=r"one dtype.*float32 for `bias_hh_l0`.*float64.*`dtype`"):
        interop.from_torch(weights)
    assert leaf_dtypes(interop.from_torch(weights, dtype="float32")) == {"float32"}
    with jax.enable_x64(False):
        with pytest.raises(TypeError, match=r"`bias_hh_l0`.*float64\[6\].*dtype=jnp.float32"):
            CASE["torch-gru-1"].read(CASE["torch-gru-1"].weights())
        assert leaf_dtypes(interop.from_torch(weights, dtype="float32")) == {"float32"}
    weights["weight_ih_l0"] = np.ones((6, 3), np.int8)
    with pytest.raises(TypeError, match=r"`weight_ih_l0`.*floating-point.*int8\[6,3\].*quantised"):
        interop.from_torch(weights)


def test_torch_tensors():
    """Tensors with gradients or in bfloat16, and the way back into a module without warnings."""
    torch = pytest.importorskip("torch", reason="torch is not installed; the [bench] extra has it")
    weights = as_dtype(CASE["torch-gru-1"].weights(), jnp.bfloat16)
    to_torch = lambda a: torch.tensor(a.astype(np.float32)).bfloat16().requires_grad_()
    ours = interop.from_torch({name: to_torch(array) for name, array in weights.items()})
    assert eqx.tree_equal(ours, interop.from_torch(weights))
    module = torch.nn.GRU(INPUT, HIDDEN, dtype=torch.bfloat16)
    with jax.enable_x64(False):
        ours = interop.from_torch(module.state_dict())
    theirs = interop.to_torch(ours)
    tensors = {name: torch.from_numpy(array.astype("float32")) for name, array in theirs.items()}
    module.load_state_dict(tensors)
    assert eqx.tree_equal(ours, interop.from_torch(module.state_dict()))
    assert module.weight_hh_l0.dtype == torch.bfloat16


def test_what_is_written_is_a_copy():
    theirs = interop.to_torch(GRU)
    theirs["weight_ih"][:] = 0
    assert jnp.all(GRU.weight_ih != 0)


def test_flax_containers():
    case = CASE["flax-grucell-nnx"]
    graph, state = nnx.split(nnx.GRUCell(INPUT, HIDDEN, rngs=nnx.Rngs(0)))
    nnx.replace_by_pure_dict(state, case.weights())
    assert eqx.tree_equal(interop.from_flax(state, "GRUCell"), case.read(case.weights()))
    cell = nnx.merge(graph, state)
    nnx.update(cell, interop.to_flax(GRU, "GRUCell", nnx=True))
    read = interop.from_flax(nnx.state(cell, nnx.Param), "GRUCell")
    assert eqx.tree_equal(read.weight_ih, GRU.weight_ih)
    case = CASE["flax-grucell"]
    frozen = interop.from_flax(flax.core.freeze(case.weights()), "GRUCell")
    assert eqx.tree_equal(frozen, case.read(case.weights()))


@pytest.mark.parametrize("name", ["flax-grucell-nnx", "flax-convlstmcell-1-no-bias"])
def test_what_cannot_be_written_is_an_error_under_jit(name):
    case = CASE[name]
    cell = case.read(case.weights())
    write = eqx.filter_jit(case.write)
    wanted = jax.tree.leaves(case.write(cell))
    for ours, theirs in zip(jax.tree.leaves(write(cell)), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-15, atol=1e-15)
    bias = "bias_n" if "gru" in name else "bias"
    cell = eqx.tree_at(lambda cell: getattr(cell, bias), cell, replace_fn=lambda b: b + 1)
    with pytest.raises(RuntimeError, match=f"`{bias}` must be"):
        jax.block_until_ready(write(cell))


def test_lists_are_arrays_too():
    case = CASE["keras-lstm-8-hard_sigmoid"]
    lists = [array.tolist() for array in case.weights()]
    assert eqx.tree_equal(case.read(lists), case.read(case.weights()))


def test_torch_prefix():
    inside, outside = CASE["torch-lstm-2-bi"].weights(), {"head.weight": np.ones((2, 2))}
    state_dict = outside | {f"encoder.rnn.{name}": array for name, array in inside.items()}
    module = interop.from_torch(state_dict, prefix="encoder.rnn.")
    assert eqx.tree_equal(module, interop.from_torch(inside))
    del state_dict["encoder.rnn.bias_hh_l1"]
    with pytest.raises(ValueError, match=r"`encoder.rnn.bias_hh_l1` of shape \(8,\) is missing"):
        interop.from_torch(state_dict, prefix="encoder.rnn.")
    with pytest.raises(ValueError, match=r"`prefix` must.*'decoder.'.*head.weight"):
        interop.from_torch(state_dict, prefix="decoder.")


def test_haiku_prefix():
    arrays = CASE["haiku-lstm"].weights()["lstm/linear"]
    params = {"agent/~/core/linear": arrays, "agent/head": {"w": np.ones((2, 2))}}
    cell = interop.from_haiku(params, "LSTM", prefix="agent/~/core")
    assert eqx.tree_equal(cell, interop.from_haiku({"linear": arrays}, "LSTM"))
    assert interop.to_haiku(cell, prefix="agent/core").keys() == {"agent/core/linear"}
    with pytest.raises(ValueError, match=r"`prefix`.*agent/head.*Pass the path"):
        interop.from_haiku(params, "LSTM")


def test_torch_options():
    case = CASE["torch-rnn-1"]
    assert case.read(case.weights()).layers[0].cell.activation == jax.nn.relu
    module = interop.from_torch(case.weights(), time_major=True)
    assert module.layers[0].cell.activation == jnp.tanh
    assert module.time_major
    projected = CASE["torch-lstm-2-bi-proj"]
    cell = projected.read(projected.weights()).layers[1].forward_rnn.cell
    assert (cell.input_size, cell.hidden_size, cell.proj_size) == (2, HIDDEN, 1)


def test_one_layer_to_torch_without_a_stack():
    assert interop.to_torch(RNN(GRU)).keys() == CASE["torch-gru-1"].shapes.keys()
    pair = Bidirectional(RNN(GRU), RNN(GRUCell(INPUT, HIDDEN, key=KEY)))
    assert interop.to_torch(pair).keys() == CASE["torch-gru-1-bi"].shapes.keys()


@pytest.mark.parametrize("module", [GRU, RNN(GRU)], ids=["cell", "layer"])
def test_a_prefix_of_torch_goes_both_ways(module):
    wanted, weights = interop.to_torch(module), interop.to_torch(module, prefix="encoder.rnn.")
    assert list(weights) == [f"encoder.rnn.{name}" for name in wanted]
    others = weights | {"encoder.head.weight": np.ones((2, 2))}
    back = interop.to_torch(interop.from_torch(others, prefix="encoder.rnn."))
    assert all(np.array_equal(back[name], array) for name, array in wanted.items())


@pytest.mark.parametrize("bidirectional", [False, True])
def test_torch_states(bidirectional):
    h, c = draw([(4, 5, 2), (4, 5, 3)], seed=1)
    carry = interop.from_torch_state(h, c, bidirectional=bidirectional)
    last = carry[-1][-1] if bidirectional else carry[-1]
    np.testing.assert_array_equal(last.hidden, h[3])
    np.testing.assert_array_equal(last.cell, c[3])
    assert len(carry) == (2 if bidirectional else 4)
    for ours, theirs in zip(interop.torch_state(carry), (h, c), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    carry = interop.from_torch_state(h, bidirectional=bidirectional)
    np.testing.assert_array_equal(interop.torch_state(carry), h)


def test_torch_states_of_one_layer():
    xs = draw((3, 4, INPUT), seed=1)
    carry, _ = RNN(LSTM)(xs, return_carry=True)
    for ours, theirs in zip(carry, interop.torch_state(carry), strict=True):
        np.testing.assert_array_equal(ours[None], theirs)
    carry, _ = RNN(GRU)(xs, return_carry=True)
    np.testing.assert_array_equal(interop.torch_state(carry), carry[None])
    pair = Bidirectional(RNN(GRU), RNN(GRUCell(INPUT, HIDDEN, key=KEY)))
    carry, _ = pair(xs, return_carry=True)
    np.testing.assert_array_equal(interop.torch_state(carry), np.stack(carry))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_cudnn_layers_of_keras(kind):
    """The kernel of each gate is torch's matrix, read in another shape.

    Keras's own conversion transposes each block and then reads it column by column.
    """
    torch_weights = CASE[f"torch-{kind.lower()}-cell"].weights()
    order = [0, 1, 2, 3] if kind == "LSTM" else [1, 0, 2]  # i, f, c, o; z, r, h
    split = lambda name: [np.split(torch_weights[name], len(order))[k] for k in order]
    kernel = np.hstack([block.reshape(INPUT, HIDDEN) for block in split("weight_ih")])
    recurrent = np.hstack(split("weight_hh"))
    bias = np.concatenate(split("bias_ih") + split("bias_hh"))
    weights = [kernel, recurrent, bias]
    cell = interop.from_keras(weights, f"CuDNN{kind}")
    assert eqx.tree_equal(cell, interop.from_torch(torch_weights))

    blocks = lambda stacked: np.hsplit(stacked, len(order))
    plain = [
        np.hstack([block.T.reshape(block.shape, order="F") for block in blocks(kernel)]),
        np.hstack([block.T for block in blocks(recurrent)]),
        bias.reshape(2, -1) if kind == "GRU" else bias.reshape(2, -1).sum(0),
    ]
    assert eqx.tree_equal(cell, interop.from_keras(plain, kind))

    with pytest.raises(ValueError, match=rf'`bias` must have shape .*Pass `cell="CuDNN{kind}"`'):
        interop.from_keras(weights, kind)
    with pytest.raises(ValueError, match=rf"`bias` must have shape .*Pass `cell='{kind}'`"):
        interop.from_keras(plain, f"CuDNN{kind}")


def test_three_sigmoids():
    x = jnp.linspace(-4, 4, 33)
    case = CASE["keras-lstm-8-hard_sigmoid"]
    for name, wanted in {
        "sigmoid": 1 / (1 + np.exp(-x)),
        "hard_sigmoid": np.clip(x / 6 + 0.5, 0, 1),
        "keras2_hard_sigmoid": np.clip(0.2 * x + 0.5, 0, 1),
        jnp.square: x**2,
    }.items():
        cell = interop.from_keras(case.weights(), "LSTM", recurrent_activation=name)
        np.testing.assert_allclose(cell.gate_activation(x), wanted, rtol=1e-12, atol=1e-12)
    assert interop.from_keras(case.weights(), "LSTM", activation=None).activation(x) is x


def test_peepholes_of_zeros_stay():
    """The type of the cell does not depend on the values of the weights."""
    W, R, B = (CASE["onnx-lstm-forward"].weights()[name] for name in "WRB")
    rnn = interop.from_onnx(W, R, B, "LSTM", P=np.zeros((1, 6)))
    assert isinstance(rnn.cell, PeepholeLSTMCell)
    _, arrays, _ = interop.to_onnx(rnn)
    assert not arrays["P"].any()


def test_carry_of_the_read_module():
    """The module from torch's weights accepts the carry from torch's states."""
    module = CASE["torch-lstm-2-bi"].read(CASE["torch-lstm-2-bi"].weights())
    h, c = draw([(4, 2), (4, 2)], seed=1)
    carry = interop.from_torch_state(h, c, bidirectional=True)
    wanted = eqx.filter_eval_shape(
        lambda: module(jnp.ones((1, INPUT)), initial_carry=carry, return_carry=True)[0]
    )
    assert jax.tree.structure(wanted) == jax.tree.structure(carry)
    assert isinstance(carry[0][0], LSTMCarry)
