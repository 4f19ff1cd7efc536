"""Weights of Keras's CuDNNLSTM and CuDNNGRU, which have the memory layout of cuDNN."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._cells import GRUCell, LSTMCell
from .arrays import Weights, concatenate
from .build import build
from .entries import Entries
from .gates import bias_or_zeros, merge_gru_biases, reorder, split_gru_biases
from .options import check_options

# Per layer: the plain layer of the same kind; the order of Keras's gates (i, f, c, o or z, r, h) in
# our letters; our order.
LAYERS = {"CuDNNLSTM": ("LSTM", "ifgo", "ifgo"), "CuDNNGRU": ("GRU", "zrn", "rzn")}


def from_cudnn(entries: Entries, cell: str, reset_after: bool | None) -> LSTMCell | GRUCell:
    """A cell from the weights of a CuDNN layer.

    The block of a gate in `kernel` has shape (input, units), but its memory holds the matrix
    (units, input) row by row. Its block in `recurrent_kernel` multiplies from the left.
    """
    kind, order, ours = LAYERS[cell]
    hidden, _ = entries.shape("recurrent_kernel", "units", f"{len(order)}*units")
    rows = len(order) * hidden
    if reset_after is False:
        raise ValueError("from_keras: a CuDNNGRU has reset_after=True, got False. Leave it out.")
    if "bias" in entries and entries.left["bias"].shape in ((rows,), (2, rows)):
        raise ValueError(
            f"from_keras: `bias` must have shape ({2 * rows},), got "
            f"{entries.left['bias'].shape}, the shape of a plain layer. Pass `cell={kind!r}`."
        )
    recurrent = entries.take("recurrent_kernel", hidden, rows)
    kernel = entries.take("kernel", "input", rows)
    of_input, of_hidden = entries.take("bias", 2 * rows).reshape(2, rows)
    entries.finish(f"a Keras {cell}")
    blocks = lambda stacked: [stacked[:, k * hidden : (k + 1) * hidden] for k in range(len(order))]
    weight_ih = concatenate(block.reshape(hidden, -1) for block in blocks(kernel))
    arrays = {
        "weight_ih": reorder(weight_ih, order, ours),
        "weight_hh": reorder(concatenate(blocks(recurrent)), order, ours),
    }
    biases = reorder(of_input, order, ours), reorder(of_hidden, order, ours)
    if kind == "LSTM":
        arrays["bias"] = biases[0] + biases[1]
        return build(LSTMCell, kernel.shape[0], hidden, weights=arrays)
    arrays["bias"], arrays["bias_n"] = merge_gru_biases(*biases)
    return build(GRUCell, kernel.shape[0], hidden, weights=arrays)


def to_cudnn(owner: str, cell: Any, weight_ih: Weights, weight_hh: Weights) -> list[Weights]:
    """The weights of a CuDNN layer, from matrices with the gates in Keras's order."""
    check_options(owner, cell, activation=jnp.tanh, gate_activation=jax.nn.sigmoid)
    hidden, size = cell.hidden_size, cell.input_size
    blocks = lambda stacked: [stacked[k : k + hidden] for k in range(0, stacked.shape[0], hidden)]
    kernel = concatenate(block.reshape(size, hidden).T for block in blocks(weight_ih)).T
    recurrent = concatenate(block.T for block in blocks(weight_hh)).T
    if isinstance(cell, GRUCell):
        check_options(owner, cell, reset_after=True)
        if cell.bias is not None:
            biases = [reorder(bias, "rzn", "zrn") for bias in split_gru_biases(cell)]
            return [kernel, recurrent, concatenate(biases)]
    bias = bias_or_zeros(cell)
    return [kernel, recurrent, concatenate([bias, np.zeros(bias.shape, bias.dtype)])]
