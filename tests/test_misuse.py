"""Common habits from other libraries raise errors that name the call, the argument and a remedy."""

import enum
import inspect
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

import eqx_rnn
from eqx_rnn import (
    RNN,
    Bidirectional,
    GRUCell,
    LSTMCarry,
    LSTMCell,
    RNNCellBase,
    Stacked,
    StackedCell,
    Zoneout,
    interop,
)

KEY = jax.random.key(0)
X = jnp.ones((2, 5, 3), jnp.float32)
STEP = X[:, 0]
H = jnp.ones((2, 4), jnp.float32)
PAIR = (H, H)
CARRY = LSTMCarry(H, H)


def lstm(input_size=3, hidden_size=4, **options):
    return LSTMCell(input_size, hidden_size, dtype=jnp.float32, key=KEY, **options)


def gru(input_size=3, hidden_size=4):
    return GRUCell(input_size, hidden_size, dtype=jnp.float32, key=KEY)


def ensemble():
    return eqx.filter_vmap(lambda key: GRUCell(3, 4, key=key))(jax.random.split(KEY, 5))


def both(*hidden_sizes, merge="concat"):
    return Bidirectional(*(RNN(lstm(3, n)) for n in hidden_sizes), merge=merge)


def conv(**options):
    return eqx_rnn.ConvLSTMCell(2, 4, **({"kernel_size": (3, 3)} | options), key=KEY)


