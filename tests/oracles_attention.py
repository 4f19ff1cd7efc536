"""Like `oracles`, for linear attention and its relatives: one matrix per head."""

import numpy as np
from oracles import sigmoid
from oracles_linear import bias


def heads(x, number):
    return x.reshape(number, -1)


def cut(x, sizes):
    return np.split(x, np.cumsum(sizes)[:-1])


def silu(x):
    return x * sigmoid(x)


def rms(x, eps):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)


def elu_plus_one(x):
    return np.where(x > 0, x + 1, np.exp(x))


def scale_of(w):
    return w.key_size**-0.5 if w.scale is None else w.scale


def matrices(state, q, k, v, decay):
    """S' = decay S + k v^T and y = S'^T q, head by head; the decay is per head or per key."""
    new, ys = [], []
    for s, q_h, k_h, v_h, d in zip(state, q, k, v, decay, strict=True):
        s = np.broadcast_to(d, k_h.shape)[:, None] * s + np.outer(k_h, v_h)
        new.append(s)
        ys.append(q_h @ s)
    return np.stack(new), np.stack(ys)


def gla_memory(w, state, q, k, v, g):
    return matrices(state, scale_of(w) * q, k, v, np.exp(g))


def gla_core(w, carry, x):
    n, keys, values = w.num_heads, w.key_size, w.value_size
    gates = keys if w.decay == "channel" else 1
    q, k, v, g = (heads(a, n) for a in cut(x, [n * keys, n * keys, n * values, n * gates]))
    state, y = gla_memory(w, carry[0], q, k, v, g)
    return [state], y.ravel()


def gla(w, carry, x):
    n, keys = w.core.num_heads, w.core.key_size
    rank = w.weight_decay.shape[1]
    sizes = [n * keys, n * keys, w.hidden_size, w.hidden_size, rank]
    q, k, v, o, d = cut(w.weight_ih @ x, sizes)
    decays = w.weight_decay @ d + bias_of(w.bias_decay, len(w.weight_decay))
    g = np.log(sigmoid(decays)) / w.temperature
    q, k, v, o, g = (heads(a, n) for a in (q, k, v, o, g))
    state, h = gla_memory(w.core, carry[0], q, k, v, g)
    return [state], w.weight_out @ (w.gain * rms(h, w.eps) * silu(o)).ravel()


def bias_of(array, size):
    return array[:size]


def linear_attention_memory(w, phi, memory, q, k, v):
    n = w.num_heads
    k, v = phi(k), v
    if not w.normalize:
        q = (w.key_size**-0.5 if w.scale is None else w.scale) * phi(q)
        return matrices(memory, q, k, v, np.ones(n))
    q = (1 if w.scale is None else w.scale) * phi(q)
    s, z = memory[..., :-1], memory[..., -1]
    s, y = matrices(s, q, k, v, np.ones(n))
    z = z + k
    y = y / (np.sum(z * q, axis=-1, keepdims=True) + w.eps)
    return np.concatenate([s, z[..., None]], axis=-1), y


def linear_attention_core(phi):
    def step(w, carry, x):
        n, keys, values = w.num_heads, w.key_size, w.value_size
        q, k, v = (heads(a, n) for a in cut(x, [n * keys, n * keys, n * values]))
        memory, y = linear_attention_memory(w, phi, carry[0], q, k, v)
        return [memory], y.ravel()

    return step


def linear_attention(phi):
    def step(w, carry, x):
        n, keys = w.core.num_heads, w.core.key_size
        rows = w.weight_ih @ x + bias(w, len(w.weight_ih))
        q, k, v = (heads(a, n) for a in cut(rows, [n * keys, n * keys, w.hidden_size]))
        memory, h = linear_attention_memory(w.core, phi, carry[0], q, k, v)
        return [memory], w.weight_out @ h.ravel() + bias_of(w.bias_out, len(x))

    return step


def gammas(w):
    return np.array(
        [1 - 2 ** -(5.0 + h) for h in range(w.num_heads)] if w.decays is None else w.decays
    )


def retention_core(w, carry, x):
    n, keys, values = w.num_heads, w.key_size, w.value_size
    q, k, v = (heads(a, n) for a in cut(x, [n * keys, n * keys, n * values]))
    state, y = matrices(carry[0], scale_of(w) * q, k, v, gammas(w))
    return [state], y.ravel()


def rotated(x, t):
    """Products of complex numbers, one per pair of features."""
    angle = [10_000 ** (-m / max(x.shape[-1] / 2 - 1, 1)) for m in range(x.shape[-1] // 2)]
    z = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * t * np.array(angle))
    return np.stack([z.real, z.imag], axis=-1).reshape(x.shape)


def retention(w, carry, x):
    """The recurrent form of torchscale, whose state is divided by the root of n."""
    memory, t = carry
    n, keys, gamma = w.core.num_heads, w.core.key_size, gammas(w.core)
    rows = w.weight_ih @ x
    q, k, v, g = (
        heads(a, n) for a in cut(rows, [n * keys, n * keys, w.hidden_size, w.hidden_size])
    )
    q, k = rotated(q, t), rotated(keys**-0.5 * k, t)
    count = np.array([sum(d**j for j in range(int(t))) for d in gamma])
    new = gamma * count + 1
    normal = memory / np.where(count > 0, np.sqrt(count), 1)[:, None, None]
    if t == 0:  # there, the state of the authors' code is zero
        normal, count = memory, np.ones(n)
    decay = np.sqrt(count) * gamma / np.sqrt(new)
    state, y = matrices(normal, q, k, v / np.sqrt(new)[:, None], decay)
    y = w.weight_out @ (silu(g) * rms(y, w.eps)).ravel()
    return [state * np.sqrt(new)[:, None, None], t + 1], y


def hgrn2_core(w, carry, x):
    n, keys, values = w.num_heads, w.key_size, w.value_size
    q, v, g = (heads(a, n) for a in cut(x, [n * keys, n * values, n * keys]))
    state, y = matrices(carry[0], scale_of(w) * q, 1 - np.exp(g), v, np.exp(g))
    return [state], y.ravel()


def hgrn2(w, carry, x):
    n, keys = w.core.num_heads, w.core.key_size
    q, f, v = cut(w.weight_ih @ x, [n * keys, n * keys, w.hidden_size])
    least = w.lower_bound if w.lower_bounds is None else w.lower_bounds
    f = least + (1 - least) * sigmoid(f)
    q, f, v = (heads(a, n) for a in (silu(q), f, v))
    state, h = matrices(carry[0], scale_of(w.core) * q, 1 - f, v, f)
    return [state], w.weight_out @ (w.gain * rms(h.ravel(), w.eps))
