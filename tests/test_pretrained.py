"""Trained networks from packages on PyPI, read by `interop`, give the same numbers step by step.

- silero-vad detects speech: an LSTM, as a torch file and as an ONNX file.
- g2p-en maps English spelling to sounds: two GRUs (encoder and decoder) with torch's weights.
- g2pM chooses the sound of a Chinese character: a bidirectional LSTM as a torch state dict.

All tests need the [bench] extra. No test needs the network.
"""

import importlib.util
import pathlib
import pickle
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eqx_rnn import RNN, interop

CLOSE = {"rtol": 1e-5, "atol": 1e-5}

# The packages leave files open and raise other warnings, which do not concern this package.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def float32():
    """All networks here were trained in float32."""
    with jax.enable_x64(False):
        yield


def package(*names):
    """The folder of the first package. Skips the test if one of the packages is missing."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed; the [bench] extra has it")
    return pathlib.Path(importlib.util.find_spec(names[0]).origin).parent


def detect_speech(weights, rnn, frames, carry=None):
    """silero's network: short-time spectrum, four convolutions, the LSTM, a logistic unit."""

    def conv(x, name, stride=1, pad=1):
        x = jax.lax.conv_general_dilated(x, weights[f"{name}.weight"], [stride], [(pad, pad)])
        return x + weights[f"{name}.bias"][:, None]

    frames = jnp.pad(frames, ((0, 0), (0, 64)), mode="reflect")[:, None]
    basis = weights["stft.forward_basis_buffer"]
    spectrum = jax.lax.conv_general_dilated(frames, basis, [128], "VALID")
    x = jnp.sqrt(spectrum[:, :129] ** 2 + spectrum[:, 129:] ** 2)
    for k, stride in enumerate((1, 2, 2, 1)):
        x = jax.nn.relu(conv(x, f"encoder.{k}", stride))
    carry, hidden = rnn(x[None, ..., 0], initial_carry=carry, return_carry=True)
    logits = jax.nn.relu(hidden[0]) @ weights["output.weight"][0, :, 0]
    return carry, jax.nn.sigmoid(logits + weights["output.bias"])


