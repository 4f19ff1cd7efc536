"""Weights of the recurrent modules of PyTorch."""

import re
from collections.abc import Mapping
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import DTypeLike

from .._base.cells import RNNCellBase
from .._cells import GRUCell, LSTMCell, SimpleCell
from .._checks.arguments import guard
from .._functions.function import is_part
from .._layers.bidirectional import Bidirectional
from .._layers.rnn import RNN
from .._layers.stacked import Stacked
from .arrays import Weights, write
from .build import build
from .entries import Entries, refuse_nested
from .gates import merge_gru_biases, split_gru_biases
from .options import check_choice, check_options, check_type

# By the number of gates. The gate orders i, f, g, o and r, z, n are the same here.
TYPES = {4: LSTMCell, 3: GRUCell, 1: SimpleCell}
NONLINEARITIES = {"tanh": jnp.tanh, "relu": jax.nn.relu}


@overload
def from_torch(
    state_dict: Mapping[str, Any], *, cell: Literal[False] = ..., **options: Any
) -> Stacked: ...
@overload
def from_torch(
    state_dict: Mapping[str, Any], *, cell: Literal[True], **options: Any
) -> LSTMCell | GRUCell | SimpleCell: ...
@guard
def from_torch(  # pyright: ignore[reportInconsistentOverload] (the options are those below)
    state_dict: Mapping[str, Any],
    *,
    cell: bool | None = None,
    prefix: str = "",
    nonlinearity: str = "tanh",
    time_major: bool = False,
    dtype: DTypeLike | None = None,
) -> Stacked | RNNCellBase:
    """A module with the weights of a torch state dict.

    **Arguments:**

    - `state_dict`: the state dict of a `torch.nn.LSTM`, `GRU` or `RNN`, or of an `LSTMCell`,
        `GRUCell` or `RNNCell`. Names and shapes show kind, layers, directions, sizes, biases and
        projection.
    - `cell`: whether the state dict is that of a cell. If it is left out, the names of the entries
        decide, and type checkers expect layers.
    - `prefix`: the name of a sub-module, such as `"encoder.rnn."`. Entries outside it are ignored.
    - `nonlinearity`: this option of an `RNN` or `RNNCell`: `"tanh"` or `"relu"`.
    - `time_major`: this option of the layers, the opposite of torch's `batch_first`.
    - `dtype`: the dtype of the new weights. `None` keeps the dtype of the given weights.

    **Returns:** a `Stacked` with one `RNN` or `Bidirectional` per layer, even for a single layer;
    for the state dict of a cell, an `LSTMCell`, `GRUCell` or `SimpleCell`. The two biases of torch
    become their sum, except for `b_hn` of a GRU, which stays apart. A state dict does not contain
    dropout between layers.
    """
    owner = "from_torch"
    check_choice(owner, "nonlinearity", nonlinearity, NONLINEARITIES)
    inside = {
        name.removeprefix(prefix): value
        for name, value in state_dict.items()
        if name.startswith(prefix)
    }
    if not inside:
        raise ValueError(
            f"{owner}: `prefix` must be the start of the names of entries, got {prefix!r} for "
            f"{', '.join(state_dict) or 'no entries'}."
        )
    advice = "Pass one of these as `prefix`."
    refuse_nested(owner, inside, r"weight_hh(_l0)?", advice, prefix)
    entries = Entries(owner, inside, dtype, prefix)
    is_cell = entries.any(lambda name: re.fullmatch(r"(weight|bias)_(ih|hh)", name) is not None)
    check_choice(owner, "cell", cell, (None, is_cell))
    directions = ["_reverse"] if entries.any(lambda name: name.endswith("_reverse")) else []
    suffixes = [[""]]
    if not is_cell:
        numbers = [re.search(r"_l(\d+)(_reverse)?$", name) for name in inside]
        num_layers = 1 + max((int(match[1]) for match in numbers if match), default=0)
        suffixes = [[f"_l{k}{d}" for d in ("", *directions)] for k in range(num_layers)]
    options = _read_sizes(entries, suffixes[0][0], nonlinearity)
    layers, input_size = [], None
    for layer in suffixes:
        cells = [_read_cell(entries, suffix, input_size=input_size, **options) for suffix in layer]
        input_size = len(cells) * options["output_size"]
        layers.append([RNN(cell, time_major=time_major) for cell in cells])
    entries.finish(f"torch's {'cell' if is_cell else 'module'} of this kind and size")
    if is_cell:
        return layers[0][0].cell
    return Stacked([Bidirectional(*rnns) if directions else rnns[0] for rnns in layers])


def _read_sizes(entries: Entries, suffix: str, nonlinearity: str) -> dict[str, Any]:
    """The options that all cells share, read from the first cell."""
    rows, output_size = entries.shape(f"weight_hh{suffix}", "gates*hidden", "output")
    proj_size, hidden = None, output_size
    if entries.any(lambda name: name.startswith("weight_hr")):
        proj_size, hidden = entries.shape(f"weight_hr{suffix}", output_size, "hidden")
    num_gates = rows // hidden
    if rows != num_gates * hidden or num_gates not in TYPES or (proj_size and num_gates != 4):
        raise ValueError(
            f"from_torch: `{entries.prefix}weight_hh{suffix}` must have shape (gates*hidden, "
            f"hidden) with 4 gates for an LSTM, 3 for a GRU or 1 for an RNN, got "
            f"{(rows, output_size)}."
        )
    if num_gates != 1 and nonlinearity != "tanh":
        raise ValueError(
            f"from_torch: `nonlinearity` is an option of an RNN, got {nonlinearity!r} for the "
            f"weights of {TYPES[num_gates].__name__}. Leave it out."
        )
    return {
        "num_gates": num_gates,
        "hidden": hidden,
        "output_size": output_size,
        "proj_size": proj_size,
        "use_bias": entries.any(lambda name: name.startswith("bias")),
        "nonlinearity": nonlinearity,
    }


