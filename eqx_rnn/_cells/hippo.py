"""The HiPPO-LegS matrix, which remembers a signal by its Legendre coefficients."""

import numpy as np


def hippo_legs(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The matrix `A (size, size)` and the input vector `B (size,)` of HiPPO-LegS.

    **Source:** A. Gu, T. Dao, S. Ermon, A. Rudra, C. Ré, "HiPPO: recurrent memory with optimal
    polynomial projections", NeurIPS (2020).
    """
    b = np.sqrt(2.0 * np.arange(size) + 1)
    return np.diag(np.arange(size)) - np.tril(np.outer(b, b)), b


def normal_part(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors `V` (in columns) of the normal part of the HiPPO-LegS matrix.

    The sum of the matrix and a matrix of rank 1 is normal: minus 1/2 on the diagonal, plus a
    skew-symmetric matrix. The eigenvalues come as complex conjugates, in the order of their
    imaginary parts.

    **Source:** A. Gupta, A. Gu, J. Berant, "Diagonal state spaces are as effective as structured
    state spaces", NeurIPS (2022).
    """
    matrix, b = hippo_legs(size)
    normal = matrix + 0.5 * np.outer(b, b)
    imag, vectors = np.linalg.eigh(-1j * normal)
    return np.mean(np.diag(normal)) + 1j * imag, vectors
