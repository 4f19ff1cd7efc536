"""Layers and cells of torch, and nodes of ONNX."""

import functools
import itertools

import numpy as np
from interop_case import BATCH, HIDDEN, INPUT, LENGTHS, NUM_GATES, TIME, Case, onto_first

from eqx_rnn import LSTMCarry, interop

# torch


def torch_cell_shapes(kind, input_size, hidden, bias, proj=None, suffix=""):
    rows, output = NUM_GATES[kind] * hidden, proj or hidden
    shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, output)}
    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
    shapes |= {"weight_hr": (proj, hidden)} if proj else {}
    return {f"{name}{suffix}": shape for name, shape in shapes.items()}


def merge_torch(kind, weights):
    for name in [name for name in weights if name.startswith("bias_ih")]:
        rows = 2 * len(weights[name]) // 3 if kind == "GRU" else None
        weights = onto_first(weights, name, name.replace("ih", "hh"), rows)
    return weights


def torch_case(kind, layers, bidirectional, bias=True, proj=None, numbers=False, **options):
    directions = ["", "_reverse"] if bidirectional else [""]
    output = proj or HIDDEN
    shapes, size = {}, INPUT
    for k in range(layers):
        for direction in directions:
            suffix = f"_l{k}{direction}"
            shapes |= torch_cell_shapes(kind, size, HIDDEN, bias, proj, suffix)
        size = len(directions) * output

    def run(module, inputs, state):
        carry = interop.from_torch_state(*state, bidirectional=bidirectional)
        carry, outputs = module(inputs, initial_carry=carry, seq_lengths=LENGTHS, return_carry=True)
        return outputs, interop.torch_state(carry)

    number = layers * len(directions)
    state = [(number, BATCH, output), (number, BATCH, HIDDEN)][: 2 if kind == "LSTM" else 1]
    details = f"{layers}{'-bi' * bidirectional}{'-no-bias' * (not bias)}{'-proj' * bool(proj)}"
    return Case(
        "torch",
        f"torch-{kind.lower()}-{details}",
        shapes,
        functools.partial(interop.from_torch, **options),
        interop.to_torch,
        functools.partial(merge_torch, kind),
        state=state,
        run=run if numbers else None,
        options={"kind": kind, "layers": layers, "bi": bidirectional, "proj": proj, **options},
    )


def step_twice(cell, inputs, state):
    carry = LSTMCarry(*state) if len(state) == 2 else state[0]
    for x in inputs:
        carry, output = cell(carry, x)
    return output, list(carry) if len(state) == 2 else [carry]


def torch_cases():
    numbers = {("LSTM", 2, True, True), ("GRU", 2, True, True), ("RNN", 1, False, False)}
    for kind, *traits in itertools.product(("LSTM", "GRU", "RNN"), (1, 2), *2 * [(True, False)]):
        options = {"nonlinearity": "relu"} if (kind, traits[0]) == ("RNN", 1) else {}
        yield torch_case(kind, *traits, numbers=(kind, *traits) in numbers, **options)
    yield torch_case("LSTM", 2, True, proj=1, numbers=True)
    yield torch_case("LSTM", 1, False, bias=False, proj=1)
    for kind, bias in itertools.product(("LSTM", "GRU", "RNN"), (True, False)):
        yield Case(
            "torch",
            f"torch-{kind.lower()}-cell{'-no-bias' * (not bias)}",
            torch_cell_shapes(kind, INPUT, HIDDEN, bias),
            interop.from_torch,
            interop.to_torch,
            functools.partial(merge_torch, kind),
            inputs=(2, BATCH, INPUT),
            state=(1 + (kind == "LSTM")) * [(BATCH, HIDDEN)],
            run=step_twice if bias else None,
            options={"kind": kind},
        )


# ONNX


def onnx_case(kind, direction="forward", bias=True, peepholes=False, numbers=False, **options):
    rows, num = NUM_GATES[kind] * HIDDEN, 2 if direction == "bidirectional" else 1
    shapes = {"W": (num, rows, INPUT), "R": (num, rows, HIDDEN)}
    shapes |= {"B": (num, 2 * rows)} if bias else {}
    shapes |= {"P": (num, 3 * HIDDEN)} if peepholes else {}

    def merge(weights):
        if not bias:
            return weights
        split = {"GRU": rows if not options.get("linear_before_reset") else 2 * HIDDEN}
        merged = []
        for both in weights["B"]:
            halves = {"x": both[:rows], "h": both[rows:]}
            halves = onto_first(halves, "x", "h", split.get(kind))
            merged.append(np.concatenate([halves["x"], halves["h"]]))
        return weights | {"B": np.stack(merged)}

    def read(weights):
        arrays = (weights["W"], weights["R"], weights.get("B"))
        call = {"direction": direction, "P": weights.get("P"), "time_major": True, **options}
        return interop.from_onnx(*arrays, kind, **call)

    def write(module):
        operator, arrays, attributes = interop.to_onnx(module)
        assert operator == kind
        wanted = {"hidden_size": HIDDEN, "direction": direction, **options}
        assert {name: attributes[name] for name in wanted} == wanted
        return arrays

    def run(module, inputs, state):
        carry = interop.from_torch_state(*state, bidirectional=num == 2)[0]
        carry, outputs = module(inputs, initial_carry=carry, seq_lengths=LENGTHS, return_carry=True)
        states = interop.torch_state((carry,))
        return outputs, list(states) if kind == "LSTM" else [states]

    details = "".join(f"-{value}" for value in options.values() if isinstance(value, int))
    return Case(
        "onnx",
        f"onnx-{kind.lower()}-{direction}{'-no-bias' * (not bias)}"
        f"{'-peepholes' * peepholes}{details}",
        shapes,
        read,
        write,
        merge,
        inputs=(TIME, BATCH, INPUT),
        state=(2 if kind == "LSTM" else 1) * [(num, BATCH, HIDDEN)],
        run=run if numbers else None,
        options={"kind": kind, "direction": direction, **options},
    )


def onnx_cases():
    relu, hard = ["Relu", "Tanh"], ["HardSigmoid", "Tanh", "Tanh"]
    numbers = {
        ("LSTM", "bidirectional", True): {},
        ("LSTM", "reverse", False): {},
        ("LSTM", "forward", True): {"activations": hard},
        ("RNN", "bidirectional", True): {"activations": relu},
    }
    directions = ("forward", "reverse", "bidirectional")
    for kind, *traits in itertools.product(("LSTM", "RNN"), directions, (True, False)):
        options = numbers.get((kind, *traits), {})
        yield onnx_case(kind, *traits, numbers=(kind, *traits) in numbers, **options)
    numbers = {("reverse", True, 1), ("bidirectional", True, 0)}
    for *traits, after in itertools.product(directions, (True, False), (0, 1)):
        number = (*traits, after) in numbers
        yield onnx_case("GRU", *traits, numbers=number, linear_before_reset=after)
    yield onnx_case("LSTM", "bidirectional", peepholes=True, numbers=True)
    yield onnx_case("LSTM", bias=False, peepholes=True)
