"""Makes `data/interop.npz`: results of other frameworks for the weights in `interop_cases.py`.

    python tests/make_interop_data.py [--out FILE] [FRAMEWORK ...]

The file has one vector per case. It holds the outputs, the final states, and the gradients of a
randomly weighted sum of them with respect to weights, inputs and first states. ONNX has no
gradients. All numbers are float64, except for onnxruntime, whose recurrent operators support
float32 only. For each activation that Keras and ONNX name, the file has its values at a few points.
"""

import argparse
import os
import pathlib
import tempfile

os.environ["KERAS_BACKEND"] = "jax"

import jax
import numpy as np
from interop_case import HIDDEN, INPUT, LENGTHS, MASK, TIME, differentiate, draw
from interop_cases import NAMED_ACTIVATIONS, NUMBERS, POINTS


def run_torch(case):
    import torch

    tensors = lambda tree: jax.tree.map(lambda a: torch.tensor(a, requires_grad=True), tree)
    weights, inputs, state = map(tensors, case.arguments())
    run = run_torch_cell if "layers" not in case.options else run_torch_layers
    results = run(case.options, weights, inputs, state)
    cotangents = draw([tuple(leaf.shape) for leaf in results], seed=3)
    sum((r * torch.tensor(c)).sum() for r, c in zip(results, cotangents, strict=True)).backward()
    gradients = [tensor.grad for tensor in jax.tree.leaves((weights, inputs, state))]
    return [tensor.detach().numpy() for tensor in [*results, *gradients]]


def run_torch_cell(options, weights, inputs, state):
    """Two steps."""
    import torch

    cell = getattr(torch.nn, f"{options['kind']}Cell")(INPUT, HIDDEN, dtype=torch.float64)
    state = tuple(state) if len(state) == 2 else state[0]
    for x in inputs:
        state = torch.func.functional_call(cell, weights, (x, state))
    state = state if isinstance(state, tuple) else (state,)
    return [state[0], *state]


def run_torch_layers(options, weights, inputs, state):
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    special = {"nonlinearity": options["nonlinearity"]} if "nonlinearity" in options else {}
    special |= {"proj_size": options["proj"]} if options["proj"] else {}
    module = getattr(torch.nn, options["kind"])(
        INPUT,
        HIDDEN,
        options["layers"],
        bias=any("bias" in name for name in weights),
        batch_first=True,
        bidirectional=options["bi"],
        dtype=torch.float64,
        **special,
    )
    packed = pack_padded_sequence(inputs, LENGTHS, batch_first=True, enforce_sorted=False)
    state = tuple(state) if len(state) == 2 else state[0]
    outputs, final = torch.func.functional_call(module, weights, (packed, state))
    outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=TIME)
    return [outputs, *(final if isinstance(final, tuple) else [final])]


def run_keras(case):
    import keras

    keras.config.set_floatx("float64")
    options = dict(case.options)
    make, kernel = getattr(keras.layers, options.pop("kind")), options.pop("kernel")
    # Keras's own tanh computes in float32 on JAX, whatever the dtype.
    options.setdefault("activation", jax.numpy.tanh)
    weights, inputs, state = case.arguments()
    # Its scan broadcasts a mask from the left, so a mask for images needs axes of size 1.
    mask = MASK.reshape(*MASK.shape, *(1 + len(kernel)) * [1]) if kernel else MASK
    if kernel:
        options["kernel_size"] = kernel
    if make is keras.layers.GRU:
        options["reset_after"] = weights[2].ndim == 2
    layer = make(
        HIDDEN,
        use_bias=len(weights) == 3,
        return_sequences=True,
        return_state=True,
        zero_output_for_mask=True,
        dtype="float64",
        **options,
    )
    layer.build(inputs.shape)

    def call(weights, inputs, state):
        (outputs, *final), _ = layer.stateless_call(
            weights, layer.non_trainable_variables, inputs, initial_state=state, mask=mask
        )
        return outputs, final

    return differentiate(call, (weights, inputs, state))


