"""Like `oracles`, for the delta rule and the mLSTM: matrix states with heads."""

import numpy as np
from oracles import sigmoid
from oracles_linear import softplus


def silu(x):
    return x * sigmoid(x)


def parts(x, *shapes):
    """Consecutive parts of a vector, in these shapes."""
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    return [a.reshape(shape) for a, shape in zip(np.split(x, ends[:-1]), shapes, strict=True)]


def delta_step(state, q, k, v, g, beta, scale):
    """One step of all heads: `(new state, outputs)`. g is per head or per channel."""
    new, outputs = [], []
    for h in range(len(state)):
        decayed = np.exp(np.broadcast_to(g[h], k[h].shape))[:, None] * state[h]
        error = v[h] - decayed.T @ k[h]
        new.append(decayed + beta[h] * np.outer(k[h], error))
        outputs.append(new[h].T @ (scale * q[h]))
    return np.array(new), np.concatenate(outputs)


def delta_core(w, carry, x):
    (state,) = carry
    n, keys, values = state.shape
    q, k, v, beta = parts(x, (n, keys), (n, keys), (n, values), (n,))
    scale = keys**-0.5 if w.scale is None else w.scale
    state, y = delta_step(state, q, k, v, np.zeros(n), beta, scale)
    return [state], y


def gated_delta_core(w, carry, x):
    (state,) = carry
    n, keys, values = state.shape
    decays = (n, keys) if w.decay == "channel" else (n,)
    q, k, v, g, beta = parts(x, (n, keys), (n, keys), (n, values), decays, (n,))
    scale = keys**-0.5 if w.scale is None else w.scale
    state, y = delta_step(state, q, k, v, g, beta, scale)
    return [state], y


def delta_net(gated):
    def step(w, carry, x):
        state, last = carry
        n, keys, values = state.shape
        others = [(n, values), (n,), (n,)] if gated else [(n,)]
        u, *others = parts(w.weight_ih @ x, (last.shape[1],), *others)
        window = np.concatenate([last, u[None]])
        u = silu((w.weight_conv * window).sum(0))
        q, k, v = parts(u, (n, keys), (n, keys), (n, values))
        square = lambda a: np.maximum((a**2).sum(-1, keepdims=True) + w.key_eps, 1e-24)
        q, k = (a / np.sqrt(square(a)) for a in (q, k))
        beta = (1 + w.negative_eigenvalues) * sigmoid(others[-1])
        g = -np.exp(w.log_a) * softplus(others[1] + w.dt_bias) if gated else np.zeros(n)
        state, h = delta_step(state, q, k, v, g, beta, keys**-0.5)
        h = h.reshape(n, values)
        h = w.gain * h / np.sqrt((h**2).mean(-1, keepdims=True) + w.eps)
        h = h * silu(others[0]) if gated else h
        return [state, window[1:]], w.weight_out @ h.reshape(-1)

    return step


def mlstm_step(memory, scale, q, k, v, g, i, eps):
    """One step of all heads: `(new memory, new scale, outputs)`. Outputs: heads, values."""
    new, m, outputs = [], np.maximum(g + scale, i), []
    for h in range(len(memory)):
        keep, take = np.exp(g[h] + scale[h] - m[h]), np.exp(i[h] - m[h])
        key = k[h] / np.sqrt(k.shape[1])
        c = keep * memory[h, :, :-1] + take * np.outer(key, v[h])
        n = keep * memory[h, :, -1] + take * key
        outputs.append(c.T @ q[h] / (max(abs(n @ q[h]), np.exp(-m[h])) + eps))
        new.append(np.concatenate([c, n[:, None]], 1))
    return np.array(new), m, np.array(outputs)


def mlstm_core(w, carry, x):
    memory, scale = carry
    n, keys, values = memory.shape
    q, k, v, g, i = parts(x, (n, keys), (n, keys), (n, values - 1), (n,), (n,))
    memory, scale, h = mlstm_step(memory, scale, q, k, v, g, i, w.eps)
    return [memory, scale], h.reshape(-1)


def block_diagonal(blocks, x):
    """Each block, outputs first, times its part of `x`."""
    return np.concatenate([b @ a for b, a in zip(blocks, x.reshape(len(blocks), -1), strict=True)])


def mlstm(w, carry, x):
    memory, scale, last = carry
    n, head, _ = memory.shape
    size = n * head
    u, z = np.split(w.weight_ih @ x + w.bias_ih[: 2 * size], 2)
    window = np.concatenate([last, u[None]])
    c = silu((w.weight_conv * window).sum(0) + w.bias_conv)
    projected = [block_diagonal(b, a) for b, a in zip(w.weight_qkv, (c, c, u), strict=True)]
    qkv = np.concatenate(projected) + w.bias_qkv[: 3 * size]
    i, f = np.split(w.weight_gates @ qkv + w.bias_gates, 2)
    q, k, v = qkv.reshape(3, n, head)
    memory, scale, h = mlstm_step(memory, scale, q, k, v, np.log(sigmoid(f)), i, w.core.eps)
    centred = h - h.mean(-1, keepdims=True)
    h = (centred / np.sqrt((centred**2).mean(-1, keepdims=True) + w.eps)).reshape(-1)
    y = ((1 + w.gain) * h + w.skip * c) * silu(z)
    return [memory, scale, window[1:]], w.weight_out @ y + w.bias_out[: x.size]