def _read_cell(
    entries: Entries,
    suffix: str,
    *,
    input_size: int | None,
    num_gates: int,
    hidden: int,
    output_size: int,
    proj_size: int | None,
    use_bias: bool,
    nonlinearity: str,
) -> Any:
    rows = num_gates * hidden
    wanted = "input" if input_size is None else input_size
    arrays = {
        "weight_ih": entries.take(f"weight_ih{suffix}", rows, wanted),
        "weight_hh": entries.take(f"weight_hh{suffix}", rows, output_size),
    }
    options: dict[str, Any] = {}
    if num_gates == 1:
        options["activation"] = NONLINEARITIES[nonlinearity]
    if proj_size is not None:
        options["proj_size"] = proj_size
        arrays["weight_hr"] = entries.take(f"weight_hr{suffix}", proj_size, hidden)
    if use_bias:
        biases = [entries.take(f"bias_{part}{suffix}", rows) for part in ("ih", "hh")]
        if num_gates == 3:
            arrays["bias"], arrays["bias_n"] = merge_gru_biases(*biases)
        else:
            arrays["bias"] = biases[0] + biases[1]
    size = arrays["weight_ih"].shape[1]
    return build(TYPES[num_gates], size, hidden, weights=arrays, **options)


@guard
def to_torch(module: Any, *, prefix: str = "") -> dict[str, Weights]:
    """The state dict, in NumPy arrays, of the torch module that computes the same as `module`.

    **Arguments:**

    - `module`: an `LSTMCell`, `GRUCell` or `SimpleCell` for a cell of torch; an `RNN`, a
        `Bidirectional` or a `Stacked` of them, all of one kind and size, for a layer of torch.
    - `prefix`: stands in front of all names, such as `"encoder.rnn."` for that sub-module.

    The bias becomes torch's `bias_ih`. Its `bias_hh` is 0, except for `b_hn` of a GRU. Pass
    `{name: torch.from_numpy(array) for name, array in ...}` to `load_state_dict`. torch cannot read
    bfloat16 from NumPy: pass `torch.from_numpy(array.astype("float32"))`, which `load_state_dict`
    casts back without loss.
    """
    owner = "to_torch"
    if prefix and not prefix.endswith("."):
        raise ValueError(f"{owner}: `prefix` must end in a dot, got {prefix!r}. Pass '{prefix}.'.")
    check_type(owner, "module", module, (*TYPES.values(), RNN, Bidirectional, Stacked))
    is_cell = isinstance(module, tuple(TYPES.values()))
    weights = _write_cell(owner, module, "") if is_cell else {}
    layers = [] if is_cell else [module]
    if isinstance(module, Stacked):
        if module.residual or module.norms is not None:
            raise ValueError(
                f"{owner}: a `Stacked` must have residual=False and norms=None, got "
                f"residual={module.residual} and norms={module.norms}: torch has neither of them."
            )
        layers = module.layers
    first = None
    for k, layer in enumerate(layers):
        rnns = _directions(owner, layer)
        traits = len(rnns), *(_traits(rnn.cell) for rnn in rnns)
        first = traits if first is None else first
        if traits != first or traits[1] != traits[-1]:
            raise ValueError(
                f"{owner}: all layers and directions must have the same kind, sizes and options, "
                f"as in torch, got {first} and {traits}."
            )
        for rnn, direction in zip(rnns, ("", "_reverse"), strict=False):
            weights |= _write_cell(owner, rnn.cell, f"_l{k}{direction}")
    return {f"{prefix}{name}": array for name, array in weights.items()}


def _directions(owner: str, layer: Any) -> list[RNN]:
    check_type(owner, "layers", layer, (RNN, Bidirectional))
    if isinstance(layer, Bidirectional):
        if layer.merge != "concat":
            raise ValueError(
                f'{owner}: `merge` must be "concat", as in torch, got {layer.merge!r}.'
            )
        return [layer.forward_rnn, layer.backward_rnn]
    if layer.reverse:
        raise ValueError(
            f"{owner}: `reverse` must be False: torch has no layer that only runs backward."
        )
    return [layer]


def _traits(cell: Any) -> tuple:
    check_type("to_torch", "cell", cell, TYPES.values())
    proj_size = getattr(cell, "proj_size", None)
    activation = None if is_part(cell.activation) else cell.activation
    return type(cell).__name__, cell.hidden_size, proj_size, cell.use_bias, activation


def _write_cell(owner: str, cell: Any, suffix: str) -> dict[str, Weights]:
    if isinstance(cell, SimpleCell):
        check_options(owner, cell, residual=False, activation=tuple(NONLINEARITIES.values()))
    else:
        check_options(owner, cell, activation=jnp.tanh, gate_activation=jax.nn.sigmoid)
    if isinstance(cell, GRUCell):
        check_options(owner, cell, reset_after=True)
    arrays = {"weight_ih": write(cell.weight_ih), "weight_hh": write(cell.weight_hh)}
    if cell.bias is not None:
        bias = write(cell.bias)
        biases = (bias, np.zeros(bias.shape, bias.dtype))
        if isinstance(cell, GRUCell):
            biases = split_gru_biases(cell)
        arrays["bias_ih"], arrays["bias_hh"] = biases
    if isinstance(cell, LSTMCell) and cell.weight_hr is not None:
        arrays["weight_hr"] = write(cell.weight_hr)
        if suffix == "":
            check_options(owner, cell, proj_size=None)
    return {f"{name}{suffix}": array for name, array in arrays.items()}