# Each row: the call, and the parts of the text of its error.
MISUSES = {
    # Arguments of other libraries.
    "batch_first": (lambda: RNN(lstm(), batch_first=True), "RNN.__init__", "`time_major`"),
    "batch_first, create": (
        lambda: Stacked.create(LSTMCell, 3, 4, num_layers=1, batch_first=True, key=KEY),
        "Stacked.create",
        "`batch_first`",
        "`time_major`",
    ),
    "batch_first, interop": (
        lambda: interop.from_torch({}, batch_first=True),
        "from_torch",
        "`time_major`",
    ),
    "units": (lambda: LSTMCell(3, units=4, key=KEY), "LSTMCell.__init__", "`hidden_size`"),
    "features": (lambda: GRUCell(3, features=4, key=KEY), "GRUCell.__init__", "`hidden_size`"),
    "in_features": (lambda: GRUCell(in_features=3, key=KEY), "GRUCell", "`input_size`"),
    "hidden": (lambda: LSTMCell(3, hidden=4, key=KEY), "LSTMCell", "`hidden_size`"),
    "hidden of a step": (lambda: gru()(inputs=STEP, hidden=H), "GRUCell", "`carry`"),
    "hidden of a call": (lambda: RNN(gru())(X, hidden=H), "RNN", "`initial_carry`"),
    "backward": (lambda: RNN(gru(), backward=True), "RNN", "`reverse`"),
    "a backward layer": (
        lambda: Bidirectional(RNN(gru()), backward=RNN(gru())),
        "Bidirectional",
        "`backward_rnn`",
    ),
    "bias": (lambda: LSTMCell(3, 4, bias=False, key=KEY), "LSTMCell", "`use_bias`"),
    "rngs": (lambda: LSTMCell(3, 4, rngs=KEY), "LSTMCell", "`key`"),
    "seed": (lambda: LSTMCell(3, 4, seed=0), "LSTMCell", "`key=jax.random.key(seed)`"),
    "gate_fn": (lambda: lstm(gate_fn=jnp.tanh), "LSTMCell", "`gate_activation`"),
    "recurrent_activation": (lambda: lstm(recurrent_activation=None), "`gate_activation`"),
    "a typing error": (lambda: lstm(activaton=jnp.tanh), "`activaton`", "mean `activation`"),
    "no such thing": (lambda: lstm(zzz=1), "`zzz`", "The arguments are `input_size`"),
    "layers of a cell": (lambda: lstm(num_layers=2), "LSTMCell", "`Stacked.create`"),
    "return_sequences": (
        lambda: RNN(lstm(), return_sequences=True),
        "RNN.__init__",
        "`return_carry` is an argument of the call",
        "always returned",
    ),
    "time_major of a call": (
        lambda: RNN(lstm())(X, time_major=True),
        "RNN.__call__",
        "argument of the constructor",
    ),
    "lengths": (lambda: RNN(lstm())(X, lengths=H), "RNN.__call__", "`seq_lengths`"),
    "initial_state": (lambda: both(4, 4)(X, initial_state=H), "`initial_carry`"),
    "hx": (lambda: lstm()(hx=CARRY, inputs=STEP), "LSTMCell.__call__", "`carry`"),
    "go_backwards": (lambda: RNN(lstm(), go_backwards=True), "`reverse`"),
    "lengths to flip": (lambda: eqx_rnn.flip_sequences(X, lengths=H), "flip_", "`seq_lengths`"),
    # Too many, too few.
    "a carry by position": (
        lambda: RNN(lstm())(X, CARRY),
        "RNN.__call__",
        "`inputs`, got 2",
        "`initial_carry=...`",
    ),
    "a carry by position, stack": (
        lambda: Stacked([RNN(lstm())])(X, CARRY),
        "Stacked.__call__",
        "`initial_carry=...`",
    ),
    "lengths by position": (
        lambda: RNN(lstm())(X, np.array([2, 1])),
        "RNN.__call__",
        "`seq_lengths=...`",
    ),
    "lengths by position, list": (lambda: RNN(lstm())(X, [2, 1]), "`seq_lengths=...`"),
    "mask by position": (lambda: RNN(lstm())(X, np.ones((2, 5), bool)), "`mask=...`"),
    "a flag by position": (lambda: RNN(lstm(), True), "RNN.__init__", "`time_major=...`"),
    "a key by position": (lambda: LSTMCell(3, 4, KEY), "LSTMCell.__init__", "`key=...`"),
    "a key of a step by position": (lambda: lstm()(CARRY, STEP, KEY), "LSTMCell.", "`key=...`"),
    "layers by position": (
        lambda: Stacked(RNN(lstm()), RNN(gru(4))),
        "Stacked.__init__",
        "`Stacked([a, b])`",
    ),
    "cells by position": (lambda: StackedCell(lstm(), gru(4)), "`StackedCell([a, b])`"),
    "one layer": (lambda: Stacked(RNN(lstm())), "`layers`", "got RNN", "`Stacked([layer])`"),
    "one cell": (lambda: StackedCell(lstm()), "`cells`", "got LSTMCell", "`StackedCell([cell])`"),
    "Flax's sizes": (lambda: LSTMCell(32), "LSTMCell.__init__", "`hidden_size` is missing"),
    "no inputs": (lambda: RNN(lstm())(), "RNN.__call__", "`inputs` is missing"),
    "no carry": (lambda: lstm()(STEP), "LSTMCell.__call__", "`cell(carry, inputs)`"),
    "no key": (
        lambda: lstm().initialize_carry(STEP),
        "LSTMCell.initialize_carry",
        "`initialize_carry(key, sample_input)`",
    ),
    "twice": (lambda: RNN(lstm())(X, inputs=X), "RNN.__call__", "`inputs` twice"),
    "nothing to convert": (lambda: interop.to_torch(), "to_torch", "`module` is missing"),
    # The order of carry and inputs.
    "carry second": (lambda: lstm()(STEP, PAIR), "LSTMCell: `carry` and `inputs`", "comes first"),
    "carry second, named": (lambda: lstm()(STEP, CARRY), "`cell(carry, inputs)`"),
    "carry second, GRU": (lambda: gru()(STEP, H), "GRUCell: `carry` and `inputs`"),
    "carry second, wrapper": (lambda: Zoneout(lstm())(STEP, CARRY), "Zoneout: `carry` and"),
    "carry second, stack": (
        lambda: StackedCell([lstm(), gru(4)])(STEP, (CARRY, H)),
        "StackedCell: `carry` and `inputs`",
    ),
    "carry second, other sizes": (
        lambda: lstm()(STEP, (H[:1], H[:1])),
        "LSTMCell: `inputs`",
        "A carry comes before the inputs",
    ),
    "Flax's shape": (
        lambda: lstm().initialize_carry(KEY, (4, 10)),
        "LSTMCell: `sample_input`",
        "`jax.ShapeDtypeStruct((4, 10), jnp.float32)`",
    ),
    "key and sample swapped": (lambda: lstm().initialize_carry(STEP, KEY), "The key comes first"),
    # Carries.
    "a pair": (lambda: lstm()(PAIR, STEP), "LSTMCell: `carry`", "`LSTMCarry(*pair)`"),
    "a list": (lambda: lstm()([H, H], STEP), "LSTMCell: `carry`", "`LSTMCarry(*pair)`"),
    "a pair to a layer": (
        lambda: RNN(lstm())(X, initial_carry=PAIR),
        "RNN: `initial_carry`",
        "`LSTMCarry(*pair)`",
    ),
    "a pair in a stack": (
        lambda: Stacked([RNN(gru()), RNN(lstm(4))])(X, initial_carry=(H, PAIR)),
        "Stacked: `initial_carry[1]`",
        "`LSTMCarry(*pair)`",
    ),
    "a pair deep in a stack": (
        lambda: Stacked([RNN(gru()), Stacked([both_above()])])(X, initial_carry=(H, ((H, PAIR),))),
        "Stacked: `initial_carry[1][0][1]`",
        "`LSTMCarry(*pair)`",
    ),
    "a pair in a stacked cell": (
        lambda: StackedCell([gru(), lstm(4)])((H, PAIR), STEP),
        "StackedCell: `carry[1]`",
        "`LSTMCarry(*pair)`",
    ),
    "other named pairs": (
        lambda: eqx_rnn.CoRNNCell(3, 4, dtype=jnp.float32, key=KEY)(PAIR, STEP),
        "CoRNNCell: `carry`",
        "`CoRNNCarry(*pair)`",
    ),
    "one carry for two directions": (
        lambda: both(4, 4)(X, initial_carry=CARRY),
        "Bidirectional: `initial_carry`",
        "pair (forward, backward)",
        "got LSTMCarry",
    ),
    "one carry for two cells": (
        lambda: StackedCell([gru(), gru(4)])(CARRY, STEP),
        "StackedCell: `carry`",
        "got LSTMCarry",
    ),
    "one carry for two layers": (
        lambda: Stacked([RNN(gru()), RNN(gru(4))])(X, initial_carry=CARRY),
        "Stacked: `initial_carry`",
        "got LSTMCarry",
    ),
    "a whole sequence for a step": (lambda: lstm()(CARRY, X), "LSTMCell: `carry`", "`RNN(cell)"),
    "a carry from a whole sequence": (
        lambda: lstm()(lstm().initialize_carry(None, X), STEP),
        "LSTMCell: `carry`",
        "without a time axis",
    ),
    "torch's state of two directions": (
        lambda: Stacked([both(4, 4)])(
            X, initial_carry=interop.from_torch_state(*2 * (np.ones((2, 2, 4), np.float32),))
        ),
        "Stacked: `initial_carry`",
        "bidirectional=True",
    ),
    # Cells and layers, confused.
    "a class": (lambda: RNN(LSTMCell), "RNN: `cell`", "the class LSTMCell", "`LSTMCell(...)`"),
    "a class of a layer": (lambda: Stacked([LSTMCell]), "`layers[0]`", "the class LSTMCell"),
    "a cell of Equinox": (
        lambda: RNN(eqx.nn.LSTMCell(3, 4, key=KEY)),
        "RNN: `cell`",
        "`eqx_rnn.interop.from_equinox`",
    ),
    "a stack for a direction": (
        lambda: Bidirectional(Stacked([RNN(lstm())]), RNN(lstm())),
        "Bidirectional: `forward_rnn`",
        "got Stacked",
    ),
    "a method of the class": (
        lambda: LSTMCell.initialize_carry(KEY, (2,), 4),
        "LSTMCell.initialize_carry",
        "`LSTMCell(...).initialize_carry(...)`",
    ),
    "a name of a cell": (
        lambda: Stacked.create("LSTM", 3, 4, num_layers=2, key=KEY),
        "Stacked.create: `cell`",
        "a function",
    ),
    "a carry of inputs with time first": (
        lambda: RNN(gru())(X, initial_carry=jnp.ones((5, 4))),
        "RNN: `initial_carry`",
        "`time_major`",
    ),
    "cells for layers": (
        lambda: Bidirectional(lstm(), lstm()),
        "Bidirectional: `forward_rnn`",
        "got LSTMCell",
        "RNN(cell)",
    ),
    "a created cell": (
        lambda: Stacked.create(lstm(), 3, 4, num_layers=2, key=KEY),
        "Stacked.create: `cell`",
        "Pass `LSTMCell` itself",
    ),
    "a function among cells": (
        lambda: StackedCell([lstm(), jax.nn.relu]),
        "StackedCell: `cells[1]`",
        "must be a cell",
    ),
    # Keys and functions.
    "a seed": (lambda: LSTMCell(3, 4, key=7), "LSTMCell: `key`", "`key=jax.random.key(7)`"),
    "a seed of a call": (lambda: RNN(lstm())(X, key=0), "RNN: `key`", "jax.random.key(0)"),
    "a seed of a carry": (lambda: lstm().initialize_carry(0, STEP), "`key`", "random.key(0)"),
    "several keys": (
        lambda: LSTMCell(3, 4, key=jax.random.split(KEY, 3)),
        "LSTMCell: `key`",
        "one random key",
        "[3]",
    ),
    "a name of a function": (
        lambda: lstm(activation="tanh"),
        "LSTMCell: `activation`",
        "'tanh'",
        "`jax.nn.tanh`",
    ),
    "a name of a gate's function": (
        lambda: lstm(gate_activation="hard"),
        "LSTMCell: `gate_activation`",
        "`jax.nn.relu`",
    ),
    "a name of an initialiser": (
        lambda: lstm(weight_init="zeros"),
        "LSTMCell: `weight_init`",
        "jax.nn.initializers",
    ),
    "a dtype's name": (
        lambda: LSTMCell(3, 4, dtype="bf16", key=KEY),
        "LSTMCell: `dtype`",
        "'bf16'",
        "`jnp.bfloat16`",
    ),
    "a size that is no integer": (lambda: LSTMCell(3.5, 4, key=KEY), "`input_size`", "float 3.5"),
    "a module for its weights": (
        lambda: interop.from_torch(KEY),
        "from_torch: `state_dict`",
        "a mapping",
    ),
    "a class of modules for a function": (
        lambda: lstm(activation=eqx.nn.PReLU),
        "LSTMCell: `activation`",
        "the class PReLU",
        "`PReLU(...)`",
    ),
    "what makes an initialiser": (
        lambda: lstm(carry_init=jax.nn.initializers.normal),
        "LSTMCell: `carry_init`",
        "`normal()`",
    ),
    "a traced number": (
        lambda: jax.jit(lambda dt: eqx_rnn.CTRNNCell(3, 4, dt=dt, key=KEY))(1.0),
        "CTRNNCell: `dt` must be a number, got float",
        "It is traced",
    ),
    "a flag for a number": (lambda: RNN(lstm(), truncate=True), "`truncate`", "got bool True"),
    "several raw keys": (
        lambda: LSTMCell(3, 4, key=jax.random.split(jax.random.PRNGKey(0))),
        "LSTMCell: `key`",
        "Pass one of the keys",
    ),
    "cells for a cell": (lambda: RNN([lstm(), gru(4)]), "RNN: `cell`", "`StackedCell(cells)`"),
    "a layer in a layer": (
        lambda: RNN(RNN(lstm())),
        "RNN: `cell` must be a cell, got RNN",
        "`Stacked([first, second])`",
    ),
    "a merge for a layer": (
        lambda: Bidirectional(RNN(lstm()), "sum"),
        "Bidirectional: `backward_rnn`",
        "`RNN(cell)`",
    ),
    "cells by name": (lambda: StackedCell({"a": lstm()}), "`StackedCell([first, second])`"),
    "a layer's class to create": (
        lambda: Stacked.create(RNN, 3, 4, num_layers=2, key=KEY),
        "Stacked.create: `cell`",
        "the class RNN",
    ),
    "a cell of Equinox to create": (
        lambda: Stacked.create(eqx.nn.LSTMCell, 3, 4, num_layers=2, key=KEY),
        "Stacked.create: `cell`",
        "`eqx_rnn.LSTMCell`",
    ),
    "a shape of a sample": (lambda: eqx_rnn.LearnedCarry(lstm(), (2, 3)), "LearnedCarry: `sample"),
    "a sample of another width": (
        lambda: eqx_rnn.LearnedCarry(lstm(), STEP[:, :2]),
        "LearnedCarry: `sample_input`",
        "input_size=3",
    ),
    "torch's state of a layer": (
        lambda: RNN(lstm())(X, initial_carry=(CARRY,)),
        "RNN: `initial_carry`",
        "its only item",
    ),
    "torch's state of a bidirectional layer": (
        lambda: both(4, 4)(X, initial_carry=((CARRY, CARRY),)),
        "Bidirectional: `initial_carry`",
        "its only item",
    ),
    "batch axes to flip": (
        lambda: eqx_rnn.flip_sequences(X, num_batch_dims=-1),
        "flip_sequences: `num_batch_dims`",
        "from 0 to 2",
    ),
    "a cell of ours to convert": (
        lambda: interop.from_equinox(lstm()),
        "from_equinox: `cell`",
        "eqx.nn.LSTMCell",
    ),
    "a class to convert": (lambda: interop.to_torch(LSTMCell), "got the class LSTMCell"),
    # One item of a sequence.
    "kernel": (lambda: conv(kernel_size=(3, "3")), "`kernel_size[1]`", "an integer", "str '3'"),
    "strides": (lambda: conv(strides=[1.5, 1]), "`strides[0]`", "an integer", "float 1.5"),
    "dilation": (lambda: conv(dilation=(1, None)), "`dilation[1]`", "an integer", "None"),
    "a pair of padding": (lambda: conv(padding=((1, 1), (1, 1, 1))), "`padding[1]`", "a pair"),
    "padding": (lambda: conv(padding=((1, 1), (1, "1"))), "`padding[1][1]`", "an integer"),
    "tau": (
        lambda: eqx_rnn.CTRNNCell(3, 4, tau=(30.0, 40.0, "a", 50.0), key=KEY),
        "CTRNNCell: `tau[2]`",
        "a number",
    ),
    "norms": (
        lambda: Stacked(
            [RNN(gru()), RNN(gru(4)), RNN(gru(4))], norms=[eqx.nn.LayerNorm(4), jnp.tanh]
        ),
        "Stacked: `norms[1]`",
        "LayerNorm or RMSNorm",
    ),
    "activations of ONNX": (
        lambda: interop.from_onnx(H, H, None, "RNN", activations=["Tanh", 3]),
        "from_onnx: `activations[1]`",
        "int 3",
    ),
    "a name in weights": (
        lambda: interop.from_torch({"weight_hh": H, 3: H}),
        "from_torch: `state_dict`",
        "strings",
    ),
    # Weights of zero size.
    "no units, torch": (
        lambda: interop.from_torch({"weight_ih": np.ones((0, 3)), "weight_hh": np.ones((0, 0))}),
        "from_torch: `weight_hh`",
        "at least 1",
    ),
    "no units, Keras": (
        lambda: interop.from_keras([np.ones((3, 0)), np.ones((0, 0)), np.ones(0)], "LSTM"),
        "from_keras: `recurrent_kernel`",
        "at least 1",
    ),
    "no layers": (
        lambda: interop.from_torch_state(np.ones((0, 2, 4))),
        "from_torch_state: `h_n`",
        "(0, 2, 4)",
    ),
    # Ensembles.
    "an ensemble": (lambda: RNN(ensemble())(X), "RNN: `weight_ih`", "`eqx.filter_vmap`"),
    "an ensemble's step": (lambda: ensemble()(H, STEP), "GRUCell: ", "`eqx.filter_vmap`"),
    "an ensemble in a wrapper": (
        lambda: RNN(Zoneout(ensemble(), inference=True))(X),
        "RNN: ",
        "`eqx.filter_vmap`",
    ),
    "an ensemble in a stack": (
        lambda: Stacked([RNN(StackedCell([ensemble()]))])(X),
        "Stacked: ",
        "`eqx.filter_vmap`",
    ),
    # Shapes, in the words of the call.
    "other features": (
        lambda: RNN(lstm())(X[..., :2]),
        "RNN: `inputs`",
        "(*batch, time, input_size=3)",
        "float32[2,5,2]",
        "for 2 features",
    ),
    "features, time-major": (
        lambda: RNN(lstm(), time_major=True)(X[..., :2]),
        "RNN: `inputs`",
        "(time, *batch, input_size=3)",
    ),
    "features, both directions": (
        lambda: both(4, 4)(X[..., :2]),
        "Bidirectional: `inputs`",
        "(*batch, time, input_size=3)",
        "float32[2,5,2]",
    ),
    "features, stack of stacks": (
        lambda: Stacked([Stacked([RNN(Zoneout(lstm()))])])(X[..., :2]),
        "Stacked: `inputs`",
        "(*batch, time, input_size=3)",
        "float32[2,5,2]",
    ),
    "features, wrapper": (
        lambda: Zoneout(lstm())(CARRY, STEP[:, :2]),
        "Zoneout: `inputs`",
        "(*batch, input_size=3)",
        "float32[2,2]",
    ),
    "features inside a stack": (
        lambda: Stacked([RNN(unknown_width(4)), RNN(gru(5))])(X),
        "Stacked: the inputs of `layers[1]`",
        "input_size=5",
        "float32[2,5,4]",
    ),
    "features inside a stacked cell": (
        lambda: StackedCell([unknown_width(4), gru(5)])((H, H[..., :1]), STEP),
        "StackedCell: the inputs of `cells[1]`",
        "input_size=5",
        "float32[2,4]",
    ),
    "features inside a cell of a layer": (
        lambda: Stacked([RNN(gru()), RNN(StackedCell([unknown_width(4), gru(5)]))])(X),
        "Stacked: the inputs of `layers[1].cell.cells[1]`",
        "input_size=5",
    ),
    "no feature axis": (
        lambda: RNN(gru(1))(jnp.ones((2, 7))),
        "RNN: `inputs`",
        "`inputs[..., None]`",
    ),
    "no feature axis of a step": (lambda: gru(1)(H, jnp.ones(2)), "`inputs[..., None]`"),
    "features before time": (
        lambda: RNN(lstm())(jnp.ones((2, 3, 7))),
        "RNN: `inputs`",
        "`jnp.moveaxis(inputs, -2, -1)`",
    ),
    "channels first": (
        lambda: RNN(conv())(jnp.ones((2, 5, 2, 6, 6))),
        "RNN: `inputs`",
        "`jnp.moveaxis(inputs, -3, -1)`",
    ),
    "time first": (
        lambda: RNN(lstm())(jnp.ones((5, 2, 3)), seq_lengths=np.array([1, 2])),
        "RNN: `seq_lengths`",
        "`time_major=True`",
    ),
    "time not first": (
        lambda: RNN(lstm(), time_major=True)(X, seq_lengths=np.array([1, 2])),
        "RNN: `seq_lengths`",
        "`time_major=False`",
    ),
    "a single step": (lambda: RNN(lstm())(jnp.ones(3)), "RNN: `inputs`", "the cell itself"),
    "no time, both directions": (
        lambda: both(4, 4)(jnp.ones(3), resets=np.ones(1, bool)),
        "Bidirectional: `inputs`",
        "time axis",
    ),
    "lengths of a stack": (
        lambda: Stacked([RNN(lstm())])(X, seq_lengths=np.ones(3, int)),
        "Stacked: `seq_lengths`",
    ),
    "resets of a reversed layer": (
        lambda: Stacked([RNN(lstm(), reverse=True)])(X, resets=np.ones((5, 2), bool)),
        "Stacked: `resets`",
    ),
}


