"""Like `oracles`, for Mamba and Mamba-2."""

import numpy as np
from oracles import sigmoid
from oracles_linear import softplus


def silu(x):
    return x * sigmoid(x)


def selective_scan(w, h, c, b, u, dt, z):
    h = h.copy()
    y = np.zeros(u.size)
    for i in range(u.size):
        d = softplus(dt[i] + w.dt_bias[i])
        for n in range(b.size):
            h[i, n] = np.exp(-d * np.exp(w.log_a[i, n])) * h[i, n] + d * u[i] * b[n]
        y[i] = h[i] @ c + w.skip[i] * u[i]
    return h, y if z is None else y * silu(z)


def selective_ssm(w, carry, x):
    (h,) = carry
    size, states = h.shape
    c, b, u, dt, *z = np.split(
        x, np.cumsum([states, states, size, size, size])[: 3 + w.output_gate]
    )
    h, y = selective_scan(w, h, c, b, u, dt, z[0] if w.output_gate else None)
    return [h], y


def short_convolution(w, last, u):
    window = np.concatenate([last, u[None]])
    return window[1:], silu((w.weight_conv * window).sum(0) + w.bias_conv[: u.size])


def mamba(w, carry, x):
    h, last = carry
    size, states = h.shape
    u, z = np.split(w.weight_ih @ x + bias(w.bias_ih, 2 * size), 2)
    last, v = short_convolution(w, last, u)
    d, b, c = np.split(w.weight_ssm @ v, [w.dt_rank, w.dt_rank + states])
    h, y = selective_scan(w.core, h, c, b, v, w.weight_dt @ d, z)
    return [h, last], w.weight_out @ y + bias(w.bias_out, x.size)


def ssd_head(state, c, b, x, log_decay):
    state = np.exp(log_decay) * state + np.outer(b, x)
    return state, c @ state


def ssd(w, carry, x):
    (state,) = carry
    heads, states, size = state.shape
    groups = w.num_groups
    sizes = [groups * states, groups * states, heads * size]
    c, b, x, log_decay = np.split(x, np.cumsum(sizes))
    c, b, x = c.reshape(groups, states), b.reshape(groups, states), x.reshape(heads, size)
    of = [head * groups // heads for head in range(heads)]
    runs = [ssd_head(state[h], c[g], b[g], x[h], log_decay[h]) for h, g in enumerate(of)]
    state, y = zip(*runs, strict=True)
    return [np.stack(state)], np.concatenate(y)


def mamba2(w, carry, x):
    state, last = carry
    heads, states, size = state.shape
    inner = heads * size
    rows = np.split(w.weight_ih @ x + bias(w.bias_ih, len(w.weight_ih)), [inner, -heads])
    z, u, d = rows
    last, u = short_convolution(w, last, u)
    v, b, c = np.split(u, [inner, inner + w.core.num_groups * states])
    dt = softplus(d + w.dt_bias)
    inputs = np.concatenate([c, b, np.repeat(dt, size) * v, -dt * np.exp(w.log_a)])
    (state,), h = ssd(w.core, [state], inputs)
    y = (h + np.repeat(w.skip, size) * v) * silu(z)
    parts = [y / np.sqrt((y**2).mean() + w.eps) for y in np.split(y, w.norm_groups)]
    return [state, last], w.weight_out @ (w.gain * np.concatenate(parts)) + bias(w.bias_out, x.size)


def bias(values, size):
    """An absent bias is 0."""
    return values[:size]
