"""Errors about weights and options that cannot be read, or that other frameworks lack."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interop_case import HIDDEN, INPUT
from interop_cases import CASES

from eqx_rnn import (
    RNN,
    Bidirectional,
    ConvGRUCell,
    ConvLSTMCell,
    GRUCell,
    LSTMCarry,
    LSTMCell,
    MGUCell,
    SimpleCell,
    Stacked,
    Zoneout,
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


# Each row: the call, the type of the error, and the parts of its text.
torch_weights = lambda kind: CASE[f"torch-{kind}-1"].weights()
keras_weights = lambda name: CASE[name].weights()
onnx = lambda name: [CASE[name].weights().get(key) for key in "WRB"]
LSTM_W = "keras-lstm-8-hard_sigmoid"
REFUSED = {
    "torch: no nonlinearity": (
        lambda: interop.from_torch(torch_weights("rnn"), nonlinearity="sigmoid"),
        ["`nonlinearity`", "'tanh', 'relu'", "'sigmoid'"],
    ),
    "torch: a cell, not layers": (
        lambda: interop.from_torch(torch_weights("rnn"), cell=True),
        ["`cell`", "None, False", "True"],
    ),
    "torch: a gate's nonlinearity": (
        lambda: interop.from_torch(torch_weights("gru"), nonlinearity="relu"),
        ["`nonlinearity`", "option of an RNN", "GRUCell", "Leave it out"],
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
        ["those of a model", "'a.rnn.'", "`prefix`"],
    ),
    "torch: a prefix without its dot": (
        lambda: interop.from_torch(
            {f"a.rnn.{name}": array for name, array in torch_weights("gru").items()},
            prefix="a.rnn",
        ),
        ["those of a model", "'a.rnn.'", "`prefix`"],
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
        ["activation=tanh or relu", f"the one of {__name__}"],
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
        ["the same kind", "LSTMCell", "GRUCell"],
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
        ["SimpleRNN", "Leave out `recurrent_activation`"],
    ),
    "keras: strides": (
        lambda: interop.from_keras(keras_weights(LSTM_W), "LSTM", strides=2),
        ["`strides`", "options of a ConvLSTM", "2", "'LSTM'"],
    ),
    "keras: padding": (
        lambda: interop.from_keras(
            keras_weights("keras-convlstm3d-same"), "ConvLSTM3D", padding="causal"
        ),
        ["`padding`", "'valid', 'same'", "'causal'"],
    ),
    "keras: reset_after of none": (
        lambda: interop.from_keras(keras_weights(LSTM_W), "LSTM", reset_after=True),
        ["`reset_after`", "option of a GRU", "'LSTM'"],
    ),
    "keras: reset_after unknown": (
        lambda: interop.from_keras(keras_weights("keras-gru-True"), "GRU"),
        ["`reset_after`", "must be True or False", "got None"],
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
        ["those of a model", "'cell/'", "params['cell']"],
    ),
    "flax: a box": (
        lambda: interop.from_flax({"dense_h": {"kernel": object()}}, "GRUCell"),
        ["`dense_h/kernel`", "must be an array", "got object"],
    ),
    "flax: residual": (
        lambda: interop.from_flax(CASE["flax-grucell"].weights(), "GRUCell", residual=True),
        ["`residual`", "option of a SimpleCell"],
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
        ["`bias_n`", "must be 0", "Use the GRUCell of linen"],
    ),
    "to keras: a layer": (lambda: interop.to_keras(RNN(LSTM)), ["got RNN", "Pass its `cell`"]),
    "to torch: prefix": (lambda: interop.to_torch(LSTM, prefix="rnn"), ["end in a dot", "'rnn.'"]),
    "to torch: a wrapped cell": (
        lambda: interop.to_torch(RNN(Zoneout(LSTM, 0.1))),
        ["got Zoneout", "no counterpart"],
    ),
    "to onnx: a stack": (
        lambda: interop.to_onnx(Stacked([RNN(LSTM)])),
        ["got Stacked", "`layers`"],
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
        ["`double_bias`", "option of a VanillaRNN", "LSTMCell"],
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
        ["`linear_before_reset`", "option of a GRU"],
    ),
    "onnx: number of activations": (
        lambda: interop.from_onnx(*onnx("onnx-lstm-forward"), "LSTM", activations=["Tanh"]),
        ["`activations`", "3 items, 3 per direction", "got 1"],
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
