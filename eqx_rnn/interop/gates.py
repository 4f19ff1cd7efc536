"""Weights that hold the gates of a cell, in the order of another framework.

A string such as `"ifgo"` gives the order of the gates, one letter of ours per gate.
"""

from typing import Any

import numpy as np

from .arrays import Weights, concatenate, write


def gates(stacked: Weights, order: str) -> dict[str, Weights]:
    """The rows of each gate by its letter."""
    size = stacked.shape[0] // len(order)
    return {gate: stacked[k * size : (k + 1) * size] for k, gate in enumerate(order)}


def reorder(stacked: Weights, source: str, target: str) -> Weights:
    """The gates in another order."""
    blocks = gates(stacked, source)
    return concatenate(blocks[gate] for gate in target)


def from_kernel(kernel: Weights) -> Weights:
    """`(*kernel_size, input, output)` to `(output, input, *kernel_size)`."""
    n = kernel.ndim
    return kernel.transpose(n - 1, n - 2, *range(n - 2))


def to_kernel(weight: Weights) -> Weights:
    """`(output, input, *kernel_size)` to `(*kernel_size, input, output)`."""
    return weight.transpose(*range(2, weight.ndim), 1, 0)


def merge_gru_biases(of_input: Weights, of_hidden: Weights) -> tuple[Weights, Weights]:
    """Two biases with rows r, z, n to `bias` and `bias_n`."""
    x, h = gates(of_input, "rzn"), gates(of_hidden, "rzn")
    return concatenate([x["r"] + h["r"], x["z"] + h["z"], x["n"]]), h["n"]


def split_gru_biases(cell: Any) -> tuple[Weights, Weights]:
    """`bias` and `bias_n` to two biases with rows r, z, n."""
    bias, bias_n = write(cell.bias), write(cell.bias_n)
    return bias, concatenate([np.zeros(2 * cell.hidden_size, bias_n.dtype), bias_n])


def shift_forget(bias: Weights, order: str, by: int) -> Weights:
    """Adds a number to the forget gate, because some frameworks add 1 to it in every step."""
    return concatenate(
        rows + by if gate == "f" else rows for gate, rows in gates(bias, order).items()
    )


def bias_or_zeros(cell: Any) -> Weights:
    """The bias, for frameworks in which it cannot be left out."""
    if cell.bias is None:
        return np.zeros(cell.weight_ih.shape[0], cell.weight_ih.dtype)
    return write(cell.bias)