def both_above():
    return Bidirectional(RNN(gru(4)), RNN(lstm(4)))


class Pad(RNNCellBase):
    """A cell whose output width is known only from a step."""

    size: int = eqx.field(static=True)
    num_feature_dims = 1

    def initialize_carry(self, key, sample_input):
        return jnp.zeros((*sample_input.shape[:-1], 4), sample_input.dtype)

    def __call__(self, carry, inputs, *, key=None):
        return carry, jnp.zeros((*inputs.shape[:-1], self.size), inputs.dtype)


def unknown_width(size):
    return Pad(size)


# Layers are not cells, so wrappers refuse them.
LAYERS = {"RNN": lambda: RNN(lstm()), "Stacked": lambda: Stacked([RNN(lstm())])}
WRAPPERS = ("Zoneout", "DropConnect", "RecurrentDropout", "Residual", "LearnedCarry")
for _layer, _make in LAYERS.items():
    for _wrapper in WRAPPERS:
        MISUSES[f"{_wrapper} of {_layer}"] = (
            lambda make=_make, wrapper=_wrapper: getattr(eqx_rnn, wrapper)(make()),
            f"{_wrapper}: `cell` must be a cell, got {_layer}",
            f"`RNN({_wrapper}(cell))`",
        )


@pytest.mark.parametrize("name", MISUSES)
def test_misuse(name):
    call, *texts = MISUSES[name]
    with pytest.raises((TypeError, ValueError)) as raised:
        call()
    message = str(raised.value)
    missing = [text for text in texts if text not in message]
    assert not missing, f"{missing} not in:\n{message}"
    assert len(message) < 600, message
    assert "\n" not in message


