"""Layers of Keras, and of its old files."""

import dataclasses
import functools

import numpy as np
from interop_case import (
    BATCH,
    HIDDEN,
    INPUT,
    MASK,
    NUM_GATES,
    TIME,
    Case,
    onto_first,
)

from eqx_rnn import RNN, LSTMCarry, interop


def merge_keras(weights):
    kernel, recurrent, bias = weights
    (z_r, n), (z_r_hidden, n_hidden) = (np.split(row, [2 * HIDDEN]) for row in bias)
    rows = np.concatenate([z_r + z_r_hidden, n]), np.concatenate([0 * z_r, n_hidden])
    return [kernel, recurrent, np.stack(rows)]


def keras_case(kind, *bias, kernel=(), space=(), numbers=True, **options):
    columns = NUM_GATES.get(kind.removeprefix("CuDNN"), 4) * HIDDEN
    shapes = [(*kernel, INPUT, columns), (*kernel, HIDDEN, columns), *bias]
    is_lstm = "LSTM" in kind
    new_space = options.pop("new_space", space)

    def run(module, inputs, state):
        carry = LSTMCarry(*state) if is_lstm else state[0]
        carry, outputs = RNN(module)(inputs, initial_carry=carry, mask=MASK, return_carry=True)
        return outputs, list(carry) if is_lstm else [carry]

    name = "-".join(["keras", kind.lower(), *(str(size) for b in bias for size in b)])
    return Case(
        "keras",
        name + "".join(f"-{value}" for value in options.values()),
        shapes,
        lambda weights: interop.from_keras(weights, kind, **options),
        functools.partial(interop.to_keras, layer=kind),
        merge_keras if bias and len(bias[0]) == 2 else lambda weights: weights,
        inputs=(BATCH, TIME, *space, INPUT),
        state=(1 + is_lstm) * [(BATCH, *new_space, HIDDEN)],
        run=run if numbers else None,
        options={"kind": kind, "kernel": kernel, **options},
    )


def keras_cases():
    yield keras_case("SimpleRNN", (2,), activation="relu")
    yield keras_case("SimpleRNN", numbers=False)
    yield keras_case("LSTM", (8,), recurrent_activation="hard_sigmoid")
    yield keras_case("LSTM", activation="softsign", numbers=False)
    yield keras_case("GRU", (2, 6))
    yield keras_case("GRU", (6,))
    yield keras_case("GRU", reset_after=True, numbers=False)
    yield keras_case("GRU", reset_after=False, numbers=False)
    yield keras_case("ConvLSTM1D", (8,), kernel=(2,), space=(4,), new_space=(2,), dilation_rate=2)
    yield keras_case(
        "ConvLSTM2D",
        (8,),
        kernel=(2, 3),
        space=(3, 4),
        new_space=(2, 4),
        strides=(2, 1),
        padding="same",
    )
    yield keras_case("ConvLSTM3D", kernel=(1, 2, 1), space=(1, 2, 1), padding="same")
    yield keras_case("ConvLSTM1D", kernel=(2,), numbers=False)
    yield keras_case("ConvLSTM2D", kernel=(2, 3), numbers=False, strides=2)
    yield keras_case("ConvLSTM3D", (8,), kernel=(1, 2, 1), numbers=False, dilation_rate=(1, 2, 3))


def cudnn_cases():
    for kind, rows, merge in (("LSTM", 8, None), ("GRU", 6, 4)):
        halves = lambda w, rows=rows: {"ih": w[2][:rows], "hh": w[2][rows:]}

        def merged(weights, merge=merge, halves=halves):
            biases = onto_first(halves(weights), "ih", "hh", merge)
            return [*weights[:2], np.concatenate([biases["ih"], biases["hh"]])]

        case = keras_case(f"CuDNN{kind}", (2 * rows,), numbers=False)
        yield dataclasses.replace(case, merge=merged)
