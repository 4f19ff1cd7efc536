"""`interop` beyond plain weights: dtypes, prefixes, layouts, activations, torch's states, and what
has no counterpart elsewhere."""

import equinox as eqx
import flax
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interop_cases import CASES, HIDDEN, INPUT, draw

from eqx_rnn import (
    RNN,
    Bidirectional,
    ConvGRUCell,
    ConvLSTMCell,
    GRUCell,
    LSTMCarry,
    LSTMCell,
    MGUCell,
    PeepholeLSTMCell,
    SimpleCell,
    Stacked,
    interop,
)

KEY = jax.random.key(0)
CASE = {case.name: case for case in CASES}
LSTM, GRU = LSTMCell(INPUT, HIDDEN, key=KEY), GRUCell(INPUT, HIDDEN, key=KEY)
SIMPLE, CONV = SimpleCell(INPUT, HIDDEN, key=KEY), ConvLSTMCell(2, 2, (3,), key=KEY)
RELU = LSTMCell(INPUT, HIDDEN, activation=jax.nn.relu, key=KEY)
BEFORE = GRUCell(INPUT, HIDDEN, reset_after=False, key=KEY)
PROJECTED = LSTMCell(INPUT, HIDDEN, proj_size=1, key=KEY)
RESIDUAL = SimpleCell(INPUT, HIDDEN, residual=True, key=KEY)
STRIDED = ConvLSTMCell(2, 2, (3,), strides=2, key=KEY)


def relu(x):
    return jnp.maximum(x, 0)


def as_dtype(weights, dtype):
    return jax.tree.map(lambda array: array.astype(dtype), weights)


def leaf_dtypes(module):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(module)}


@pytest.mark.parametrize(
    "name",
    [
        "torch-gru-1",
        "torch-lstm-2-bi-proj",
        "keras-gru-2-6",
        "keras-convlstm1d-8-2",
        "keras-cudnnlstm-16",
        "haiku-lstm",
        "haiku-convlstm1",
        "flax-grucell",
        "flax-grucell-nnx",
        "flax-convlstmcell-1",
        "onnx-lstm-bidirectional-peepholes",
    ],
)
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
    with pytest.raises(TypeError, match=r"`weight_ih_l0`.*floating-point.*int8\[6,3\].*scaled"):
        interop.from_torch(weights)


def test_torch_tensors():
    """With gradients, in bfloat16; and back into a module, where a warning would be an error."""
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
    one = CASE["haiku-lstm"].weights()["lstm/linear"]
    params = {"agent/~/core/linear": one, "agent/head": {"w": np.ones((2, 2))}}
    cell = interop.from_haiku(params, "LSTM", prefix="agent/~/core")
    assert eqx.tree_equal(cell, interop.from_haiku({"linear": one}, "LSTM"))
    assert interop.to_haiku(cell, prefix="agent/core").keys() == {"agent/core/linear"}
    with pytest.raises(ValueError, match=r"`prefix`.*agent/head.*Pass its path"):
        interop.from_haiku(params, "LSTM")


def test_torch_options():
    case = CASE["torch-rnn-1"]
    assert case.read(case.weights()).layers[0].cell.activation is jax.nn.relu
    module = interop.from_torch(case.weights(), time_major=True)
    assert module.layers[0].cell.activation is jnp.tanh
    assert module.time_major
    projected = CASE["torch-lstm-2-bi-proj"]
    cell = projected.read(projected.weights()).layers[1].forward_rnn.cell
    assert (cell.input_size, cell.hidden_size, cell.proj_size) == (2, HIDDEN, 1)


def test_one_layer_to_torch_without_a_stack():
    assert interop.to_torch(RNN(GRU)).keys() == CASE["torch-gru-1"].shapes.keys()
    pair = Bidirectional(RNN(GRU), RNN(GRUCell(INPUT, HIDDEN, key=KEY)))
    assert interop.to_torch(pair).keys() == CASE["torch-gru-1-bi"].shapes.keys()


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
    """Their kernels, gate by gate, are torch's matrices read in another shape, and Keras's own
    conversion transposes each block and then reads it column by column."""
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


