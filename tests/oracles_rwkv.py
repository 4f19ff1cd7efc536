"""Like `oracles_linear`, for the time mixing of RWKV, written over heads and without scales."""

import math

import numpy as np
from oracles import sigmoid


def unscaled(w, state, k, v):
    """RWKV-4 with plain sums. The carry holds them divided by `exp(scale)`."""
    a, b, m = state
    sums = np.exp(m) * a, np.exp(m) * b
    now = np.exp(w.bonus + k)
    y = (sums[0] + now * v) / (sums[1] + now)
    scale = np.maximum(m + w.decay, k)
    a, b = (np.exp(w.decay) * s + np.exp(k) * u for s, u in zip(sums, (v, 1), strict=True))
    return [a / np.exp(scale), b / np.exp(scale), scale], y


def rwkv4_core(w, carry, x):
    return unscaled(w, carry, *np.split(x, 2))


def rwkv4(w, carry, x):
    *state, last = carry
    shifted = [x * mix + last[0] * (1 - mix) for mix in w.mix]
    k, v, r = (m @ s for m, s in zip(np.split(w.weight_ih, 3), shifted, strict=True))
    state, h = unscaled(w.core, state, k, v)
    return [*state, x[None]], w.weight_out @ (sigmoid(r) * h)


def heads(x, number):
    return x.reshape(number, -1)


def cut(x, *sizes):
    return np.split(x, np.cumsum(sizes)[:-1])


def rwkv6_core(w, carry, x):
    (s,) = carry
    keys, values = w.num_heads * w.key_size, w.num_heads * w.value_size
    parts = cut(x, keys, keys, values, keys)
    new, y = rwkv6_heads(w, s, *(heads(p, w.num_heads) for p in parts))
    return [new], y.reshape(-1)


def rwkv6_heads(w, s, r, k, v, g):
    new, y = np.empty_like(s), []
    for h in range(len(s)):
        y.append((s[h] + np.outer(w.bonus[h] * k[h], v[h])).T @ r[h])
        new[h] = np.diag(np.exp(g[h])) @ s[h] + np.outer(k[h], v[h])
    return new, np.stack(y)


def group_norm(w, h):
    centred = h - h.mean(1, keepdims=True)
    h = centred / np.sqrt(h.var(1, keepdims=True) + w.eps)
    return w.gain * h.reshape(-1) + w.bias_norm


def rwkv6(w, carry, x):
    s, last = carry
    core, d = w.core, last[0] - x
    low = np.tanh(w.weight_low @ (x + d * w.mix[0])).reshape(5, -1)
    x_w, x_k, x_v, x_r, x_g = (x + d * (w.mix[j + 1] + w.weight_mix[j] @ low[j]) for j in range(5))
    keys, values = core.num_heads * core.key_size, core.num_heads * core.value_size
    w_r, w_k, w_v, w_g = cut(w.weight_ih, keys, keys, values, values)
    g = -np.exp(w.weight_decay @ np.tanh(w.weight_decay_low @ x_w) + w.bias_decay)
    parts = w_r @ x_r, w_k @ x_k, w_v @ x_v, g
    s, h = rwkv6_heads(core, s, *(heads(p, core.num_heads) for p in parts))
    gate = w_g @ x_g
    return [s, x[None]], w.weight_out @ (group_norm(w, h) * gate * sigmoid(gate))


def rwkv5(w, s, last, x):
    """RWKV-5, with the names of its authors. It has a constant decay, and divides by 8."""
    shifted = {n: x * w[f"time_mix_{n}"] + last * (1 - w[f"time_mix_{n}"]) for n in "kvrg"}
    number = len(w["time_decay"])
    names = {"receptance": "r", "key": "k", "value": "v", "gate": "g"}
    r, k, v, g = (w[name] @ shifted[n] for name, n in names.items())
    y, new = [], np.empty_like(s)
    for h in range(number):
        r_h, k_h, v_h = (heads(p, number)[h] for p in (r, k, v))
        y.append((s[h] + np.outer(w["time_faaaa"][h] * k_h, v_h)).T @ r_h / 8)
        decay = np.exp(-np.exp(w["time_decay"][h]))
        new[h] = decay[:, None] * s[h] + np.outer(k_h, v_h)
    y = np.stack(y)
    y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-5)
    y = y.reshape(-1) * w["ln_x.weight"] + w["ln_x.bias"]
    return new, w["output"] @ (y * g * sigmoid(g))


def rwkv7_core(w, carry, x):
    (s,) = carry
    keys, values = w.num_heads * w.key_size, w.num_heads * w.value_size
    parts = cut(x, keys, keys, values, keys, keys, keys)
    new, y = rwkv7_heads(s, *(heads(p, w.num_heads) for p in parts))
    return [new], y.reshape(-1)


def rwkv7_heads(s, r, k, v, g, alpha, beta):
    new, y = np.empty_like(s), []
    for h in range(len(s)):
        transition = np.diag(np.exp(g[h])) + np.outer(beta[h], alpha[h])
        new[h] = transition @ s[h] + np.outer(k[h], v[h])
        y.append(new[h].T @ r[h])
    return new, np.stack(y)


def rwkv7(w, carry, inputs):
    s, last = carry
    core, size = w.core, last.shape[1]
    x, given = inputs[:size], inputs[size:]
    x_r, x_w, x_k, x_v, x_a, x_g = (x + mix * (last[0] - x) for mix in w.mix)
    keys, values = core.num_heads * core.key_size, core.num_heads * core.value_size
    w_r, w_k, w_v = cut(w.weight_ih, keys, keys, values)
    r, k, v = w_r @ x_r, w_k @ x_k, w_v @ x_v
    g = w.weight_w @ np.tanh(w.weight_w_low @ x_w) + w.bias_w
    a = sigmoid(w.weight_a @ w.weight_a_low @ x_a + w.bias_a)
    first = given if w.takes_value else v
    if w.takes_value:
        v = v + (first - v) * sigmoid(w.weight_v @ w.weight_v_low @ x_v + w.bias_v)
    erased = heads(k * w.erase_scale, core.num_heads)
    erased = erased / np.maximum(np.linalg.norm(erased, axis=1, keepdims=True), 1e-12)
    k = k * (1 + (a - 1) * w.rate_mix)
    g = -math.exp(-0.5) * sigmoid(g)
    r, k, v, g, a = (heads(p, core.num_heads) for p in (r, k, v, g, a))
    s, h = rwkv7_heads(s, r, k, v, g, -erased, erased * a)
    now = (r * k * w.bonus).sum(1, keepdims=True) * v
    gate = w.weight_g @ sigmoid(w.weight_g_low @ x_g)
    y = w.weight_out @ ((group_norm(w, h) + now.reshape(-1)) * gate)
    return [s, x[None]], np.concatenate([y, first]) if w.returns_value else y
