"""One step of every cell in NumPy, written from its paper.

`(weights, carry leaves, x) -> (carry leaves, y)`, for one sequence, without batch axes.
"""

import itertools

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def rows(array, gate, size):
    return array[gate * size : (gate + 1) * size]


def simple(w, carry, x):
    (h,) = carry
    a = w.weight_ih @ x + w.bias[: h.size] + w.weight_hh @ h
    h = np.tanh(a)
    return [h], h


def simple_residual_relu(w, carry, x):
    (h,) = carry
    h = relu(w.weight_ih @ x + w.bias[: h.size] + w.weight_hh @ h + h)
    return [h], h


def lstm(w, carry, x, gate=sigmoid, act=np.tanh):
    h, c = carry
    n = c.size
    i, f, g, o = (
        rows(w.weight_ih, k, n) @ x + rows(w.weight_hh, k, n) @ h + rows(w.bias, k, n)
        for k in range(4)
    )
    c = gate(f) * c + gate(i) * act(g)
    h = gate(o) * act(c)
    if w.weight_hr is not None:
        h = w.weight_hr @ h
    return [h, c], h


def lstm_other_activations(w, carry, x):
    return lstm(w, carry, x, gate=lambda a: np.clip(a / 6 + 0.5, 0, 1), act=relu)


def lstm_softmax_gates(w, carry, x):
    """A gate activation that is not pointwise looks at one gate, not at all of them."""
    return lstm(w, carry, x, gate=lambda a: np.exp(a) / np.exp(a).sum())


def gru(w, carry, x):
    (h,) = carry
    n = h.size
    x_r, x_z, x_n = (rows(w.weight_ih, k, n) @ x + rows(w.bias, k, n) for k in range(3))
    h_r, h_z, h_n = (rows(w.weight_hh, k, n) @ h for k in range(3))
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    candidate = np.tanh(x_n + r * (h_n + w.bias_n[:n]))
    h = (1 - z) * candidate + z * h
    return [h], h


def gru_reset_before(w, carry, x):
    (h,) = carry
    n = h.size
    x_r, x_z, x_n = (rows(w.weight_ih, k, n) @ x + rows(w.bias, k, n) for k in range(3))
    r = sigmoid(x_r + rows(w.weight_hh, 0, n) @ h)
    z = sigmoid(x_z + rows(w.weight_hh, 1, n) @ h)
    candidate = np.tanh(x_n + rows(w.weight_hh, 2, n) @ (r * h))
    h = z * h + (1 - z) * candidate
    return [h], h


def mgu(w, carry, x, reset_gate=True):
    (h,) = carry
    n = h.size
    f = sigmoid(w.weight_ih[:n] @ x + w.bias[:n] + w.weight_hh[:n] @ h)
    recurrent = w.weight_hh[n:] @ h
    if reset_gate:
        recurrent = f * (recurrent + w.bias_n)
    candidate = np.tanh(w.weight_ih[n:] @ x + w.bias[n:] + recurrent)
    h = (1 - f) * candidate + f * h
    return [h], h


def mgu_no_reset(w, carry, x):
    return mgu(w, carry, x, reset_gate=False)


def conv(x, kernel, strides=None, padding="SAME", dilation=None):
    """Cross-correlation by its definition: x (*space, in), kernel (out, in, *size)."""
    size = kernel.shape[2:]
    axes = range(len(size))
    strides, dilation = strides or [1] * len(size), dilation or [1] * len(size)
    reach = [(size[a] - 1) * dilation[a] + 1 for a in axes]
    if padding == "SAME":
        out = [-(-x.shape[a] // strides[a]) for a in axes]
        total = [max((out[a] - 1) * strides[a] + reach[a] - x.shape[a], 0) for a in axes]
        padding = [(t // 2, t - t // 2) for t in total]
    elif padding == "VALID":
        padding = [(0, 0)] * len(size)
    x = np.pad(x, [*padding, (0, 0)])
    out = [(x.shape[a] - reach[a]) // strides[a] + 1 for a in axes]
    y = np.zeros((*out, kernel.shape[0]))
    for position in itertools.product(*map(range, out)):
        for offset in itertools.product(*map(range, size)):
            at = tuple(position[a] * strides[a] + offset[a] * dilation[a] for a in axes)
            y[position] += kernel[(slice(None), slice(None), *offset)] @ x[at]
    return y


def conv_lstm(w, carry, x):
    h, c = carry
    n = c.shape[-1]
    x_conv = conv(x, w.weight_ih, w.strides, w.padding, w.dilation)
    h_conv = conv(h, w.weight_hh)
    gates = x_conv + h_conv + w.bias[: 4 * n]
    i, f, g, o = (gates[..., k * n : (k + 1) * n] for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return [h, c], h


def conv_gru(w, carry, x):
    (h,) = carry
    n = h.shape[-1]
    x_conv = conv(x, w.weight_ih, w.strides, w.padding, w.dilation) + w.bias[: 3 * n]
    r = sigmoid(x_conv[..., :n] + conv(h, w.weight_hh[:n]))
    z = sigmoid(x_conv[..., n : 2 * n] + conv(h, w.weight_hh[n : 2 * n]))
    if w.reset_after:
        recurrent = r * (conv(h, w.weight_hh[2 * n :]) + w.bias_n[:n])
    else:
        recurrent = conv(r * h, w.weight_hh[2 * n :])
    h = (1 - z) * np.tanh(x_conv[..., 2 * n :] + recurrent) + z * h
    return [h], h
