"""Like `oracles`, for cells that `RNN` runs in chunks: linear recurrences and their blocks."""

import math

import numpy as np
from oracles import rows, sigmoid


def softplus(x):
    return np.log1p(np.exp(x))


def positive(x):
    return np.where(x >= 0, x + 0.5, sigmoid(x))


def bias(w, size):
    return w.bias[:size]


def min_gru(candidate):
    def step(w, carry, x):
        (h,) = carry
        n, z = np.split(w.weight_ih @ x + bias(w, 2 * h.size), 2)
        z = sigmoid(z)
        h = (1 - z) * h + z * candidate(n)
        return [h], h

    return step


def min_lstm(w, carry, x):
    (h,) = carry
    n, f, i = np.split(w.weight_ih @ x + bias(w, 3 * h.size), 3)
    f, i = sigmoid(f), sigmoid(i)
    h = f / (f + i) * h + i / (f + i) * positive(n)
    return [h], h


def gilr(w, carry, x):
    (h,) = carry
    g, i = np.split(w.weight_ih @ x + bias(w, 2 * h.size), 2)
    g = sigmoid(g)
    h = g * h + (1 - g) * np.where(i > 0, i, np.expm1(i))
    return [h], h


def hgrn(w, carry, x):
    (h,) = carry
    i, f = np.split(w.weight_ih @ x + bias(w, 2 * h.size), 2)
    f = w.lower_bound + (1 - w.lower_bound) * sigmoid(f)
    h = f * h + (1 - f) * i * sigmoid(i)
    return [h], h


def qrnn(w, carry, x):
    c, last = carry
    inputs = np.concatenate([x, *last[::-1]])
    z, f, *o = np.split(w.weight_ih @ inputs + bias(w, w.weight_ih.shape[0]), 2 + w.output_gate)
    f = sigmoid(f)
    c = f * c + (1 - f) * np.tanh(z)
    last = np.concatenate([last, x[None]])[1:]
    return [c, last], sigmoid(o[0]) * c if w.output_gate else c


def sru(activation):
    def step(w, carry, x):
        (c,) = carry
        size = c.size
        u, b = w.weight_ih @ x, bias(w, 2 * size)
        v = getattr(w, "weight_hh", np.zeros(2 * size))
        f = sigmoid(rows(u, 1, size) + rows(b, 0, size) + rows(v, 0, size) * c)
        r = sigmoid(rows(u, 2, size) + rows(b, 1, size) + rows(v, 1, size) * c)
        skip = rows(u, 3, size) if u.size > 3 * size else w.scale * x
        c = f * c + (1 - f) * rows(u, 0, size)
        return [c], r * activation(c) + (1 - r) * skip

    return step


def block_diagonal(weight, x):
    heads = np.split(x, len(weight))
    return np.concatenate([h @ w for h, w in zip(heads, weight, strict=True)])


def rg_lru(w, carry, x):
    h, position = carry
    i = sigmoid(block_diagonal(w.weight_i, x) + w.bias_i[: x.size])
    r = sigmoid(block_diagonal(w.weight_r, x) + w.bias_r[: x.size])
    a = np.exp(-8 * r * softplus(w.decay))
    h = a * h + (1 if position == 0 else np.sqrt(1 - a**2)) * i * x
    return [h, position + 1], h


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def hawk(w, carry, x):
    *inner, last = carry
    size = last.shape[-1]
    window = np.concatenate([last, (w.weight_x @ x + w.bias_x[:size])[None]])
    v = (w.weight_conv * window).sum(0) + w.bias_conv[:size]
    inner, h = rg_lru(w.recurrence, inner, v)
    y = w.weight_out @ (h * gelu(w.weight_y @ x + w.bias_y[:size])) + w.bias_out[: x.size]
    return [*inner, window[1:]], y


def pair(weight, axis=0):
    real, imag = np.moveaxis(weight, axis, 0)
    return real + 1j * imag


def lru(w, carry, x):
    (h,) = carry
    lam = np.exp(-np.exp(w.nu) + 1j * np.exp(w.theta))
    h = lam * h + np.exp(w.gamma) * (pair(w.weight_b) @ x)
    return [h], (pair(w.weight_c, 1) @ h).real + w.skip * x


def s4d(w, carry, x):
    (h,) = carry
    a = -np.exp(w.log_a) + 1j * w.frequency
    decay = np.exp(np.exp(w.log_dt)[:, None] * a)
    h = decay * h + (decay - 1) / a * x[:, None]
    return [h], 2 * (pair(w.weight_c) * h).sum(-1).real + w.skip * x


def s5(w, carry, x):
    (h,) = carry
    real, imag = w.eigenvalues
    lam = (np.minimum(real, -1e-4) if w.clip_eigenvalues else real) + 1j * imag
    dt, u = np.exp(w.log_dt), pair(w.weight_b) @ x
    if w.discretization == "zoh":
        a, b = np.exp(lam * dt), (np.exp(lam * dt) - 1) / lam
    else:
        a, b = (1 + dt * lam / 2) / (1 - dt * lam / 2), dt / (1 - dt * lam / 2)
    h = a * h + b * u
    return [h], (2 if w.conjugate_symmetry else 1) * (pair(w.weight_c, 1) @ h).real + w.skip * x


def lin_oss(w, carry, x):
    p, z = carry
    dt, a, u = sigmoid(w.log_dt), np.maximum(w.stiffness, 0), w.weight_b @ x
    if w.scheme == "im":  # [z', p'] from the linear system of both equations
        new = []
        for k in range(p.size):
            left = np.array([[1, dt[k] * a[k]], [-dt[k], 1]])
            new.append(np.linalg.solve(left, [z[k] + dt[k] * u[k], p[k]]))
        z, p = np.array(new).T
    else:
        z = z + dt * (u - a * p)
        p = p + dt * z
    return [p, z], w.weight_c @ p + w.skip * x
