"""Weights of the operators LSTM, GRU and RNN of ONNX."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import DTypeLike

from .._base.cells import RNNCellBase
from .._cells import GRUCell, LSTMCell, PeepholeLSTMCell, SimpleCell
from .._checks.arguments import guard
from .._functions.function import as_function, plain
from .._layers.bidirectional import Bidirectional
from .._layers.rnn import RNN
from .activations import ONNX, find_activation
from .arrays import Weights, concatenate, write
from .build import build
from .entries import Entries
from .gates import merge_gru_biases, reorder, split_gru_biases
from .options import check_choice, check_options, check_type, show

# The orders of ONNX's gates (i, o, f, c and z, r, h) in our letters, and our orders.
ORDERS = {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"}
OURS = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}
KINDS = {LSTMCell: "LSTM", PeepholeLSTMCell: "LSTM", GRUCell: "GRU", SimpleCell: "RNN"}
DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
DIRECTIONS = ("forward", "reverse", "bidirectional")


@guard
def from_onnx(
    W: Any,
    R: Any,
    B: Any,
    kind: str,
    *,
    direction: str = "forward",
    linear_before_reset: int = 0,
    P: Any = None,
    activations: Sequence[str | Callable] | None = None,
    clip: float | None = None,
    input_forget: int = 0,
    time_major: bool = False,
    dtype: DTypeLike | None = None,
) -> RNN | Bidirectional:
    """The layer that computes the same as an ONNX node.

    **Arguments:**

    - `W`, `R`, `B`: the inputs of the node with these names, as `onnx.numpy_helper.to_array`
        returns them. `B` may be `None`.
    - `kind`: the operator: `"LSTM"`, `"GRU"` or `"RNN"`.
    - `direction`, `linear_before_reset`, `activations`, `clip`, `input_forget`: the attributes of
        the node, with ONNX's defaults. An activation has ONNX's default parameters if it is given
        by name: `"HardSigmoid"` is clip(0.2 x + 0.5, 0, 1). Pass a function for other parameters.
        `clip` must be `None` and `input_forget` must be 0, because no cell here has them.
    - `P`: the peepholes of an LSTM. With peepholes, even if they are zero, the cell is a
        `PeepholeLSTMCell`.
    - `time_major`: this option of the layer. (ONNX's default `layout` is time-major.)
    - `dtype`: the dtype of the new weights. `None` keeps the dtype of the given weights.

    **Returns:** an `RNN`, for `"reverse"` with `reverse=True, keep_order=True`, or a
    `Bidirectional`. `from_torch_state(initial_h, initial_c, bidirectional=...)[0]` is its carry.
    """
    owner = "from_onnx"
    check_choice(owner, "kind", kind, ORDERS)
    check_choice(owner, "direction", direction, DIRECTIONS)
    if clip or input_forget:
        raise ValueError(
            f"{owner}: `clip` and `input_forget` must be left out, got {clip} and {input_forget}: "
            "no cell here has such an option."
        )
    if linear_before_reset and kind != "GRU":
        raise ValueError(
            f"{owner}: `linear_before_reset` is an option of a GRU. Leave it out for {kind!r}."
        )
    num = 2 if direction == "bidirectional" else 1
    arrays = {"W": W, "R": R, "B": B, "P": P}
    present = {name: array for name, array in arrays.items() if array is not None}
    entries = Entries(owner, present, dtype)
    num_gates = len(ORDERS[kind])
    _, _, hidden = entries.shape("R", num, f"{num_gates}*hidden", "hidden")
    rows = num_gates * hidden
    recurrent, weight = entries.take("R", num, rows, hidden), entries.take("W", num, rows, "input")
    biases = entries.take("B", num, 2 * rows) if B is not None else num * [None]
    peepholes = num * [None]
    if kind == "LSTM" and P is not None:
        peepholes = entries.take("P", num, 3 * hidden)
    entries.finish(f"ONNX's {kind}")
    names = DEFAULTS[kind] if activations is None else tuple(activations)
    names = num * names if activations is None else names
    if len(names) != num * len(DEFAULTS[kind]):
        raise ValueError(
            f"{owner}: `activations` must have {num * len(DEFAULTS[kind])} items, "
            f"{len(DEFAULTS[kind])} per direction, got {len(names)}."
        )
    functions = [find_activation(owner, "activations", name, ONNX) for name in names]
    rnns = []
    for k in range(num):
        cell = _read_cell(
            kind,
            weight[k],
            recurrent[k],
            biases[k],
            peepholes[k],
            functions[k * len(DEFAULTS[kind]) : (k + 1) * len(DEFAULTS[kind])],
            bool(linear_before_reset),
        )
        reverse = direction == "reverse"
        rnns.append(RNN(cell, time_major=time_major, reverse=reverse, keep_order=reverse))
    return Bidirectional(*rnns) if num == 2 else rnns[0]


def _read_cell(
    kind: str,
    weight: Weights,
    recurrent: Weights,
    bias: Weights | None,
    peephole: Weights | None,
    functions: list[Callable],
    linear_before_reset: bool,
) -> RNNCellBase:
    to_ours = lambda stack: reorder(stack, ORDERS[kind], OURS[kind])
    arrays = {"weight_ih": to_ours(weight), "weight_hh": to_ours(recurrent)}
    make = {"LSTM": LSTMCell, "GRU": GRUCell, "RNN": SimpleCell}[kind]
    if peephole is not None:
        make, arrays["weight_ph"] = PeepholeLSTMCell, reorder(peephole, "iof", "ifo")
    options: dict[str, Any] = {"activation": functions[-1]}
    if kind != "RNN":
        options["gate_activation"] = functions[0]
    if kind == "GRU":
        options["reset_after"] = linear_before_reset
    if kind == "LSTM" and as_function(functions[1]) != as_function(functions[2]):
        raise ValueError(
            "from_onnx: `activations` must name one function for an LSTM's candidate and output, "
            f"got {show(functions[1])} and {show(functions[2])}: LSTMCell uses one for both."
        )
    if bias is not None:
        size = bias.shape[0] // 2
        of_input, of_hidden = to_ours(bias[:size]), to_ours(bias[size:])
        if kind == "GRU" and linear_before_reset:
            arrays["bias"], arrays["bias_n"] = merge_gru_biases(of_input, of_hidden)
        else:
            arrays["bias"] = of_input + of_hidden
    return build(make, weight.shape[1], recurrent.shape[1], weights=arrays, **options)


@guard
def to_onnx(module: Any) -> tuple[str, dict[str, Weights], dict[str, Any]]:
    """The operator, its inputs `W`, `R`, `B`, `P` by name, and its attributes.

    **Arguments:**

    - `module`: an `LSTMCell`, `PeepholeLSTMCell`, `GRUCell` or `SimpleCell`, or an `RNN` or
        `Bidirectional` over them.

    Pass them to `onnx.helper.make_node(operator, ..., **attributes)`. The activations must be
    activations of ONNX.
    """
    owner = "to_onnx"
    check_type(owner, "module", module, (RNN, Bidirectional, *KINDS))
    cells: list[Any]
    if isinstance(module, Bidirectional):
        if module.merge != "concat":
            raise ValueError(
                f'{owner}: `merge` must be "concat", because ONNX returns both directions, got '
                f"{module.merge!r}."
            )
        cells = [module.forward_rnn.cell, module.backward_rnn.cell]
        direction = "bidirectional"
    elif isinstance(module, RNN):
        if module.reverse and not module.keep_order:
            raise ValueError(
                f"{owner}: `keep_order` must be True for a reversed RNN, got False: ONNX returns "
                "outputs in the order of the inputs."
            )
        cells, direction = [module.cell], "reverse" if module.reverse else "forward"
    else:
        cells, direction = [module], "forward"
    for cell in cells:
        check_type(owner, "cell", cell, KINDS)
    kind = KINDS[type(cells[0])]
    traits = [_traits(cell) for cell in cells]
    if traits[0] != traits[-1]:
        raise ValueError(
            f"{owner}: both directions must have cells of the same kind, sizes and options, got "
            f"{traits[0]} and {traits[-1]}."
        )
    arrays = [_write_cell(owner, kind, cell) for cell in cells]
    attributes: dict[str, Any] = {
        "hidden_size": cells[0].hidden_size,
        "direction": direction,
        "activations": [name for cell in cells for name in _activation_names(owner, kind, cell)],
    }
    if kind == "GRU":
        attributes["linear_before_reset"] = int(cells[0].reset_after)
    stacked = {name: concatenate(a[name][None] for a in arrays) for name in arrays[0]}
    return kind, stacked, attributes


def _traits(cell: Any) -> tuple:
    after = getattr(cell, "reset_after", None)
    return type(cell).__name__, cell.input_size, cell.hidden_size, cell.use_bias, after


def _activation_names(owner: str, kind: str, cell: Any) -> list[str]:
    names = {function: name for name, function in ONNX.items()}
    check_options(owner, cell, activation=tuple(names))
    if kind == "RNN":
        return [names[plain(cell.activation)]]
    check_options(owner, cell, gate_activation=tuple(names))
    others = 2 if kind == "LSTM" else 1
    return [names[plain(cell.gate_activation)], *(others * [names[plain(cell.activation)]])]


def _write_cell(owner: str, kind: str, cell: Any) -> dict[str, Weights]:
    to_theirs = lambda stack: reorder(write(stack), OURS[kind], ORDERS[kind])
    if kind == "RNN":
        check_options(owner, cell, residual=False)
    peephole = getattr(cell, "weight_ph", None)
    if kind == "LSTM" and peephole is None:
        check_options(owner, cell, proj_size=None)
    arrays = {"W": to_theirs(cell.weight_ih), "R": to_theirs(cell.weight_hh)}
    if peephole is not None:
        arrays["P"] = reorder(write(peephole), "ifo", "iof")
    if cell.bias is None:
        return arrays
    if kind == "GRU" and cell.reset_after:
        biases = map(to_theirs, split_gru_biases(cell))
    else:
        biases = to_theirs(cell.bias), np.zeros(cell.bias.shape, cell.bias.dtype)
    return arrays | {"B": concatenate(biases)}
