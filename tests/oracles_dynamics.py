"""Like `oracles`, for cells that are steps of a differential equation, and related cells."""

import numpy as np
from oracles import rows, sigmoid


def minimal_rnn(w, carry, x):
    (h,) = carry
    n = h.size
    z = np.tanh(w.weight_ih @ x + w.bias[:n])
    u = sigmoid(w.weight_hh @ h + w.weight_zh @ z + w.bias[n : 2 * n])
    h = u * h + (1 - u) * z
    return [h], h


def antisymmetric_rnn(w, carry, x):
    (h,) = carry
    n = h.size
    a = w.weight_hh - w.weight_hh.T - w.gamma * np.eye(n)
    gate = 1
    if w.gated:
        gate = sigmoid(a @ h + w.weight_ih[:n] @ x + w.bias[:n])
    v, b = (w.weight_ih[n:], w.bias[n:]) if w.gated else (w.weight_ih, w.bias[:n])
    h = h + w.epsilon * gate * np.tanh(a @ h + v @ x + b)
    return [h], h


def cornn(w, carry, x):
    y, z = carry
    force = np.tanh(w.weight_hh @ y + w.weight_zh @ z + w.weight_ih @ x + w.bias[: y.size])
    z_new = z + w.dt * force - w.dt * w.gamma * y - w.dt * w.epsilon * z
    y_new = y + w.dt * z_new
    return [y_new, z_new], y_new


def lem(w, carry, x):
    y, z = carry
    n = y.size
    v = [rows(w.weight_ih, k, n) @ x + rows(w.bias, k, n) for k in range(4)]
    dt_z = w.dt * sigmoid(rows(w.weight_hh, 0, n) @ y + v[0])
    dt_y = w.dt * sigmoid(rows(w.weight_hh, 1, n) @ y + v[1])
    z = (1 - dt_z) * z + dt_z * np.tanh(rows(w.weight_hh, 2, n) @ y + v[2])
    y = (1 - dt_y) * y + dt_y * np.tanh(w.weight_zh @ z + v[3])
    return [y, z], y


def slstm(w, carry, x):
    h, c, n, m = carry
    size, head = h.size, h.size // w.num_heads
    i, f, z, o = (rows(w.weight_ih, k, size) @ x + rows(w.bias, k, size) for k in range(4))
    for k in range(w.num_heads):
        at = slice(k * head, (k + 1) * head)
        for gate, pre in enumerate((i, f, z, o)):
            pre[at] += h[at] @ w.weight_hh[k][:, gate * head : (gate + 1) * head]
    log_f = f if w.forget_gate == "exp" else np.log(sigmoid(f))
    m_new = np.where(n == 0, i, np.maximum(log_f + m, i))
    i, f = np.exp(i - m_new), np.where(n == 0, 0, np.exp(log_f + m - m_new))
    c, n = f * c + i * np.tanh(z), f * n + i
    h = sigmoid(o) * c / n
    return [h, c, n, m_new], h


def ctrnn(w, carry, x):
    (r,) = carry
    tau = np.array(w.fixed_tau) if w.log_tau is None else np.exp(w.log_tau)
    r = r + w.dt * (-r + np.tanh(w.weight_hh @ r + w.weight_ih @ x + w.bias[: r.size])) / tau
    return [r], r


def ctrnn_current(w, carry, x):
    (v,) = carry
    tau = np.array(w.fixed_tau) if w.log_tau is None else np.exp(w.log_tau)
    v = v + w.dt * (-v + w.weight_hh @ np.tanh(v) + w.weight_ih @ x + w.bias[: v.size]) / tau
    return [v], np.tanh(v)
