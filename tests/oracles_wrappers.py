"""One step of the wrappers in NumPy: each takes the oracle of the inner cell."""

import types

import jax
import numpy as np


def plain(w, carry, x):
    (h,) = carry
    new = np.tanh(w.weight_ih @ x + w.weight_hh @ h) * np.cos(h)
    return [new], new - h


def inner(oracle):
    """The wrapper changes nothing."""
    return lambda w, carry, x: oracle(w.cell, carry, x)


def zoneout(oracle):
    """At inference, with one rate, or one rate per leaf of the carry.

    An output that is a leaf of the carry changes with it.
    """

    def step(w, carry, x):
        new, y = oracle(w.cell, carry, x)
        rates = np.broadcast_to(jax.tree.leaves(w.rate), len(carry))
        mean = [p * a + (1 - p) * b for p, a, b in zip(rates, carry, new, strict=True)]
        return mean, mean[0] if y is new[0] else y

    return step


def residual(oracle):
    def step(w, carry, x):
        new, y = oracle(w.cell, carry, x)
        return new, y + x

    return step


def dropout(oracle, w, carry, x, m_x, m_h):
    """Dropout in a cell for vectors. Masking the input of a matrix is masking its columns."""
    masked = types.SimpleNamespace(**vars(w))
    masked.weight_hh = w.weight_hh * m_h
    return oracle(masked, carry, x * m_x)


def dropout_of_carry(oracle, w, carry, x, m_x, m_h):
    """Dropout in a cell that uses `h` in the product only, or that sees only the masked `h`."""
    return oracle(w, [carry[0] * m_h, *carry[1:]], x * m_x)


def recurrent_dropout(oracle):
    """At inference, the masks stay in the carry unused: one per leaf, and one for the inputs."""

    def step(w, carry, x):
        n = (len(carry) - 2) // 2  # the last leaf says whether the masks are still to be drawn
        new, y = oracle(w.cell, carry[:n], x)
        return [*new, *carry[n:]], y

    return step
