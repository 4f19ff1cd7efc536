"""The Legendre delay system, whose state holds the last inputs as Legendre coefficients."""

import functools

import numpy as np


def legendre_delay(order: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrix `A (order, order)` and the vector `B (order,)` of `dm/dt = A m + B u`.

    The input of the time `r theta` ago, `0 <= r <= 1`, is about `sum_i P_i(2 r - 1) m_i`, with the
    Legendre polynomials `P_i`.

    **Source:** A. R. Voelker, I. Kajić, C. Eliasmith, "Legendre memory units: continuous-time
    representation in recurrent neural networks", NeurIPS (2019).
    """
    i, j = np.ogrid[:order, :order]
    rate = (2 * i + 1) / theta
    a = rate * np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
    return a, (rate * (-1.0) ** i)[:, 0]


@functools.lru_cache(maxsize=64)
def legendre_step(order: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """`A - 1` and `B` of a step of length 1, `m' = A m + B u`, with an input held constant.

    The exponential of `[[A, B], [0, 0]]` holds both. A step has the form `m' = m + (A - 1) m + B u`
    because A is close to 1: in low precision, its rounding errors would be large against `A - 1`.
    """
    a, b = legendre_delay(order, theta)
    joined = np.zeros((order + 1, order + 1))
    joined[:order, :order], joined[:order, order] = a, b
    step = expm(joined)[:order]
    return step[:, :order] - np.eye(order), step[:, order]


def expm(matrix: np.ndarray) -> np.ndarray:
    """The matrix exponential: a Taylor series of the scaled matrix, squared again and again."""
    size = np.linalg.norm(matrix, 1)
    squarings = max(0, int(np.ceil(np.log2(size))) + 2) if size > 0 else 0
    scaled = matrix / 2.0**squarings
    term = total = np.eye(len(matrix))
    for k in range(1, 15):  # the norm is at most 1/4, so the next term is below 1e-21
        term = term @ scaled / k
        total = total + term
    for _ in range(squarings):
        total = total @ total
    return total
