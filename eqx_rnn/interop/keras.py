"""Weights of the recurrent layers of Keras 3, and of files of Keras 1 and 2."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import DTypeLike

from .._base.cells import RNNCellBase
from .._cells import ConvLSTMCell, GRUCell, LSTMCell, SimpleCell
from .._checks.arguments import guard
from .activations import KERAS, find_activation
from .arrays import Weights, concatenate, write
from .build import build
from .cudnn import LAYERS, from_cudnn, to_cudnn
from .entries import Entries
from .gates import from_kernel, merge_gru_biases, reorder, split_gru_biases, to_kernel
from .options import check_choice, check_options, check_type

NAMES = ("kernel", "recurrent_kernel", "bias")
# The orders of Keras's gates (i, f, c, o and z, r, h) in our letters, and our orders.
ORDERS = {"SimpleRNN": "h", "LSTM": "ifgo", "GRU": "zrn"}
OURS = {"SimpleRNN": "h", "LSTM": "ifgo", "GRU": "rzn"}
CONVOLUTIONS = {f"ConvLSTM{n}D": n for n in (1, 2, 3)}
CUDNN = {layer: kind for layer, (kind, *_) in LAYERS.items()}
CELLS = (*ORDERS, *CONVOLUTIONS, *CUDNN)


@guard
def from_keras(
    weights: Sequence[Any],
    cell: str,
    *,
    activation: str | Callable | None = "tanh",
    recurrent_activation: str | Callable | None = "sigmoid",
    reset_after: bool | None = None,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    dilation_rate: int | Sequence[int] = 1,
    dtype: DTypeLike | None = None,
) -> RNNCellBase:
    """A cell from the weights of a Keras layer.

    **Arguments:**

    - `weights`: `layer.get_weights()`: kernel, recurrent kernel and, if there is one, bias. A
        `Bidirectional` layer returns those of the forward layer, then those of the backward layer.
    - `cell`: the class of the layer: `"SimpleRNN"`, `"LSTM"`, `"GRU"`, `"ConvLSTM1D"`,
        `"ConvLSTM2D"`, `"ConvLSTM3D"`, `"CuDNNLSTM"` or `"CuDNNGRU"`. Weights that a CuDNN layer
        saved keep its memory layout in later versions of Keras. Only the length of the bias shows
        it.
    - `activation`, `recurrent_activation`: the activations of the layer, by their names in Keras 3,
        or as functions. (Prefer names: functions of Keras cannot be written for other frameworks.)
        The `"hard_sigmoid"` of Keras 1 and 2 is `"keras2_hard_sigmoid"` here.
    - `reset_after`: this option of a GRU. It is needed only for a GRU without bias; otherwise the
        shape of the bias shows it.
    - `strides`, `padding`, `dilation_rate`: these options of a ConvLSTM, with Keras's defaults. The
        inputs here have channels last, whatever the `data_format` of the layer is.
    - `dtype`: the dtype of the new weights. `None` keeps the dtype of the given weights.

    **Returns:** a `SimpleCell`, `LSTMCell`, `GRUCell` or `ConvLSTMCell`.
    """
    owner = "from_keras"
    check_choice(owner, "cell", cell, CELLS)
    if len(weights) > len(NAMES):
        raise ValueError(
            f"{owner}: `weights[3]` must not be there, got {len(weights)} arrays, this one of "
            f"shape {np.shape(weights[3])}: a layer has kernel, recurrent kernel and bias. Pass "
            "the weights of one layer. Of a `Bidirectional` layer, pass the first half for the "
            "forward cell and the second half for the backward cell."
        )
    entries = Entries(owner, dict(zip(NAMES, weights, strict=False)), dtype)
    functions: dict[str, Any] = {
        "activation": find_activation(owner, "activation", activation, KERAS)
    }
    if cell != "SimpleRNN":
        functions["gate_activation"] = find_activation(
            owner, "recurrent_activation", recurrent_activation, KERAS
        )
    elif recurrent_activation != "sigmoid":
        raise ValueError(f"{owner}: a SimpleRNN has no gates. Leave out `recurrent_activation`.")
    if cell not in CONVOLUTIONS and (strides, padding, dilation_rate) != (1, "valid", 1):
        raise ValueError(
            f"{owner}: `strides`, `padding` and `dilation_rate` are options of a ConvLSTM, got "
            f"{strides!r}, {padding!r} and {dilation_rate!r} for {cell!r}. Leave them out."
        )
    if reset_after is not None and not cell.endswith("GRU"):
        raise ValueError(
            f"{owner}: `reset_after` is an option of a GRU. Leave it out for {cell!r}."
        )
    if cell in CUDNN:
        if functions != {"activation": jnp.tanh, "gate_activation": jax.nn.sigmoid}:
            raise ValueError(
                f"{owner}: the activations of a {cell} are always tanh and sigmoid. Leave out "
                "`activation` and `recurrent_activation`."
            )
        return from_cudnn(entries, cell, reset_after)
    if cell in CONVOLUTIONS:
        return _from_conv(entries, cell, functions, strides, padding, dilation_rate)

    order, ours = ORDERS[cell], OURS[cell]
    hidden, _ = entries.shape("recurrent_kernel", "units", f"{len(order)}*units")
    weight_hh = entries.take("recurrent_kernel", hidden, len(order) * hidden).T
    weight_ih = entries.take("kernel", "input", len(order) * hidden).T
    arrays = {
        "weight_ih": reorder(weight_ih, order, ours),
        "weight_hh": reorder(weight_hh, order, ours),
    }
    if "bias" in entries:
        _refuse_cudnn_bias(entries, cell, len(order) * hidden)
    if cell == "GRU":
        arrays |= _gru_bias(entries, hidden, reset_after)
        functions["reset_after"] = "bias_n" in arrays if "bias" in arrays else reset_after
    elif "bias" in entries:
        arrays["bias"] = entries.take("bias", len(order) * hidden)
    entries.finish(f"a Keras {cell}")
    make = {"SimpleRNN": SimpleCell, "LSTM": LSTMCell, "GRU": GRUCell}[cell]
    return build(make, weight_ih.shape[1], hidden, weights=arrays, **functions)


def _refuse_cudnn_bias(entries: Entries, cell: str, rows: int) -> None:
    shape = entries.left["bias"].shape
    if cell in CUDNN.values() and shape == (2 * rows,):
        raise ValueError(
            f"from_keras: `bias` must have shape ({rows},){_two(cell, rows)}, got {shape}, the "
            f'shape of a CuDNN layer, whose kernels have another layout. Pass `cell="CuDNN{cell}"`.'
        )


def _two(cell: str, rows: int) -> str:
    return f" or (2, {rows})" if cell == "GRU" else ""


def _gru_bias(entries: Entries, hidden: int, reset_after: bool | None) -> dict[str, Weights]:
    if "bias" not in entries:
        if reset_after is None:
            raise ValueError(
                "from_keras: `reset_after` must be True or False for a GRU without bias, got None: "
                "its weights do not show it. Pass this option of the layer. (Keras's default is "
                "True.)"
            )
        return {}
    has_two = entries.left["bias"].ndim == 2
    if reset_after is not None and reset_after != has_two:
        wanted = f"(2, {3 * hidden})" if reset_after else f"({3 * hidden},)"
        raise ValueError(
            f"from_keras: `bias` must have shape {wanted} with reset_after={reset_after}, got "
            f"{entries.left['bias'].shape}. Leave out `reset_after`: the bias shows it."
        )
    if not has_two:
        return {"bias": reorder(entries.take("bias", 3 * hidden), "zrn", "rzn")}
    of_input, of_hidden = entries.take("bias", 2, 3 * hidden)
    bias, bias_n = merge_gru_biases(
        reorder(of_input, "zrn", "rzn"), reorder(of_hidden, "zrn", "rzn")
    )
    return {"bias": bias, "bias_n": bias_n}


def _from_conv(
    entries: Entries,
    cell: str,
    functions: dict[str, Any],
    strides: int | Sequence[int],
    padding: str,
    dilation: int | Sequence[int],
) -> ConvLSTMCell:
    check_choice("from_keras", "padding", padding.lower(), ("valid", "same"))
    sizes = tuple("XYZ"[: CONVOLUTIONS[cell]])
    *sizes, hidden, _ = entries.shape("recurrent_kernel", *sizes, "filters", "4*filters")
    weight_hh = from_kernel(entries.take("recurrent_kernel", *sizes, hidden, 4 * hidden))
    weight_ih = from_kernel(entries.take("kernel", *sizes, "input", 4 * hidden))
    arrays = {"weight_ih": weight_ih, "weight_hh": weight_hh}
    if "bias" in entries:
        arrays["bias"] = entries.take("bias", 4 * hidden)
    entries.finish(f"a Keras {cell}")
    options = {"strides": strides, "padding": padding.upper(), "dilation": dilation}
    return build(
        ConvLSTMCell, weight_ih.shape[1], hidden, sizes, weights=arrays, **options, **functions
    )


@guard
def to_keras(cell: Any, layer: str | None = None) -> list[Weights]:
    """The argument for `set_weights` of a Keras layer.

    **Arguments:**

    - `cell`: a `SimpleCell`, `LSTMCell`, `GRUCell` or `ConvLSTMCell`. Build the layer with its
        sizes, activations, `use_bias`, `reset_after`, strides, padding and dilation.
    - `layer`: `"CuDNNLSTM"` or `"CuDNNGRU"` for the layout of these layers. `None` means the plain
        layer of the same kind.
    """
    owner = "to_keras"
    check_type(owner, "cell", cell, (SimpleCell, LSTMCell, GRUCell, ConvLSTMCell))
    if isinstance(cell, SimpleCell):
        fits, options = "SimpleRNN", {"residual": False}
    elif isinstance(cell, LSTMCell):
        fits, options = "LSTM", {"proj_size": None}
    elif isinstance(cell, GRUCell):
        fits, options = "GRU", {}
    else:
        fits, options = f"ConvLSTM{len(cell.kernel_size)}D", {"padding": ("SAME", "VALID")}
    layer = fits if layer is None else layer
    check_choice(owner, "layer", layer, [name for name in CELLS if CUDNN.get(name, name) == fits])
    check_options(owner, cell, **options)
    if fits in CONVOLUTIONS:
        kernels = [to_kernel(write(cell.weight_ih)), to_kernel(write(cell.weight_hh))]
        return kernels if cell.bias is None else [*kernels, write(cell.bias)]
    order, ours = ORDERS[fits], OURS[fits]
    weight_ih, weight_hh = (
        reorder(write(weight), ours, order) for weight in (cell.weight_ih, cell.weight_hh)
    )
    if layer in CUDNN:
        return to_cudnn(owner, cell, weight_ih, weight_hh)
    kernels = [weight_ih.T, weight_hh.T]
    if cell.bias is None:
        return kernels
    if isinstance(cell, GRUCell) and cell.reset_after:
        biases = [reorder(bias, ours, order) for bias in split_gru_biases(cell)]
        return [*kernels, concatenate(bias[None] for bias in biases)]
    return [*kernels, reorder(write(cell.bias), ours, order)]