@pytest.mark.parametrize(
    "call", [lambda: RNN(gru(1))(jnp.ones((2, 7))), lambda: gru(1)(H, X[0, 0])]
)
def test_missing_feature_axis_is_not_taken_for_features(call):
    with pytest.raises(ValueError, match="input_size=1") as raised:
        call()
    assert "input_size=7" not in str(raised.value)
    assert "build the cell" not in str(raised.value)


LAYOUTS = {
    "RNN": lambda: RNN(gru()),
    "Bidirectional": lambda: both(4, 4),
    "Stacked": lambda: Stacked([Stacked([both(4, 4)]), RNN(gru(8))]),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_owner_at_run_time(name, jit):
    """Lengths are checked when the program runs, in the name of the layer that was called."""
    layer = LAYOUTS[name]()
    call = eqx.filter_jit(layer) if jit else layer
    with pytest.raises(eqx.EquinoxRuntimeError, match=f"{name}: `seq_lengths` must be between"):
        call(X, seq_lengths=np.array([1, 6]))


@pytest.mark.parametrize("k", range(3))
def test_every_item_is_checked(k):
    """beartype checks a random one."""
    for _ in range(20):
        cells = [gru(), gru(4), gru(4)]
        cells[k] = jax.nn.relu
        with pytest.raises(TypeError, match=rf"`cells\[{k}\]` must be a cell"):
            StackedCell(cells)


def test_good_neighbours():
    """Calls that resemble a misuse but are right."""
    LSTMCell(3, 4, key=jax.random.PRNGKey(0))
    state = enum.StrEnum("State", ["current"]).current
    assert eqx_rnn.CTRNNCell(3, 4, state=state, key=KEY).state == "current"
    struct = eqx.filter_eval_shape(LSTMCell, 3, 4, key=KEY)
    assert eqx_rnn.DropConnect(struct).cell is struct
    assert eqx_rnn.LearnedCarry(struct).initial.hidden.shape == (4,)
    Stacked.create(lambda *sizes, **rest: LSTMCell(*sizes, **rest), 3, 4, num_layers=1, key=KEY)
    assert ensemble().initialize_carry(None, STEP).shape == (2, 4)
    run = eqx.filter_vmap(lambda rnn, x: rnn(x), in_axes=(eqx.if_array(0), None))
    assert run(RNN(ensemble()), X).shape == (5, 2, 5, 4)
    carry = interop.from_torch_state(*2 * (np.ones((2, 2, 4), np.float32),), bidirectional=True)
    assert Stacked([both(4, 4)])(X, initial_carry=carry).shape == (2, 5, 8)
    assert_close(lstm()(LSTMCarry(*PAIR), STEP), lstm()(CARRY, STEP))


def test_signatures_are_whole():
    """`help` and editors show the argument names of the source."""
    assert list(inspect.signature(LSTMCell).parameters)[:3] == [
        "input_size",
        "hidden_size",
        "proj_size",
    ]
    assert list(inspect.signature(RNN).parameters)[:2] == ["cell", "time_major"]
    assert next(iter(inspect.signature(RNN.__call__).parameters)) == "self"
    assert "num_layers" in inspect.signature(Stacked.create).parameters
    assert "prefix" in inspect.signature(interop.from_torch).parameters
    assert RNN.__call__.__doc__.startswith("Runs the cell over a batch")
    assert interop.from_torch.__name__ == "from_torch"


def test_an_error_of_a_users_cell_is_its_own():
    """Errors that do not come from a check keep their texts."""

    class Broken(Pad):
        def __call__(self, carry, inputs, *, key=None):
            raise TypeError("`inputs` are mine")

    with pytest.raises(TypeError, match=r"^`inputs` are mine"):
        Stacked([RNN(Broken(4))])(X)


def test_without_annotations():
    """Errors do not need jaxtyping, nor `assert`."""
    code = """
import eqx_rnn, jax, jax.numpy as jnp
key = jax.random.key(0)
cell = eqx_rnn.LSTMCell(3, 4, key=key)
calls = [
    (lambda: eqx_rnn.RNN(eqx_rnn.LSTMCell), "the class LSTMCell"),
    (lambda: eqx_rnn.LSTMCell(3, 4, key=0), "jax.random.key(0)"),
    (lambda: eqx_rnn.RNN(cell, batch_first=True), "`time_major`"),
    (lambda: eqx_rnn.StackedCell([cell, jnp.tanh]), "`cells[1]`"),
    (lambda: cell(jnp.ones((2, 3)), 2 * (jnp.ones((2, 4)),)), "comes first"),
]
for call, text in calls:
    try:
        call()
    except (TypeError, ValueError) as error:
        if text not in str(error):
            raise
    else:
        raise SystemExit(text)
"""
    run = [sys.executable, "-O", "-c", code]
    environment = {"JAXTYPING_DISABLE": "1", "JAX_PLATFORMS": "cpu", "PATH": ""}
    environment["PYTHONPATH"] = ":".join(sys.path)
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
