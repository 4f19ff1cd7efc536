"""Like `oracles`, for Legendre memory units."""

import numpy as np
import scipy.linalg


def discrete(order, theta):
    """The exact step of the paper's equations 1 and 2, for inputs that are constant in a step."""
    a, b = np.zeros((order, order)), np.zeros(order)
    for i in range(order):
        b[i] = (2 * i + 1) * (-1) ** i / theta
        for j in range(order):
            a[i, j] = (2 * i + 1) / theta * (-1 if i < j else (-1) ** (i - j + 1))
    step = scipy.linalg.expm(a)
    return step, np.linalg.solve(a, (step - np.eye(order)) @ b)


def lmu(w, carry, x):
    h, m = carry
    a, b = discrete(w.order, w.theta)
    u = w.encoder_i @ x + w.encoder_h @ h + w.encoder_m @ m
    m = a @ m + b * u
    h = np.tanh(w.weight_ih @ x + w.weight_hh @ h + w.weight_mh @ m + w.bias[: h.size])
    return [h, m], h


def legendre_memory(w, carry, x):
    (m,) = carry
    a, b = discrete(w.order, w.theta)
    m = np.stack([a @ row + b * u for row, u in zip(m, x, strict=True)])
    return [m], m.ravel()
