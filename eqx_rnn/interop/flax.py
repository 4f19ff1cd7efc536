"""Weights of Flax's recurrent cells: trees of linen and pure dicts of nnx."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import DTypeLike

from .._base.cells import RNNCellBase
from .._cells import ConvLSTMCell, GRUCell, LSTMCell, MGUCell, SimpleCell
from .._checks.arguments import guard
from .arrays import Weights, concatenate, require, write
from .build import build
from .entries import Entries, refuse_nested
from .gates import bias_or_zeros, from_kernel, reorder, shift_forget, to_kernel
from .options import check_choice, check_options, check_type

TYPES = {
    "SimpleCell": SimpleCell,
    "LSTMCell": LSTMCell,
    "OptimizedLSTMCell": LSTMCell,
    "GRUCell": GRUCell,
    "MGUCell": MGUCell,
    "ConvLSTMCell": ConvLSTMCell,
}
GATES = {
    "SimpleCell": "h",
    "LSTMCell": "ifgo",
    "OptimizedLSTMCell": "ifgo",
    "GRUCell": "rzn",
    "MGUCell": "fn",
}


def _layers(cell: str, nnx: bool) -> tuple[list[str], list[str]]:
    """Names of the dense layers on inputs and on the hidden state, in the order of our gates."""
    if nnx and cell != "LSTMCell":
        return ["dense_i"], ["dense_h"]
    if cell == "SimpleCell":
        return ["i"], ["h"]
    of_input = [f"i{gate}" for gate in GATES[cell]]
    if nnx:
        of_input = ["if_" if name == "if" else name for name in of_input]  # `if` is a keyword
    return of_input, [f"h{gate}" for gate in GATES[cell]]


@guard
def from_flax(
    params: Mapping[str, Any],
    cell: str,
    *,
    residual: bool = False,
    activation: Callable = jnp.tanh,
    gate_activation: Callable = jax.nn.sigmoid,
    dtype: DTypeLike | None = None,
) -> RNNCellBase:
    """A cell from the parameters of a cell of Flax.

    **Arguments:**

    - `params`: the parameters of a linen cell (`variables["params"]`, or `["cell"]` of these for an
        `nn.RNN`), or `nnx.state(cell, nnx.Param)`, also as a pure dict.
    - `cell`: the class of the cell: `"SimpleCell"`, `"LSTMCell"`, `"OptimizedLSTMCell"`,
        `"GRUCell"`, `"MGUCell"` or `"ConvLSTMCell"`.
    - `residual`: this option of a `SimpleCell`.
    - `activation`, `gate_activation`: Flax's `activation_fn` and `gate_fn`.
    - `dtype`: the dtype of the new weights. `None` keeps the dtype of the given weights.

    **Returns:** a `SimpleCell`, `LSTMCell`, `GRUCell`, `MGUCell` or `ConvLSTMCell`. Flax's ConvLSTM
    adds 1 to its forget gate in every step. This 1 is part of the bias here, so there is a bias
    even with Flax's `use_bias=False`. The GRU of nnx has no recurrent bias: `bias_n` is 0.
    """
    owner = "from_flax"
    check_choice(owner, "cell", cell, TYPES)
    flat = _flatten(params)
    kernels = {"hh"}
    if cell != "ConvLSTMCell":
        kernels = {_layers(cell, nnx)[1][0] for nnx in (False, True)}
    advice = "Pass the weights of one layer, for example `params['cell']`."
    refuse_nested(owner, flat, f"({'|'.join(kernels)})/kernel", advice)
    entries = Entries(owner, flat, dtype)
    options: dict[str, Any] = {"activation": activation}
    if cell == "SimpleCell":
        options["residual"] = residual
    else:
        options["gate_activation"] = gate_activation
        if residual:
            raise ValueError(
                f"{owner}: `residual` is an option of a SimpleCell. Leave it out for {cell!r}."
            )
    if cell == "ConvLSTMCell":
        if (activation, gate_activation) != (jnp.tanh, jax.nn.sigmoid):
            raise ValueError(
                f"{owner}: the activations of a ConvLSTMCell of Flax are always tanh and sigmoid. "
                "Leave out `activation` and `gate_activation`."
            )
        return _from_conv(entries)

    nnx = cell != "MGUCell" and entries.any(lambda name: name.startswith(("dense_", "if_")))
    of_input, of_hidden = _layers(cell, nnx)
    num_gates = len(GATES[cell])
    parts = num_gates // len(of_input)
    columns = "features" if parts == 1 else f"{parts}*features"
    hidden, _ = entries.shape(f"{of_hidden[0]}/kernel", "features", columns)
    size, _ = entries.shape(f"{of_input[0]}/kernel", "input", columns)
    take = lambda layers, rows: concatenate(
        entries.take(f"{name}/kernel", rows, parts * hidden).T for name in layers
    )
    arrays = {"weight_ih": take(of_input, size), "weight_hh": take(of_hidden, hidden)}
    biased = of_hidden if GATES[cell] == "ifgo" else of_input
    arrays["bias"] = concatenate(entries.take(f"{name}/bias", parts * hidden) for name in biased)
    if cell == "MGUCell":
        options["reset_gate"] = "hn/bias" in entries
    if (cell == "GRUCell" and not nnx) or options.get("reset_gate"):
        arrays["bias_n"] = entries.take("hn/bias", hidden)
    elif cell == "GRUCell":
        arrays["bias_n"] = np.zeros(hidden, arrays["bias"].dtype)
    entries.finish(f"Flax's {cell}")
    return build(TYPES[cell], size, hidden, weights=arrays, **options)


def _flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}/")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _from_conv(entries: Entries) -> ConvLSTMCell:
    """A ConvLSTM has the rows i, g, f, o, and two biases or none."""
    space = entries.space("ih/kernel", "hh/kernel")
    *sizes, hidden, _ = entries.shape("hh/kernel", *space, "features", "4*features")
    kernels = [
        entries.take("ih/kernel", *sizes, "input", 4 * hidden),
        entries.take("hh/kernel", *sizes, hidden, 4 * hidden),
    ]
    if entries.any(lambda name: name.endswith("/bias")):
        bias = entries.take("ih/bias", 4 * hidden) + entries.take("hh/bias", 4 * hidden)
    else:
        bias = np.zeros(4 * hidden, kernels[0].dtype)
    entries.finish("Flax's ConvLSTMCell")
    weight_ih, weight_hh = (reorder(from_kernel(kernel), "igfo", "ifgo") for kernel in kernels)
    bias = shift_forget(reorder(bias, "igfo", "ifgo"), "ifgo", 1)
    arrays = {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias": bias}
    return build(ConvLSTMCell, weight_ih.shape[1], hidden, sizes, weights=arrays)


@guard
def to_flax(
    cell: Any, flax_cell: str, *, nnx: bool = False, use_bias: bool = True
) -> dict[str, dict[str, Weights]]:
    """The parameters of a cell of Flax, in the form that `from_flax` reads.

    **Arguments:**

    - `cell`: a `SimpleCell`, `LSTMCell`, `GRUCell`, `MGUCell` or `ConvLSTMCell`. Build the cell of
        Flax with its sizes, activations, `residual`, `reset_gate` and kernel size.
    - `flax_cell`: the name of the class in Flax.
    - `nnx`: whether to return the parameters of nnx, for `nnx.update`, instead of linen's.
    - `use_bias`: this option of a ConvLSTM. Without it, the bias must be 1 for the forget gate and
        0 elsewhere.
    """
    owner = "to_flax"
    check_choice(owner, "flax_cell", flax_cell, TYPES)
    check_type(owner, "cell", cell, (TYPES[flax_cell],))
    if nnx and flax_cell in ("MGUCell", "ConvLSTMCell"):
        raise ValueError(f"{owner}: nnx has no {flax_cell}. Leave out `nnx` to write for linen.")
    if isinstance(cell, ConvLSTMCell):
        return _to_conv(owner, cell, use_bias)
    if not use_bias:
        raise ValueError(f"{owner}: Flax's {flax_cell} always has biases. Leave out `use_bias`.")
    if isinstance(cell, LSTMCell):
        check_options(owner, cell, proj_size=None)
    if isinstance(cell, GRUCell):
        check_options(owner, cell, reset_after=True)

    of_input, of_hidden = _layers(flax_cell, nnx)
    biased = of_hidden if isinstance(cell, LSTMCell) else of_input
    params: dict[str, dict[str, Weights]] = {}
    for layers, weight in ((of_input, cell.weight_ih), (of_hidden, cell.weight_hh)):
        for name, rows in _blocks(layers, write(weight)):
            params[name] = {"kernel": rows.T}
    for name, rows in _blocks(biased, bias_or_zeros(cell)):
        params[name]["bias"] = rows
    bias_n = getattr(cell, "bias_n", None)
    bias_n = None if bias_n is None else write(bias_n)
    if isinstance(cell, GRUCell) and nnx:
        if bias_n is not None:
            message = (
                f"{owner}: `bias_n` must be 0, got {bias_n}: the GRUCell of nnx has no recurrent "
                "bias. Use the GRUCell of linen."
            )
            (layer,) = of_hidden
            kernel = params[layer]["kernel"]
            params[layer]["kernel"] = require(kernel, (bias_n != 0).any(), message)
    elif isinstance(cell, GRUCell) or (isinstance(cell, MGUCell) and cell.reset_gate):
        zeros = np.zeros(cell.hidden_size, cell.weight_ih.dtype)
        params["hn"]["bias"] = zeros if bias_n is None else bias_n
    return params


def _blocks(layers: list[str], stacked: Weights) -> list[tuple[str, Weights]]:
    size = stacked.shape[0] // len(layers)
    return [(name, stacked[k * size : (k + 1) * size]) for k, name in enumerate(layers)]


def _to_conv(owner: str, cell: Any, use_bias: bool) -> dict[str, dict[str, Weights]]:
    """The parameters of a ConvLSTM.

    Flax uses the options of the input convolution for the recurrent one too. Options other than the
    defaults would change the shape of the state.
    """
    ones = len(cell.kernel_size) * (1,)
    check_options(owner, cell, strides=(ones,), padding="SAME", dilation=(ones,))
    check_options(owner, cell, activation=jnp.tanh, gate_activation=jax.nn.sigmoid)
    bias = reorder(shift_forget(bias_or_zeros(cell), "ifgo", -1), "ifgo", "igfo")
    params = {
        name: {"kernel": to_kernel(reorder(write(weight), "ifgo", "igfo"))}
        for name, weight in (("ih", cell.weight_ih), ("hh", cell.weight_hh))
    }
    if use_bias:
        params["ih"]["bias"], params["hh"]["bias"] = bias, np.zeros(bias.shape, bias.dtype)
    else:
        message = (
            f"{owner}: `bias` must be 1 for the forget gate and 0 for the others with "
            "use_bias=False: Flax's ConvLSTMCell then adds only this 1. Leave out `use_bias`."
        )
        params["hh"]["kernel"] = require(params["hh"]["kernel"], (bias != 0).any(), message)
    return params
