"""One step of gated and normalised cells in NumPy, like in `oracles`."""

import numpy as np
from oracles import relu, rows, sigmoid


def norm(a, eps):
    return (a - a.mean()) / np.sqrt(a.var() + eps)


def layer_norm_lstm(w, carry, x):
    h, c = carry
    n = c.size
    from_x = w.gain_ih * norm(w.weight_ih @ x, w.eps)
    from_h = w.gain_hh * norm(w.weight_hh @ h, w.eps)
    i, f, g, o = np.split(from_x + from_h + w.bias[: 4 * n], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(w.gain_c * norm(c, w.eps) + w.bias_c[:n])
    return [h, c], h


def layer_norm_gru(w, carry, x):
    (h,) = carry
    n = h.size
    both = slice(0, 2 * n), slice(2 * n, 3 * n)
    rz_x, n_x = (w.gain_ih[s] * norm(w.weight_ih[s] @ x, w.eps) + w.bias[: 3 * n][s] for s in both)
    rz_h, n_h = (w.gain_hh[s] * norm(w.weight_hh[s] @ h, w.eps) for s in both)
    r, z = np.split(sigmoid(rz_x + rz_h), 2)
    candidate = np.tanh(n_x + r * (n_h + w.bias_n[:n]))
    h = z * h + (1 - z) * candidate
    return [h], h


def peephole_lstm(w, carry, x):
    h, c = carry
    n = c.size
    i, f, g, o = (
        rows(w.weight_ih, k, n) @ x + rows(w.weight_hh, k, n) @ h + rows(w.bias, k, n)
        for k in range(4)
    )
    see_i, see_f, see_o = (np.diag(rows(w.weight_ph, k, n)) for k in range(3))
    c = sigmoid(f + see_f @ c) * c + sigmoid(i + see_i @ c) * np.tanh(g)
    h = sigmoid(o + see_o @ c) * np.tanh(c)
    return [h, c], h


def ind_rnn(w, carry, x):
    (h,) = carry
    h = relu(w.weight_ih @ x + w.bias[: h.size] + np.diag(w.weight_hh) @ h)
    return [h], h


def ugrnn(w, carry, x):
    (h,) = carry
    n = h.size
    a = w.weight_ih @ x + w.weight_hh @ h + w.bias[: 2 * n]
    g, candidate = sigmoid(a[:n]), np.tanh(a[n:])
    h = g * h + (1 - g) * candidate
    return [h], h


def janet(w, carry, x):
    (c,) = carry
    n = c.size
    s = w.weight_ih[:n] @ x + w.weight_hh[:n] @ c + w.bias[:n]
    candidate = np.tanh(w.weight_ih[n:] @ x + w.weight_hh[n:] @ c + w.bias[n:])
    c = sigmoid(s) * c + (1 - sigmoid(s - w.beta)) * candidate
    return [c], c
