"""Errors about bad input name the argument, the expected and the given value, and a remedy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_rnn
from eqx_rnn import LSTMCarry

KEY = jax.random.key(0)
LSTM = eqx_rnn.LSTMCell(3, 4, dtype=jnp.float32, key=KEY)
SLSTM = eqx_rnn.SLSTMCell(3, 4, dtype=jnp.float32, key=KEY)
CONV = eqx_rnn.ConvLSTMCell(2, 4, (3, 3), padding="VALID", dtype=jnp.float32, key=KEY)
RNN = eqx_rnn.RNN(LSTM)
TIME_MAJOR = eqx_rnn.RNN(LSTM, time_major=True)
X = jnp.ones((2, 5, 3), jnp.float32)
LENGTHS = np.array([1, 2])
MASK = np.ones((2, 5), bool)
HIDDEN = jnp.ones((2, 4), jnp.float32)


def random_carry():
    return eqx_rnn.GRUCell(3, 4, carry_init=jax.nn.initializers.normal(), key=KEY)


def two(**options):
    return eqx_rnn.RNN(eqx_rnn.LSTMCell(3, 4, key=KEY), **options)


def upper(input_size=4, hidden_size=4, **options):
    return eqx_rnn.RNN(eqx_rnn.GRUCell(input_size, hidden_size, key=KEY), **options)


def stack(*layers, **options):
    return eqx_rnn.Stacked(layers or [RNN, upper()], **options)


def create(**options):
    return eqx_rnn.Stacked.create(eqx_rnn.GRUCell, 3, 4, **({"num_layers": 2} | options))


# Each row: what is called, the error's type, and what its text must contain.
BAD_INPUTS = {
    "feature size": (
        lambda: RNN(jnp.ones((2, 5, 7))),
        ValueError,
        ["RNN: `inputs`", "(*batch, time, input_size=3)", "[2,5,7]", "pass 3", "for 7 features"],
    ),
    "feature size of a step": (
        lambda: LSTM(LSTMCarry(HIDDEN, HIDDEN), jnp.ones((2, 7))),
        ValueError,
        ["`inputs`", "(*batch, input_size=3)", "[2,7]", "pass 3 features"],
    ),
    "feature size of a sample": (
        lambda: LSTM.initialize_carry(None, jnp.ones((2, 7))),
        ValueError,
        ["`sample_input`", "(*batch, input_size=3)", "[2,7]", "pass 3 features"],
    ),
    "channels of an image": (
        lambda: eqx_rnn.RNN(CONV)(jnp.ones((2, 5, 6, 6, 3))),
        ValueError,
        ["`inputs`", "(*batch, time, X, Y, input_size=2)", "[2,5,6,6,3]", "pass 2 features"],
    ),
    "rank": (
        lambda: RNN(jnp.ones(3)),
        ValueError,
        ["`inputs`", "time axis and, for this cell, 1 feature axes", "[3]", "single step"],
    ),
    "rank of an image": (
        lambda: CONV.initialize_carry(None, jnp.ones((6, 2))),
        ValueError,
        ["`sample_input`", "(*batch, X, Y, input_size=2)", "[6,2]", "axis is missing"],
    ),
    "space smaller than the kernel": (
        lambda: eqx_rnn.RNN(CONV)(jnp.ones((2, 5, 2, 6, 2))),
        ValueError,
        ["`inputs`", "kernel fits", "(2, 6)", 'padding="SAME"'],
    ),
    "integers": (
        lambda: RNN(jnp.ones((2, 5, 3), jnp.int32)),
        TypeError,
        ["`inputs`", "floating-point", "int32[2,5,3]", "astype", "Embedding"],
    ),
    "complex": (
        lambda: RNN(jnp.ones((2, 5, 3), jnp.complex64)),
        TypeError,
        ["`inputs`", "floating-point", "complex64[2,5,3]", "astype"],
    ),
    "a list": (
        lambda: RNN([[1.0, 2.0, 3.0]]),
        TypeError,
        ["`inputs`", "JAX or NumPy array", "list", "jnp.asarray"],
    ),
    "a list to a cell": (
        lambda: LSTM(LSTMCarry(HIDDEN, HIDDEN), [1.0, 2.0, 3.0]),
        TypeError,
        ["`inputs`", "floating-point array", "list", "NumPy array"],
    ),
    "carry structure": (
        lambda: RNN(X, initial_carry=(HIDDEN, HIDDEN)),
        ValueError,
        ["`initial_carry`", "LSTMCarry(hidden=float32[2,4]", "got (float32[2,4], ", "structure"],
    ),
    "carry structure of a step": (
        lambda: LSTM(HIDDEN, X[:, 0]),
        ValueError,
        ["`carry`", "LSTMCarry(hidden=float32[2,4]", "got float32[2,4]", "structure"],
    ),
    "carry shape": (
        lambda: RNN(X, initial_carry=LSTMCarry(HIDDEN, HIDDEN[0])),
        ValueError,
        ["`initial_carry`", "cell=float32[2,4]", "cell=float32[4]", "broadcast"],
    ),
    "carry of a wrong kind": (
        lambda: RNN(X, initial_carry=LSTMCarry(HIDDEN, HIDDEN.astype(jnp.int32))),
        TypeError,
        ["`initial_carry`", "cell=float32[2,4]", "cell=int32[2,4]", "cast"],
    ),
    "carry that is no array": (
        lambda: RNN(X, initial_carry=LSTMCarry(0.0, 0.0)),
        TypeError,
        ["`initial_carry`", "hidden=float32[2,4]", "hidden=float 0.0", "must be JAX or NumPy"],
    ),
    "lengths' shape": (
        lambda: RNN(X, seq_lengths=np.array([1, 2, 3])),
        ValueError,
        ["`seq_lengths`", "integer array of shape (2,)", "int64[3]", "one length per sequence"],
    ),
    "lengths' dtype": (
        lambda: RNN(X, seq_lengths=np.array([1.0, 2.0])),
        TypeError,
        ["`seq_lengths`", "integer array", "float64[2]", "astype"],
    ),
    "lengths in a list": (
        lambda: RNN(X, seq_lengths=[1, 2]),
        TypeError,
        ["`seq_lengths`", "JAX or NumPy array", "list [1, 2]", "jnp.asarray"],
    ),
    "a length over the time axis": (
        lambda: RNN(X, seq_lengths=np.array([1, 6])),
        eqx.EquinoxRuntimeError,
        ["`seq_lengths`", "between 0 and 5", "outside", "Clip"],
    ),
    "a negative length": (
        lambda: RNN(X, seq_lengths=np.array([-1, 5])),
        eqx.EquinoxRuntimeError,
        ["`seq_lengths`", "between 0 and 5", "outside", "Clip"],
    ),
    "a length over the time axis, under jit": (
        lambda: eqx.filter_jit(RNN)(X, seq_lengths=np.array([1, 6])),
        eqx.EquinoxRuntimeError,
        ["`seq_lengths`", "between 0 and 5", "outside", "Clip"],
    ),
    "a length over the time axis, under vmap": (
        lambda: jax.vmap(lambda x, n: RNN(x, seq_lengths=n))(X, np.array([1, 6])),
        eqx.EquinoxRuntimeError,
        ["`seq_lengths`", "between 0 and 5", "outside", "Clip"],
    ),
    "lengths and mask": (
        lambda: RNN(X, seq_lengths=LENGTHS, mask=MASK),
        ValueError,
        ["`seq_lengths` and `mask`", "not both", "combine"],
    ),
    "mask's shape": (
        lambda: RNN(X, mask=MASK.T),
        ValueError,
        ["`mask`", "bool array of shape (2, 5)", "bool[5,2]", "one value per step"],
    ),
    "mask's shape, time-major": (
        lambda: TIME_MAJOR(X, mask=MASK.T),
        ValueError,
        ["`mask`", "bool array of shape (2, 5)", "bool[5,2]", "one value per step"],
    ),
    "mask's dtype": (
        lambda: RNN(X, mask=MASK.astype(np.float32)),
        TypeError,
        ["`mask`", "bool array", "float32[2,5]", "mask != 0"],
    ),
    "resets' shape": (
        lambda: RNN(X, resets=MASK[0]),
        ValueError,
        ["`resets`", "bool array of shape (2, 5)", "bool[5]", "one value per step"],
    ),
    "resets' dtype": (
        lambda: RNN(X, resets=MASK.astype(np.int32)),
        TypeError,
        ["`resets`", "bool array", "int32[2,5]", "resets != 0"],
    ),
    "resets in a list, in both directions": (
        lambda: eqx_rnn.Bidirectional(two(), two())(X, resets=[True]),
        TypeError,
        ["`resets`", "JAX or NumPy array", "list [True]", "jnp.asarray"],
    ),
    "no key for a random carry": (
        lambda: eqx_rnn.RNN(random_carry())(X),
        ValueError,
        ["GRUCell: `key` must be a random key", "got None", "Pass `key=jax.random.key(seed)`"],
    ),
    "no key for the weights": (
        lambda: eqx_rnn.LSTMCell(3, 4),
        TypeError,
        ["LSTMCell: `key` must be a random key", "got none", "Pass `key=jax.random.key(seed)`"],
    ),
    "no key for the weights of a convolution": (
        lambda: eqx_rnn.ConvGRUCell(3, 4, (3,), key=None),
        TypeError,
        ["ConvGRUCell: `key` must be", "got none", "Pass `key=jax.random.key(seed)`"],
    ),
    "a number for a key": (
        lambda: eqx_rnn.LSTMCell(3, 4, key=0),
        TypeError,
        ["LSTMCell: `key`", "random key", "got int 0", "`key=jax.random.key(0)`"],
    ),
    "no units": (
        lambda: eqx_rnn.LSTMCell(3, 0, key=KEY),
        ValueError,
        ["LSTMCell: `hidden_size`", "at least 1", "got 0"],
    ),
    "no projection": (
        lambda: eqx_rnn.LSTMCell(3, 4, proj_size=0, key=KEY),
        ValueError,
        ["LSTMCell: `proj_size`", "at least 1", "got 0"],
    ),
    "heads of different sizes": (
        lambda: eqx_rnn.SLSTMCell(3, 4, num_heads=3, key=KEY),
        ValueError,
        ["SLSTMCell: `num_heads`", "divide `hidden_size`", "got 3 heads for", "4", "Change one"],
    ),
    "no heads": (
        lambda: eqx_rnn.SLSTMCell(3, 4, num_heads=0, key=KEY),
        ValueError,
        ["SLSTMCell: `num_heads`", "at least 1", "got 0"],
    ),
    "an unknown forget gate": (
        lambda: eqx_rnn.SLSTMCell(3, 4, forget_gate="relu", key=KEY),
        TypeError,
        ["SLSTMCell: `forget_gate`", "one of 'sigmoid', 'exp'", "got str 'relu'"],
    ),
    "a step of no time": (
        lambda: eqx_rnn.LEMCell(3, 4, dt=0, key=KEY),
        ValueError,
        ["LEMCell: `dt`", "finite number, positive", "got 0", "Leave it out"],
    ),
    "a step backwards": (
        lambda: eqx_rnn.AntisymmetricRNNCell(3, 4, epsilon=-0.1, key=KEY),
        ValueError,
        ["AntisymmetricRNNCell: `epsilon`", "finite number, positive", "got -0.1", "Leave it out"],
    ),
    "a negative damping": (
        lambda: eqx_rnn.CoRNNCell(3, 4, epsilon=-1, key=KEY),
        ValueError,
        ["CoRNNCell: `epsilon`", "finite number, 0 or positive", "got -1", "Leave it out"],
    ),
    "a frequency that is no number": (
        lambda: eqx_rnn.CoRNNCell(3, 4, gamma=float("nan"), key=KEY),
        ValueError,
        ["CoRNNCell: `gamma`", "finite number", "got nan", "Leave it out"],
    ),
    "a step in other units than tau": (
        lambda: eqx_rnn.CTRNNCell(3, 4, dt=20.0, tau=0.1, key=KEY),
        ValueError,
        ["CTRNNCell: `tau`", "no smaller than `dt`, which is 20.0", "got 0.1", "one unit of time"],
    ),
    "time constants of other units": (
        lambda: eqx_rnn.CTRNNCell(3, 4, tau=jnp.full(3, 50.0), key=KEY),
        ValueError,
        ["CTRNNCell: `tau`", "a number or 4 of them", "(3,)", "one per unit"],
    ),
    "an unknown state": (
        lambda: eqx_rnn.CTRNNCell(3, 4, state="voltage", key=KEY),
        TypeError,
        ["CTRNNCell: `state`", "one of 'rate', 'current'", "got str 'voltage'"],
    ),
    "weights of integers": (
        lambda: eqx_rnn.GRUCell(3, 4, dtype=jnp.int32, key=KEY),
        TypeError,
        ["GRUCell: `dtype`", "floating-point", "int32", "jnp.float32"],
    ),
    "no key for a normalised cell": (
        lambda: eqx_rnn.LayerNormGRUCell(3, 4),
        TypeError,
        ["LayerNormGRUCell: `key` must be", "got none", "Pass `key=jax.random.key(seed)`"],
    ),
    "no units of a gated cell": (
        lambda: eqx_rnn.JANETCell(3, 0, key=KEY),
        ValueError,
        ["JANETCell: `hidden_size`", "at least 1", "got 0"],
    ),
    "too few steps for a forget bias": (
        lambda: eqx_rnn.chrono(2),
        ValueError,
        ["chrono: `max_steps`", "at least 3", "got 2", "length of your sequences"],
    ),
    "kernel size without axes": (
        lambda: eqx_rnn.ConvLSTMCell(3, 4, 5, key=KEY),
        ValueError,
        ["`kernel_size`", "tuple", "got 5", "kernel_size=(5, 5)", "num_spatial_dims=2"],
    ),
    "kernel size and other axes": (
        lambda: eqx_rnn.ConvGRUCell(3, 4, (5, 5), num_spatial_dims=3, key=KEY),
        ValueError,
        ["`num_spatial_dims`", "length of `kernel_size`", "got 3 and (5, 5)", "one of the two"],
    ),
    "four spatial axes": (
        lambda: eqx_rnn.ConvLSTMCell(3, 4, (2, 2, 2, 2), key=KEY),
        ValueError,
        ["`kernel_size`", "1, 2 or 3 sizes", "(2, 2, 2, 2)"],
    ),
    "strides": (
        lambda: eqx_rnn.ConvLSTMCell(3, 4, (3, 3), strides=(2,), key=KEY),
        ValueError,
        ["`strides`", "or 2 of them", "got (2,)"],
    ),
    "dilation": (
        lambda: eqx_rnn.ConvLSTMCell(3, 4, (3, 3), dilation=0, key=KEY),
        ValueError,
        ["`dilation`", "at least 1", "got 0"],
    ),
    "padding's name": (
        lambda: eqx_rnn.ConvLSTMCell(3, 4, (3, 3), padding="same", key=KEY),
        ValueError,
        ["`padding`", '"SAME", "VALID" or 2 pairs', "got 'same'"],
    ),
    "padding's pairs": (
        lambda: eqx_rnn.ConvLSTMCell(3, 4, (3, 3), padding=[(1, 1)], key=KEY),
        ValueError,
        ["`padding`", "2 pairs (before, after)", "got ((1, 1),)"],
    ),
    "no cell": (
        lambda: eqx_rnn.RNN(eqx.nn.LSTMCell(3, 4, key=KEY)),
        TypeError,
        ["cell", "RNNCellBase", "LSTMCell"],
    ),
    "unroll": (lambda: eqx_rnn.RNN(LSTM, unroll=0), ValueError, ["`unroll`", "at least 1", "0"]),
    "checkpoint": (
        lambda: eqx_rnn.RNN(LSTM, checkpoint=-3),
        ValueError,
        ["`checkpoint`", "at least 1", "-3"],
    ),
    "truncate": (
        lambda: eqx_rnn.RNN(LSTM, truncate=0),
        ValueError,
        ["`truncate`", "at least 1", "0"],
    ),
    "return_carry": (
        lambda: RNN(X, return_carry="last"),
        TypeError,
        ["RNN: `return_carry`", "True or False or 'all'", "got str 'last'"],
    ),
    "one cell for both directions": (
        lambda: eqx_rnn.Bidirectional(RNN, RNN),
        ValueError,
        ["`forward_rnn` and `backward_rnn`", "a cell each", "eqx.nn.Shared"],
    ),
    "a reversed forward direction": (
        lambda: eqx_rnn.Bidirectional(two(reverse=True), two()),
        ValueError,
        ["`forward_rnn`", "forward", "reverse=True", "leave out `reverse`"],
    ),
    "two layouts": (
        lambda: eqx_rnn.Bidirectional(two(), two(time_major=True)),
        ValueError,
        ["`time_major`", "agree", "False and True"],
    ),
    "an unknown merge": (
        lambda: eqx_rnn.Bidirectional(two(), two(), "max"),
        ValueError,
        ["`merge`", "'concat', 'mul', 'sum'", "got 'max'"],
    ),
    "a carry for one direction": (
        lambda: eqx_rnn.Bidirectional(two(), two())(X, initial_carry=HIDDEN),
        ValueError,
        ["`initial_carry`", "pair (forward, backward)", "one carry per direction"],
    ),
    "stack: no layers": (
        lambda: eqx_rnn.Stacked([]),
        ValueError,
        ["Stacked: `layers`", "one layer or more", "got none"],
    ),
    "stack: a cell for a layer": (
        lambda: stack(RNN, LSTM),
        TypeError,
        ["`layers[1]`", "`RNN`", "got LSTMCell", "`RNN(cell)`"],
    ),
    "stack: one cell in two layers": (
        lambda: stack(two(), eqx_rnn.Bidirectional(RNN, two()), stack(RNN)),
        ValueError,
        ["`layers`", "a cell each", "got one cell twice", "eqx.nn.Shared"],
    ),
    "stack: two layouts": (
        lambda: stack(two(), upper(time_major=True)),
        ValueError,
        ["`layers`", "agree on `time_major`", "[False, True]"],
    ),
    "stack: reversed outputs below a layer": (
        lambda: stack(two(reverse=True), upper()),
        ValueError,
        ["`layers[0]`", "order of its inputs", "keep_order=False", "`keep_order=True`"],
    ),
    "stack: reversed outputs below a layer, nested": (
        lambda: stack(stack(two(), upper(reverse=True)), upper()),
        ValueError,
        ["`layers[0]`", "order of its inputs", "keep_order=False", "`keep_order=True`"],
    ),
    "stack: reversed outputs and their inputs": (
        lambda: stack(two(), upper(reverse=True), residual=True),
        ValueError,
        ["`layers[1]`", "order of its inputs", "keep_order=False", "`keep_order=True`"],
    ),
    "stack: width": (
        lambda: stack(RNN, upper(7)),
        ValueError,
        ["Stacked: `layers[1]`", "4 features", "`layers[0]`", "got input_size=7", "input_size=4"],
    ),
    "stack: residual widths": (
        lambda: stack(RNN, upper(4, 5), residual=True),
        ValueError,
        ["`residual`", "`layers[1]`", "[4], got", "[5]. Make", "equally wide"],
    ),
    "stack: all dropped": (
        lambda: stack(dropout=1.0),
        ValueError,
        ["`dropout`", "0 <= dropout < 1", "got 1.0"],
    ),
    "stack: no key for dropout": (
        lambda: stack(dropout=0.5)(X),
        ValueError,
        ["`key`", "because there is dropout", "got None", "jax.random.key", "inference_mode"],
    ),
    "stack: number of norms": (
        lambda: stack(norms=[eqx.nn.LayerNorm(4), eqx.nn.LayerNorm(4)]),
        ValueError,
        ["`norms`", "between each two of the 2 layers", "got 2", "Pass 1"],
    ),
    "stack: size of a norm": (
        lambda: stack(norms=[eqx.nn.LayerNorm(3)]),
        ValueError,
        ["`norms[0]`", "4 features", "`layers[0]`", "got (3,)"],
    ),
    "stack: number of carries": (
        lambda: stack()(X, initial_carry=(HIDDEN,)),
        ValueError,
        ["Stacked: `initial_carry`", "tuple of 2, one carry per layer", "got a tuple of 1"],
    ),
    "stack: no carries": (
        lambda: stack()(X, initial_carry=HIDDEN),
        ValueError,
        ["Stacked: `initial_carry`", "tuple of 2, one carry per layer", "got ArrayImpl"],
    ),
    "stack: a pair below a layer": (
        lambda: stack(eqx_rnn.Bidirectional(two(), two(), None), upper())(X),
        TypeError,
        ["all parts except the last", "one array", "[2,5,4], float64[2,5,4])"],
    ),
    "stack: images below vectors": (
        lambda: stack(eqx_rnn.RNN(CONV), upper())(jnp.ones((2, 5, 6, 6, 2))),
        ValueError,
        ["Stacked: each part", "[2,5,4,4,4] with 3", "num_feature_dims=1"],
    ),
    "stack: a list": (
        lambda: stack()([[1.0]]),
        TypeError,
        ["Stacked: `inputs`", "JAX or NumPy array", "jnp.asarray"],
    ),
    "create: no layers": (
        lambda: create(num_layers=0, key=KEY),
        ValueError,
        ["Stacked.create: `num_layers`", "at least 1", "got 0"],
    ),
    "create: no key": (
        lambda: create(),
        TypeError,
        ["Stacked.create: `key`", "got none", "Pass `key=jax.random.key(seed)`"],
    ),
    "create: an option that the cell has not": (
        lambda: create(proj_size=3, key=KEY),
        TypeError,
        ["proj_size"],
    ),
    "stacked cell: no cells": (
        lambda: eqx_rnn.StackedCell([]),
        ValueError,
        ["StackedCell: `cells`", "one cell or more", "got none"],
    ),
    "stacked cell: one twice": (
        lambda: eqx_rnn.StackedCell([LSTM, LSTM]),
        ValueError,
        ["StackedCell: `cells`", "a cell each", "got one cell twice", "eqx.nn.Shared"],
    ),
    "stacked cell: one in two wrappers": (
        lambda: eqx_rnn.StackedCell([eqx_rnn.Zoneout(LSTM), eqx_rnn.DropConnect(LSTM)]),
        ValueError,
        ["StackedCell: `cells`", "one cell twice (or in two wrappers)", "eqx.nn.Shared"],
    ),
    "stacked cell: one in two modes": (
        lambda: eqx_rnn.StackedCell([eqx_rnn.Zoneout(LSTM), eqx.nn.inference_mode(LSTM)]),
        ValueError,
        ["StackedCell: `cells`", "one cell twice"],
    ),
    "two directions: one cell in two wrappers": (
        lambda: eqx_rnn.Bidirectional(RNN, eqx_rnn.RNN(eqx_rnn.StackedCell([LSTM]))),
        ValueError,
        ["Bidirectional: `forward_rnn` and `backward_rnn`", "one cell twice"],
    ),
    "stack: one cell in two wrappers": (
        lambda: stack(eqx_rnn.RNN(eqx_rnn.Zoneout(LSTM)), eqx_rnn.RNN(eqx_rnn.DropConnect(LSTM))),
        ValueError,
        ["Stacked: `layers`", "one cell twice"],
    ),
    "stacked cell: layers": (
        lambda: eqx_rnn.StackedCell([RNN]),
        TypeError,
        [
            "StackedCell: `cells[0]`",
            "must be a cell, got RNN",
            "`RNN(StackedCell([first, second]))`",
        ],
    ),
    "stacked cell: number of carries": (
        lambda: eqx_rnn.StackedCell([LSTM, upper().cell])([HIDDEN, HIDDEN], X[:, 0]),
        ValueError,
        ["StackedCell: `carry`", "tuple of 2, one carry per cell", "got list"],
    ),
    "stacked cell: number of carries of a sequence": (
        lambda: eqx_rnn.RNN(eqx_rnn.StackedCell([LSTM, upper().cell]))(X, initial_carry=(HIDDEN,)),
        ValueError,
        ["`initial_carry`", "(LSTMCarry(hidden=float32[2,4]", "got (float32[2,4],)", "structure"],
    ),
    "stacked cell: images below vectors": (
        lambda: eqx_rnn.StackedCell([CONV, LSTM]).initialize_carry(None, jnp.ones((2, 6, 6, 2))),
        ValueError,
        ["StackedCell: each part", "[2,4,4,4] with 3", "num_feature_dims=1"],
    ),
    "a rate over 1": (
        lambda: eqx_rnn.RecurrentDropout(LSTM, 0.1, LSTMCarry(0.0, 1.5)),
        ValueError,
        ["RecurrentDropout: `hidden_rate`", "0 <= hidden_rate < 1", "got 1.5", "fraction"],
    ),
    "a NumPy rate over 1": (
        lambda: eqx_rnn.Zoneout(LSTM, np.float32(1.5)),
        ValueError,
        ["Zoneout: `rate`", "0 <= rate < 1", "got 1.5"],
    ),
    "a rate in an array that is negative": (
        lambda: eqx_rnn.DropConnect(LSTM, jnp.float32(-0.5)),
        ValueError,
        ["DropConnect: `rate`", "got -0.5"],
    ),
    "a rate that is a flag": (
        lambda: eqx_rnn.Zoneout(LSTM, np.bool_(False)),
        ValueError,
        ["Zoneout: `rate`", "got False"],
    ),
    "no rate": (
        lambda: eqx_rnn.RecurrentDropout(LSTM, None),
        ValueError,
        ["RecurrentDropout: `input_rate`", "got None"],
    ),
    "rates of what belongs together": (
        lambda: eqx_rnn.RNN(
            eqx_rnn.Zoneout(SLSTM, eqx_rnn.SLSTMCarry(0.1, eqx_rnn.SLSTMMemory(0.1, 0.2, 0.3)))
        )(X, key=KEY),
        ValueError,
        [
            "Zoneout: `rate`",
            "memory=float32[2,4])",
            "got SLSTMCarry(hidden=float 0.1",
            "one per leaf",
        ],
    ),
    "rates and the carry": (
        lambda: eqx_rnn.RNN(eqx_rnn.Zoneout(LSTM, (0.1, 0.2)))(X, key=KEY),
        ValueError,
        [
            "Zoneout: `rate`",
            "carry LSTMCarry(hidden=float32[2,4]",
            "got (float 0.1",
            "one per leaf",
        ],
    ),
    "dropout of tokens": (
        lambda: eqx_rnn.RecurrentDropout(LSTM, 0.1).initialize_carry(KEY, X[..., 0].astype(int)),
        TypeError,
        ["`inputs`", "floating-point", "int64[2,5]", "input_rate=0"],
    ),
    "a field that is no weight": (
        lambda: eqx_rnn.DropConnect(eqx_rnn.Zoneout(LSTM), 0.1, "hidden_size"),
        ValueError,
        ["DropConnect: `name`", "LSTMCell", "'weight_ih', 'weight_hh', 'bias'", "'hidden_size'"],
    ),
    "a cell around no cell": (
        lambda: eqx_rnn.Residual(eqx.nn.LSTMCell(3, 4, key=KEY)),
        TypeError,
        ["cell", "RNNCellBase", "LSTMCell"],
    ),
    "inputs that cannot be added": (
        lambda: eqx_rnn.Residual(LSTM),
        ValueError,
        ["Residual: `cell`", "[3], got", "[4]. Build", "as many features out as in"],
    ),
    "a learned carry of unknown shape": (
        lambda: eqx_rnn.LearnedCarry(CONV),
        ValueError,
        ["LearnedCarry: `sample_input`", "ConvLSTMCell", "got None", "jax.ShapeDtypeStruct"],
    ),
    "a learned carry of another size": (
        lambda: eqx_rnn.RNN(eqx_rnn.LearnedCarry(CONV, jnp.ones((6, 6, 2))))(
            jnp.ones((2, 5, 7, 6, 2))
        ),
        ValueError,
        ["LearnedCarry: `inputs`", "spatial axes", "[2,5,4,4]", "[4,4,4]", "of that size"],
    ),
    "which axis to flip": (
        lambda: eqx_rnn.flip_sequences(X),
        ValueError,
        ["`num_batch_dims`", "which axis is time", "num_batch_dims=1"],
    ),
    "flip: two answers": (
        lambda: eqx_rnn.flip_sequences(X, LENGTHS, num_batch_dims=2),
        ValueError,
        ["`num_batch_dims`", "number of axes of `seq_lengths`", "got 2", "Leave it out"],
    ),
    "flip: no time axis": (
        lambda: eqx_rnn.flip_sequences(X[:, 0, 0], LENGTHS),
        ValueError,
        ["`inputs`", "time axis", "[2]"],
    ),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input(name):
    call, error, texts = BAD_INPUTS[name]
    with pytest.raises(error) as raised:
        call()
    missing = [text for text in texts if text not in str(raised.value)]
    assert not missing, f"{missing} not in:\n{raised.value}"


def test_good_lengths_do_not_raise():
    """Lengths at the limits of the valid range are accepted."""
    ys = RNN(X, seq_lengths=np.array([0, 5]))
    assert np.all(ys[0] == 0)
    assert np.all(ys[1] != 0)