def run_haiku(case):
    import haiku as hk

    kind, space = case.options["kind"], case.options["space"]
    weights, inputs, state = case.arguments()

    def call(inputs, state):
        if kind == "ConvLSTM":
            core = getattr(hk, f"Conv{len(space)}DLSTM")(space, HIDDEN, 2)
        elif kind == "VanillaRNN":
            core = hk.VanillaRNN(HIDDEN, double_bias=case.options.get("double_bias", True))
        else:
            core = getattr(hk, kind)(HIDDEN)
        state = hk.LSTMState(*state) if "LSTM" in kind else state[0]
        outputs, state = hk.dynamic_unroll(core, inputs, state, time_major=False)
        return outputs, list(state) if "LSTM" in kind else [state]

    pure = hk.without_apply_rng(hk.transform(call))
    return differentiate(pure.apply, (weights, inputs, state))


def run_onnx(case):
    return run_onnx_layer(case.options, *case.arguments(), LENGTHS)


def run_onnx_layer(options, weights, inputs, state, lengths):
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    to_float32 = lambda a: np.asarray(a, np.float32)
    weights, inputs, state = jax.tree.map(to_float32, (weights, inputs, state))
    attributes = dict(options)
    kind = attributes.pop("kind")
    names = ["X", "W", "R", "B" if "B" in weights else "", "" if lengths is None else "lengths"]
    states = ["initial_h", "initial_c"][: len(state)]
    fed = {"X": inputs} | ({} if lengths is None else {"lengths": lengths.astype(np.int32)})
    fed |= dict(zip(states, state, strict=True))
    names += [*states, *(["P"] if "P" in weights else [])]
    results = ["Y", "Y_h", "Y_c"][: 1 + len(state)]
    node = helper.make_node(kind, names, results, hidden_size=state[0].shape[-1], **attributes)
    info = lambda name, array: helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
    )
    graph = helper.make_graph(
        [node],
        kind,
        [info(name, array) for name, array in fed.items()],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, rank * [None])
            for name, rank in zip(results, (4, 3, 3), strict=False)
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "layer.onnx")
        onnx.save(model, file)
        threads = onnxruntime.SessionOptions()
        threads.intra_op_num_threads = 1  # more of them spin while they wait
        session = onnxruntime.InferenceSession(file, threads, providers=["CPUExecutionProvider"])
        outputs, *final = session.run(results, fed)
    # (time, directions, batch, hidden). Our directions are side by side in the last axis.
    outputs = np.moveaxis(outputs, 1, 2).reshape(*inputs.shape[:2], -1)
    return [np.asarray(leaf, np.float64) for leaf in (outputs, *final)]


def keras_activation(name):
    import keras

    return keras.activations.get(name)(POINTS)


def onnx_activation(name):
    """One unit without memory, which takes one step per point."""
    weights = {"W": np.ones((1, 1, 1)), "R": np.zeros((1, 1, 1))}
    options = {"kind": "RNN", "activations": [name]}
    return run_onnx_layer(options, weights, POINTS[:, None, None], [np.zeros((1, 1, 1))], None)[0]


RUNNERS = {"torch": run_torch, "keras": run_keras, "haiku": run_haiku, "onnx": run_onnx}
ACTIVATIONS = {"keras": keras_activation, "onnx": onnx_activation}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("frameworks", nargs="*", default=list(RUNNERS))
    data = pathlib.Path(__file__).parent / "data" / "interop.npz"
    parser.add_argument("--out", type=pathlib.Path, default=data)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    vectors = {
        case.name: np.concatenate([np.ravel(leaf) for leaf in RUNNERS[case.framework](case)])
        for case in NUMBERS
        if case.framework in arguments.frameworks
    }
    for framework, name in NAMED_ACTIVATIONS:
        if framework in arguments.frameworks:
            values = ACTIVATIONS[framework](name)
            vectors[f"{framework}-activation-{name}"] = np.asarray(values, np.float64).ravel()
    arguments.out.parent.mkdir(exist_ok=True)
    np.savez_compressed(arguments.out, **vectors)


if __name__ == "__main__":
    main()
