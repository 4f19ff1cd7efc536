"""Cores of Haiku and cells of Flax.

`test_against_flax.py` compares the numbers of linen cells, `test_interop_live.py` those of nnx.
"""

import functools

from interop_case import (
    BATCH,
    HIDDEN,
    INPUT,
    TIME,
    Case,
    onto_first,
)

from eqx_rnn import RNN, LSTMCarry, interop

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


# Flax


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
    """The shapes of dense layers on the inputs and the hidden state. `bias` says which have one."""
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