# Each row: what is called, the error's type, and what its text must contain.
torch_weights = lambda kind: CASE[f"torch-{kind}-1"].weights()
keras_weights = lambda name: CASE[name].weights()
onnx = lambda name: [CASE[name].weights().get(key) for key in "WRB"]
LSTM_W = "keras-lstm-8-hard_sigmoid"
REFUSED = {
    "torch: no nonlinearity": (
        lambda: interop.from_torch(torch_weights("rnn"), nonlinearity="sigmoid"),
        ["`nonlinearity`", "'tanh', 'relu'", "'sigmoid'"],
    ),
    "torch: a gate's nonlinearity": (
        lambda: interop.from_torch(torch_weights("gru"), nonlinearity="relu"),
        ["`nonlinearity`", "RNN's", "GRUCell", "Leave it out"],
    ),
    "torch: two gates": (
        lambda: interop.from_torch({"weight_ih": np.ones((4, 3)), "weight_hh": np.ones((4, 2))}),
        ["`weight_hh`", "4 gates", "3 for a GRU", "(4, 2)"],
    ),
    "torch: odd states": (
        lambda: interop.from_torch_state(np.ones((3, 2)), bidirectional=True),
        ["`h_n`", "even", "(3, 2)"],
    ),
    "torch: both states as one": (
        lambda: interop.from_torch_state((np.ones((2, 3)), np.ones((2, 3)))),
        ["`h_n`", "a tuple of 2", "`*state`"],
    ),
    "torch: a cell's state": (
        lambda: interop.from_torch_state(np.ones(3)),
        ["`h_n`", "(layers*directions, *batch, size)", "(3,)", "LSTMCarry(h, c)"],
    ),
    "torch: a module": (
        lambda: interop.from_torch(
            {f"a.rnn.{name}": array for name, array in torch_weights("gru").items()}
            | {"a.norm.num_batches_tracked": np.array(3)}
        ),
        ["a model's", "'a.rnn.'", "`prefix`"],
    ),
    "torch: a prefix without its dot": (
        lambda: interop.from_torch(
            {f"a.rnn.{name}": array for name, array in torch_weights("gru").items()},
            prefix="a.rnn",
        ),
        ["a model's", "'a.rnn.'", "`prefix`"],
    ),
    "torch: inside the prefix": (
        lambda: interop.from_torch(
            {f"rnn.{name}": array for name, array in torch_weights("gru").items()}
            | {"rnn.norm.weight": np.ones(2), "head.weight": np.ones(2)},
            prefix="rnn.",
        ),
        ["`rnn.norm.weight`", "must not be there", "[2]"],
    ),
    "to torch: states of two kinds": (
        lambda: interop.torch_state((LSTMCarry(jnp.ones(2), jnp.ones(2)), jnp.ones(2))),
        ["`carry`", "all arrays", "hidden=float64[2]"],
    ),
    "to torch: states of two sizes": (
        lambda: interop.torch_state((jnp.ones(2), jnp.ones(3))),
        ["`carry`", "one kind and size", "float64[2]", "float64[3]"],
    ),
    "torch: states that differ": (
        lambda: interop.from_torch_state(np.ones((2, 2)), np.ones((3, 2))),
        ["`c_n`", "(3, 2)", "(2, 2)"],
    ),
    "to torch: activation": (lambda: interop.to_torch(RELU), ["activation=tanh", "got relu"]),
    "to torch: another relu": (
        lambda: interop.to_torch(SimpleCell(INPUT, HIDDEN, activation=relu, key=KEY)),
        ["activation=tanh or relu", f"that of {__name__}"],
    ),
    "to torch: reset before": (lambda: interop.to_torch(BEFORE), ["reset_after=True", "False"]),
    "to torch: residual cell": (lambda: interop.to_torch(RESIDUAL), ["residual=False", "True"]),
    "to torch: projected cell": (lambda: interop.to_torch(PROJECTED), ["proj_size=None", "got 1"]),
    "to torch: residual stack": (
        lambda: interop.to_torch(Stacked([RNN(LSTM)], residual=True)),
        ["residual=True", "torch has neither"],
    ),
    "to torch: merge": (
        lambda: interop.to_torch(
            Bidirectional(RNN(LSTM), RNN(LSTMCell(3, 2, key=KEY)), merge="sum")
        ),
        ["`merge`", '"concat"', "'sum'"],
    ),
    "to torch: reverse": (lambda: interop.to_torch(RNN(LSTM, reverse=True)), ["`reverse`"]),
    "to torch: two kinds": (
        lambda: interop.to_torch(Stacked([RNN(LSTM), RNN(GRUCell(2, 2, key=KEY))])),
        ["one kind", "LSTMCell", "GRUCell"],
    ),
    "to torch: another cell": (
        lambda: interop.to_torch(RNN(MGUCell(3, 2, key=KEY))),
        ["`cell`", "LSTMCell, GRUCell, SimpleCell", "got MGUCell"],
    ),
    "keras: no cell": (
        lambda: interop.from_keras(keras_weights(LSTM_W), "Lstm"),
        ["`cell`", "'LSTM'", "'Lstm'"],
    ),
    "keras: a Bidirectional": (
        lambda: interop.from_keras(2 * keras_weights(LSTM_W), "LSTM"),
        ["`weights[3]`", "6 arrays", "`Bidirectional`", "first half"],
    ),
    "keras: a kernel alone": (
        lambda: interop.from_keras(keras_weights(LSTM_W)[:1], "LSTM"),
        ["`recurrent_kernel`", "(units, 4*units)", "is missing"],
    ),
    "keras: a channel too many": (
        lambda: interop.from_keras(keras_weights("keras-convlstm3d-same"), "ConvLSTM2D"),
        ["`recurrent_kernel`", "(X, Y, filters, 4*filters)", "(1, 2, 1, 2, 8)"],
    ),
    "keras: no activation": (
        lambda: interop.from_keras(keras_weights(LSTM_W), "LSTM", activation="sine"),
        ["`activation`", "'tanh'", "'sine'"],
    ),
    "keras: gates of none": (
        lambda: interop.from_keras(
            keras_weights("keras-simplernn"), "SimpleRNN", recurrent_activation="tanh"
        ),
        ["SimpleRNN", "leave out `recurrent_activation`"],
    ),
    "keras: strides": (
        lambda: interop.from_keras(keras_weights(LSTM_W), "LSTM", strides=2),
        ["`strides`", "ConvLSTM's", "2", "'LSTM'"],
    ),
    "keras: padding": (
        lambda: interop.from_keras(
            keras_weights("keras-convlstm3d-same"), "ConvLSTM3D", padding="causal"
        ),
        ["`padding`", "'valid', 'same'", "'causal'"],
    ),
    "keras: reset_after of none": (
        lambda: interop.from_keras(keras_weights(LSTM_W), "LSTM", reset_after=True),
        ["`reset_after`", "GRU's", "'LSTM'"],
    ),
    "keras: reset_after unknown": (
        lambda: interop.from_keras(keras_weights("keras-gru-True"), "GRU"),
        ["`reset_after`", "must be told", "got None"],
    ),
    "keras: reset_after false": (
        lambda: interop.from_keras(keras_weights("keras-gru-2-6"), "GRU", reset_after=False),
        ["`bias`", "(6,)", "(2, 6)", "Leave out `reset_after`"],
    ),
    "keras: cudnn activation": (
        lambda: interop.from_keras(
            keras_weights("keras-cudnnlstm-16"), "CuDNNLSTM", activation="relu"
        ),
        ["CuDNNLSTM", "tanh and sigmoid", "Leave out"],
    ),
    "keras: cudnn reset": (
        lambda: interop.from_keras(
            keras_weights("keras-cudnngru-12"), "CuDNNGRU", reset_after=False
        ),
        ["CuDNNGRU", "reset_after=True", "got False"],
    ),
    "to keras: layer": (lambda: interop.to_keras(LSTM, "CuDNNGRU"), ["`layer`", "'CuDNNLSTM'"]),
    "to keras: projection": (lambda: interop.to_keras(PROJECTED), ["proj_size=None", "got 1"]),
    "to keras: residual": (lambda: interop.to_keras(RESIDUAL), ["residual=False", "got True"]),
    "to keras: padding": (
        lambda: interop.to_keras(ConvLSTMCell(2, 2, (3,), padding=[(1, 0)], key=KEY)),
        ["padding='SAME' or 'VALID'", "((1, 0),)"],
    ),
    "to keras: cudnn": (lambda: interop.to_keras(BEFORE, "CuDNNGRU"), ["reset_after=True"]),
    "to keras: cell": (
        lambda: interop.to_keras(ConvGRUCell(2, 2, (3,), key=KEY)),
        ["`cell`", "ConvLSTMCell", "got ConvGRUCell"],
    ),
    "flax: no cell": (lambda: interop.from_flax({}, "LSTM"), ["`cell`", "'LSTMCell'", "'LSTM'"]),
    "flax: below": (
        lambda: interop.from_flax(
            {"cell": CASE["flax-grucell-nnx"].weights(), "rngs": {"count": np.array(1)}}, "GRUCell"
        ),
        ["a model's", "'cell/'", "params['cell']"],
    ),
    "flax: a box": (
        lambda: interop.from_flax({"dense_h": {"kernel": object()}}, "GRUCell"),
        ["`dense_h/kernel`", "must be an array", "got object"],
    ),
    "flax: residual": (
        lambda: interop.from_flax(CASE["flax-grucell"].weights(), "GRUCell", residual=True),
        ["`residual`", "SimpleCell's"],
    ),
    "flax: activations of a ConvLSTM": (
        lambda: interop.from_flax(
            CASE["flax-convlstmcell-1"].weights(), "ConvLSTMCell", activation=jax.nn.relu
        ),
        ["ConvLSTMCell", "tanh and sigmoid"],
    ),
    "to flax: another cell": (
        lambda: interop.to_flax(LSTM, "GRUCell"),
        ["`cell`", "GRUCell", "got LSTMCell"],
    ),
    "to flax: no such nnx cell": (
        lambda: interop.to_flax(CONV, "ConvLSTMCell", nnx=True),
        ["nnx has no ConvLSTMCell"],
    ),
    "to flax: bias of nnx": (
        lambda: interop.to_flax(
            CASE["flax-grucell"].read(CASE["flax-grucell"].weights()), "GRUCell", nnx=True
        ),
        ["`bias_n`", "must be 0", "Use linen's"],
    ),
    "to flax: reset before": (lambda: interop.to_flax(BEFORE, "GRUCell"), ["reset_after=True"]),
    "to flax: no bias": (
        lambda: interop.to_flax(LSTM, "LSTMCell", use_bias=False),
        ["always has biases", "`use_bias`"],
    ),
    "to flax: ConvLSTM with bias": (
        lambda: interop.to_flax(
            ConvLSTMCell(2, 2, (3,), forget_bias=2.0, key=KEY), "ConvLSTMCell", use_bias=False
        ),
        ["`bias`", "1 for the forget gate", "use_bias=False"],
    ),
    "to flax: strides": (
        lambda: interop.to_flax(STRIDED, "ConvLSTMCell"),
        ["strides=(1,)", "got (2,)"],
    ),
    "haiku: no such path": (
        lambda: interop.from_haiku(CASE["haiku-lstm"].weights(), "LSTM", prefix="lstm/"),
        ["`prefix`", "'lstm/'", "['lstm/linear']"],
    ),
    "haiku: no cell": (lambda: interop.from_haiku({}, "RNN"), ["`cell`", "'VanillaRNN'", "'RNN'"]),
    "to haiku: reset after": (lambda: interop.to_haiku(GRU), ["reset_after=False", "got True"]),
    "to haiku: tanh": (lambda: interop.to_haiku(SIMPLE), ["activation=relu", "got tanh"]),
    "to haiku: activation": (lambda: interop.to_haiku(RELU), ["activation=tanh", "got relu"]),
    "to haiku: strides": (lambda: interop.to_haiku(STRIDED), ["strides=(1,)", "got (2,)"]),
    "to haiku: bias": (
        lambda: interop.to_haiku(LSTM, double_bias=False),
        ["`double_bias`", "VanillaRNN's", "LSTMCell"],
    ),
    "to equinox: projection": (lambda: interop.to_equinox(PROJECTED), ["proj_size=None", "got 1"]),
    "to equinox: reset before": (lambda: interop.to_equinox(BEFORE), ["reset_after=True"]),
    "to equinox: activation": (lambda: interop.to_equinox(RELU), ["activation=tanh", "got relu"]),
    "equinox: an ensemble": (
        lambda: interop.from_equinox(
            jax.tree.map(lambda leaf: np.stack([leaf, leaf]), eqx.nn.GRUCell(3, 2, key=KEY))
        ),
        ["`weight_ih`", "(6, 3)", "(2, 6, 3)"],
    ),
    "onnx: kind": (lambda: interop.from_onnx(1.0, 1.0, None, "LSTMCell"), ["`kind`", "'LSTM'"]),
    "onnx: direction": (
        lambda: interop.from_onnx(*onnx("onnx-lstm-forward"), "LSTM", direction="both"),
        ["`direction`", "'bidirectional'", "'both'"],
    ),
    "onnx: directions": (
        lambda: interop.from_onnx(*onnx("onnx-lstm-bidirectional"), "LSTM"),
        ["`R`", "(1, 4*hidden, hidden)", "(2, 8, 2)"],
    ),
    "onnx: peepholes": (
        lambda: interop.from_onnx(*onnx("onnx-gru-forward-0"), "GRU", P=np.ones((1, 6))),
        ["`P`", "must not be there", "[1,6]", "ONNX's GRU"],
    ),
    "onnx: clip": (
        lambda: interop.from_onnx(*onnx("onnx-lstm-forward"), "LSTM", clip=3.0),
        ["`clip`", "3.0", "such an option"],
    ),
    "onnx: reset": (
        lambda: interop.from_onnx(*onnx("onnx-lstm-forward"), "LSTM", linear_before_reset=1),
        ["`linear_before_reset`", "GRU's"],
    ),
    "onnx: number of activations": (
        lambda: interop.from_onnx(*onnx("onnx-lstm-forward"), "LSTM", activations=["Tanh"]),
        ["`activations`", "3 for each of 1", "got 1"],
    ),
    "onnx: two activations": (
        lambda: interop.from_onnx(
            *onnx("onnx-lstm-forward"), "LSTM", activations=["Sigmoid", "Tanh", "Relu"]
        ),
        ["`activations`", "candidate and output", "tanh and relu"],
    ),
    "onnx: no activation": (
        lambda: interop.from_onnx(
            *onnx("onnx-rnn-forward-no-bias"), "RNN", activations=["ScaledTanh"]
        ),
        ["`activations`", "'Tanh'", "'ScaledTanh'"],
    ),
    "to onnx: activation": (
        lambda: interop.to_onnx(LSTMCell(3, 2, activation=jnp.sin, key=KEY)),
        ["activation=", "tanh", "sin"],
    ),
    "to onnx: order": (
        lambda: interop.to_onnx(RNN(LSTM, reverse=True)),
        ["`keep_order`", "must be True"],
    ),
    "to onnx: two kinds": (
        lambda: interop.to_onnx(Bidirectional(RNN(LSTM), RNN(GRU))),
        ["both directions", "LSTMCell", "GRUCell"],
    ),
    "to onnx: merge": (
        lambda: interop.to_onnx(Bidirectional(RNN(LSTM), RNN(LSTMCell(3, 2, key=KEY)), merge=None)),
        ["`merge`", '"concat"', "None"],
    ),
}


@pytest.mark.parametrize(("call", "texts"), REFUSED.values(), ids=REFUSED)
def test_refused(call, texts):
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    for text in texts:
        assert text in str(error.value)


def test_peepholes_of_zeros_stay():
    """What is read does not depend on what numbers there are."""
    rnn = interop.from_onnx(*onnx("onnx-lstm-forward"), "LSTM", P=np.zeros((1, 6)))
    assert isinstance(rnn.cell, PeepholeLSTMCell)
    _, arrays, _ = interop.to_onnx(rnn)
    assert not arrays["P"].any()


def test_carry_of_the_read_module():
    """A carry that torch's states make is one that the module made from torch's weights takes."""
    module = CASE["torch-lstm-2-bi"].read(CASE["torch-lstm-2-bi"].weights())
    h, c = draw([(4, 2), (4, 2)], seed=1)
    carry = interop.from_torch_state(h, c, bidirectional=True)
    wanted = eqx.filter_eval_shape(
        lambda: module(jnp.ones((1, INPUT)), initial_carry=carry, return_carry=True)[0]
    )
    assert jax.tree.structure(wanted) == jax.tree.structure(carry)
    assert isinstance(carry[0][0], LSTMCarry)
