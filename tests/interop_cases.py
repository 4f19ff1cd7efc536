"""Layers of other frameworks: the shapes of their weights, how we read them and write them back.

Weights, inputs and states are drawn here, from a stream of numbers that never changes, so that
`interop.npz` needs to hold only what the frameworks made of them.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eqx_rnn import RNN, LSTMCarry, interop
from eqx_rnn.interop._activations import KERAS, ONNX

INPUT, HIDDEN, BATCH, TIME = 3, 2, 3, 4
LENGTHS = np.array([4, 1, 2])
MASK = np.arange(TIME) < LENGTHS[:, None]
NUM_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1, "SimpleRNN": 1}
Tree = Any


def draw(shapes: Tree, seed: int) -> Tree:
    """Random arrays, one a shape: each tuple of integers in a tree of lists and dicts."""
    stream = np.random.RandomState(seed)  # frozen for ever, which `default_rng`'s stream is not
    is_shape = lambda node: isinstance(node, tuple) and all(isinstance(n, int) for n in node)
    return jax.tree.map(lambda s: 0.7 * stream.standard_normal(s), shapes, is_leaf=is_shape)


@dataclasses.dataclass(frozen=True)
class Case:
    """`read` makes a module of ours from weights, `write` goes back. `merge` puts the sum of each
    two biases that we keep as one where `write` puts it. `run(module, inputs, state)` gives
    outputs and final states, as the framework arranges them.
    """

    framework: str
    name: str
    shapes: Tree
    read: Callable[[Tree], Any]
    write: Callable[[Any], Tree]
    merge: Callable[[Tree], Tree] = lambda weights: weights
    inputs: tuple[int, ...] = (BATCH, TIME, INPUT)
    state: Tree = ()
    run: Callable[[Any, Any, Tree], tuple[Any, Tree]] | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def weights(self) -> Tree:
        return draw(self.shapes, seed=0)

    def arguments(self) -> tuple[Tree, np.ndarray, Tree]:
        return self.weights(), draw(self.inputs, seed=1), draw(self.state, seed=2)


def differentiate(run: Callable[..., tuple[Any, Tree]], arguments: Tree) -> list[Any]:
    """Leaves of `run(*arguments)`, and the gradients of a randomly weighted sum of them."""

    def loss(arguments):
        results = run(*arguments)
        leaves = jax.tree.leaves(results)
        return sum(map(jnp.vdot, leaves, draw([leaf.shape for leaf in leaves], seed=3))), leaves

    (_, leaves), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(arguments)
    return [*leaves, *jax.tree.leaves(gradients)]


def onto_first(weights: Tree, first: str, second: str, rows: int | None = None) -> Tree:
    """The sum of two biases (of their first `rows`) in the place of the first one."""
    merged = dict(weights)
    head, tail = weights[second][:rows], weights[second][head_end(weights[second], rows) :]
    merged[first] = np.concatenate([weights[first][:rows] + head, weights[first][len(head) :]])
    merged[second] = np.concatenate([np.zeros_like(head), tail])
    return merged


def head_end(array: Any, rows: int | None) -> int:
    return len(array) if rows is None else rows


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


# Keras


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


# Haiku


def haiku_case(kind, shapes, space=(), merge=None, suffix="", **options):
    def run(module, inputs, state):
        carry = LSTMCarry(*state) if "LSTM" in kind else state[0]
        carry, outputs = RNN(module)(inputs, initial_carry=carry, return_carry=True)
        return outputs, list(carry) if "LSTM" in kind else [carry]

    return Case(
        "haiku",
        f"haiku-{kind.lower()}{len(space) or ''}{suffix}",
        shapes,
        lambda weights: interop.from_haiku(weights, kind),
        functools.partial(interop.to_haiku, **options),
        merge or (lambda weights: weights),
        inputs=(BATCH, TIME, *space, INPUT),
        state=(1 + ("LSTM" in kind)) * [(BATCH, *space, HIDDEN)],
        run=run,
        options={"kind": kind, "space": space, **options},
    )


def merge_modules(first, second, key, weights):
    biases = onto_first({name: weights[name][key] for name in (first, second)}, first, second)
    return {name: weights[name] | {key: biases[name]} for name in (first, second)}


def haiku_cases():
    yield haiku_case("LSTM", {"lstm/linear": {"w": (5, 8), "b": (8,)}})
    yield haiku_case("GRU", {"gru": {"w_i": (3, 6), "w_h": (2, 6), "b": (6,)}})
    first, second = "vanilla_rnn/linear", "vanilla_rnn/linear_1"
    shapes = {first: {"w": (3, 2), "b": (2,)}, second: {"w": (2, 2)}}
    yield haiku_case("VanillaRNN", shapes, suffix="-single", double_bias=False)
    shapes = {first: shapes[first], second: {"w": (2, 2), "b": (2,)}}
    yield haiku_case(
        "VanillaRNN", shapes, merge=functools.partial(merge_modules, first, second, "b")
    )
    for space in ((3,), (2, 3), (1, 2, 1)):
        path = f"conv{len(space)}_dlstm"
        first, second = f"{path}/input_to_hidden", f"{path}/hidden_to_hidden"
        kernel = len(space) * (2,)
        shapes = {
            first: {"w": (*kernel, 3, 8), "b": (8,)},
            second: {"w": (*kernel, 2, 8), "b": (8,)},
        }
        merge = functools.partial(merge_modules, first, second, "b")
        yield haiku_case("ConvLSTM", shapes, space, merge)


# Flax (its numbers are compared in test_against_flax.py, those of nnx in test_interop_live.py)


def flax_case(kind, shapes, *, suffix="", merge=None, options=None, **writing):
    return Case(
        "flax",
        f"flax-{kind.lower()}{suffix}",
        shapes,
        lambda weights: interop.from_flax(weights, kind, **(options or {})),
        lambda cell: interop.to_flax(cell, kind, **writing),
        merge or (lambda weights: weights),
    )


def dense(inputs, hidden, bias):
    """Shapes of dense layers on the inputs and on the hidden state; which of them have a bias."""
    shapes = {name: {"kernel": (INPUT, HIDDEN)} for name in inputs}
    shapes |= {name: {"kernel": (HIDDEN, HIDDEN)} for name in hidden}
    return {
        name: layer | ({"bias": (HIDDEN,)} if name in bias else {})
        for name, layer in shapes.items()
    }


def fused(num_gates, bias):
    shapes = {"dense_i": {"kernel": (3, 2 * num_gates)}, "dense_h": {"kernel": (2, 2 * num_gates)}}
    shapes[bias]["bias"] = (2 * num_gates,)
    return shapes


def flax_cases():
    lstm = (["ii", "if", "ig", "io"], ["hi", "hf", "hg", "ho"])
    yield flax_case("SimpleCell", dense("i", "h", "i"))
    residual = {"residual": True}
    yield flax_case("SimpleCell", dense("i", "h", "i"), suffix="-residual", options=residual)
    yield flax_case("LSTMCell", dense(*lstm, lstm[1]))
    yield flax_case("OptimizedLSTMCell", dense(*lstm, lstm[1]))
    gru = (["ir", "iz", "in"], ["hr", "hz", "hn"])
    yield flax_case("GRUCell", dense(*gru, [*gru[0], "hn"]))
    mgu = (["if", "in"], ["hf", "hn"])
    yield flax_case("MGUCell", dense(*mgu, [*mgu[0], "hn"]))
    yield flax_case("MGUCell", dense(*mgu, mgu[0]), suffix="-no-reset")
    for kernel in ((2,), (2, 3), (1, 2, 3)):
        shapes = {"ih": {"kernel": (*kernel, 3, 8)}, "hh": {"kernel": (*kernel, 2, 8)}}
        name = f"-{len(kernel)}"
        yield flax_case("ConvLSTMCell", shapes, suffix=name + "-no-bias", use_bias=False)
        shapes = {name: layer | {"bias": (8,)} for name, layer in shapes.items()}
        merge = functools.partial(merge_modules, "ih", "hh", "bias")
        yield flax_case("ConvLSTMCell", shapes, suffix=name, merge=merge)


def nnx_cases():
    nnx = functools.partial(flax_case, suffix="-nnx", nnx=True)
    lstm = (["ii", "if_", "ig", "io"], ["hi", "hf", "hg", "ho"])
    yield nnx("LSTMCell", dense(*lstm, lstm[1]))
    yield nnx("OptimizedLSTMCell", fused(4, "dense_h"))
    yield nnx("GRUCell", fused(3, "dense_i"))
    yield nnx("SimpleCell", fused(1, "dense_i"))


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


CASES = [
    *torch_cases(),
    *keras_cases(),
    *cudnn_cases(),
    *haiku_cases(),
    *flax_cases(),
    *nnx_cases(),
    *onnx_cases(),
]
NUMBERS = [case for case in CASES if case.run is not None]

# Names of activations, and where they are compared.
POINTS = np.linspace(-4, 4, 33)
NAMED_ACTIVATIONS = [
    *(("keras", name) for name in KERAS if name not in (None, "keras2_hard_sigmoid")),
    *(("onnx", name) for name in ONNX),
]