def test_silero_vad():
    data = package("silero_vad", "onnx", "onnxruntime", "torch") / "data"
    import onnx
    import onnxruntime
    import torch

    state_dict = torch.jit.load(data / "silero_vad.jit").state_dict()
    cell = interop.from_torch(state_dict, prefix="_model.decoder.rnn.")
    file = data / "silero_vad_16k_sequence.onnx"
    graph = onnx.load(file).graph
    (node,) = [node for node in graph.node if node.op_type == "LSTM"]
    weights = {a.name: onnx.numpy_helper.to_array(a) for a in graph.initializer}
    rnn = interop.from_onnx(*(weights[name] for name in node.input[1:4]), "LSTM")
    assert eqx.tree_equal(cell, rnn.cell)

    # An imitation of a voice: a buzz whose pitch and loudness change, then noise.
    time = np.arange(40 * 512) / 16000
    pitch = 2 * np.pi * np.cumsum(120 + 40 * np.sin(9 * time)) / 16000
    buzz = sum(np.sin(k * pitch) / k for k in range(1, 20)) * np.sin(12 * time) ** 2
    noise = np.random.default_rng(0).standard_normal(time.size)
    audio = np.where(time < 0.9, 0.2 * buzz, 0.05 * noise).astype(np.float32)
    starts = 512 * np.arange(1, 40)[:, None]
    frames = audio[starts + np.arange(-64, 512)]

    state = np.random.default_rng(1).standard_normal((2, 1, 1, 128)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more of them spin while they wait
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    wanted, *final = session.run(None, {"input": frames, "h": state[0], "c": state[1]})
    run = eqx.filter_jit(detect_speech)
    (carry,) = interop.from_torch_state(*state)
    end, speech = run(weights, rnn, frames, carry)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(speech, wanted, **CLOSE)
    for ours, theirs in zip(interop.torch_state((end,)), final, strict=True):
        np.testing.assert_allclose(ours, theirs, **CLOSE)

    start, pieces = carry, []
    for piece in np.split(frames, 3):  # as it comes from a microphone
        carry, probabilities = run(weights, RNN(cell), piece, carry)
        pieces.append(probabilities)
    np.testing.assert_allclose(np.concatenate(pieces), wanted, **CLOSE)

    carry, theirs = start, dict(zip("hc", state, strict=True))
    for frame, probability in zip(frames, wanted, strict=True):  # step by step, states too
        carry, ours = run(weights, RNN(cell), frame[None], carry)
        np.testing.assert_allclose(ours[0], probability, **CLOSE)
        _, *states = session.run(None, {"input": frame[None], **theirs})
        theirs = dict(zip("hc", states, strict=True))
        for ours, state in zip(interop.torch_state(carry), states, strict=True):
            np.testing.assert_allclose(ours, state, **CLOSE)


def test_g2p_en(monkeypatch):
    package("g2p_en", "nltk")
    import nltk

    monkeypatch.setattr(nltk, "download", lambda *args, **kwargs: False)
    import g2p_en.g2p

    monkeypatch.setattr(g2p_en.g2p, "cmudict", types.SimpleNamespace(dict=dict))
    theirs = g2p_en.g2p.G2p()

    def read(part):
        names = ("w_ih", "w_hh", "b_ih", "b_hh")
        weights = {n.replace("w_", "weight_").replace("b_", "bias_"): n for n in names}
        return interop.from_torch({n: theirs.variables[f"{part}_{k}"] for n, k in weights.items()})

    encoder, decoder = RNN(read("enc")), eqx.filter_jit(read("dec"))
    words = ["equinox", "blorptastic", "recurrent"]
    for word in words:
        letters = theirs.encode(word)
        matrices = (theirs.variables[f"enc_{name}"] for name in ("w_ih", "w_hh", "b_ih", "b_hh"))
        wanted = theirs.gru(letters, letters.shape[1], *matrices)
        hidden, outputs = encoder(letters, return_carry=True)
        np.testing.assert_allclose(outputs, wanted, **CLOSE)
        if word == "equinox":  # in pieces, as if typed, and an end sign
            carry, pieces = None, []
            for piece in np.split(letters, 4, axis=1):
                carry, output = encoder(piece, initial_carry=carry, return_carry=True)
                pieces.append(output)
            np.testing.assert_allclose(np.concatenate(pieces, axis=1), wanted, **CLOSE)

        their_hidden, sound, sounds = wanted[:, -1], 2, []
        matrices = [theirs.variables[f"dec_{name}"] for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
        while sound != 3 and len(sounds) < 20:
            embedded = theirs.dec_emb[[sound]]
            hidden, output = decoder(hidden, embedded)
            their_hidden = theirs.grucell(embedded, their_hidden, *matrices)
            np.testing.assert_allclose(output, their_hidden, **CLOSE)
            sound = int(jnp.argmax(output @ theirs.fc_w.T + theirs.fc_b))
            sounds.append(theirs.idx2p[sound])
        assert sounds[:-1] == theirs.predict(word)


def test_g2pm():
    folder = package("g2pM")
    from g2pM import G2pM

    with open(folder / "np_ckpt.pkl", "rb") as file:
        state_dict = pickle.load(file)
    stack = interop.from_torch(state_dict, prefix="lstm.")
    theirs = G2pM()
    sentences = ["他红了20年以后竟退出了大家的视线。", "行长在银行工作", "长大了"]
    lengths = np.array(list(map(len, sentences)))
    ids = np.zeros((len(sentences), lengths.max()), int)
    for row, sentence in zip(ids, sentences, strict=True):
        row[: len(sentence)] = [theirs.char2idx.get(c, 1) for c in sentence]
    inputs = theirs.get_embedding(ids)
    outputs = stack(inputs, seq_lengths=lengths)
    assert outputs.dtype == jnp.float32
    for b, length in enumerate(lengths):
        for step, size, order in (
            (theirs.fw_lstm_cell, slice(32), range(length)),
            (theirs.bw_lstm_cell, slice(32, 64), reversed(range(length))),
        ):
            states = None
            for t in order:
                states = step(inputs[b, t][None], states)
                np.testing.assert_allclose(outputs[b, t, size], states[0][0], **CLOSE)
    last = lengths - 1
    ours = theirs.fc_layer(np.asarray(outputs)[np.arange(3), last]).argmax(-1)
    assert ours.tolist() == theirs.predict(ids, last).tolist()
