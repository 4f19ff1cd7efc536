"""Weights of Haiku's recurrent cores."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import DTypeLike

from .._base.cells import RNNCellBase
from .._cells import ConvLSTMCell, GRUCell, LSTMCell, SimpleCell
from .._checks.arguments import guard
from .arrays import Weights, concatenate, write
from .build import build
from .entries import Entries
from .gates import bias_or_zeros, from_kernel, gates, reorder, shift_forget, to_kernel
from .options import check_choice, check_options, check_type

# The modules inside a core that own its parameters. A GRU owns them itself.
PARTS = {
    "LSTM": ("linear",),
    "GRU": (),
    "VanillaRNN": ("linear", "linear_1"),
    "ConvLSTM": ("input_to_hidden", "hidden_to_hidden"),
}
TYPES = {LSTMCell: "LSTM", GRUCell: "GRU", SimpleCell: "VanillaRNN", ConvLSTMCell: "ConvLSTM"}


@guard
def from_haiku(
    params: Mapping[str, Mapping[str, Any]],
    cell: str,
    *,
    prefix: str | None = None,
    dtype: DTypeLike | None = None,
) -> RNNCellBase:
    """A cell from the parameters of a Haiku core.

    **Arguments:**

    - `params`: the parameters that `hk.transform(...).init` returned.
    - `cell`: the class of the core: `"LSTM"`, `"GRU"`, `"VanillaRNN"`, or `"ConvLSTM"` for
        `Conv1DLSTM`, `Conv2DLSTM` and `Conv3DLSTM`.
    - `prefix`: the path of the core, such as `"agent/lstm"`. Parameters outside it are ignored. It
        is needed if `params` contains those of other modules.
    - `dtype`: the dtype of the new weights. `None` keeps the dtype of the given weights.

    **Returns:** an `LSTMCell`, a `GRUCell` (`reset_after=False`), a `SimpleCell` (with relu) or a
    `ConvLSTMCell`. Haiku adds 1 to forget gates in every step; this 1 is part of the bias here. The
    update gate of a GRU has the opposite sense in Haiku, so its weights change sign.
    """
    owner = "from_haiku"
    check_choice(owner, "cell", cell, PARTS)
    parts = PARTS[cell]
    if prefix is None:
        modules = {name.rpartition("/")[0] if parts else name for name in params}
        if len(modules) != 1:
            raise ValueError(
                f"{owner}: `prefix` must be the path of one {cell}, got none for parameters of "
                f"{sorted(params)}. Pass the path of the core."
            )
        (prefix,) = modules
    start = f"{prefix}/" if prefix and parts else prefix
    wanted = lambda name: name.startswith(start) if parts else name == start
    flat = {
        f"{name.removeprefix(start)}/{key}".removeprefix("/"): value
        for name, module in params.items()
        if wanted(name)
        for key, value in module.items()
    }
    if not flat:
        raise ValueError(
            f"{owner}: `prefix` must be the path of one {cell}, got {prefix!r} for parameters of "
            f"{sorted(params)}. Pass the path of the core, without a slash at the end."
        )
    entries = Entries(owner, flat, dtype, start if parts else f"{start}/")
    readers = {
        "LSTM": _from_lstm,
        "GRU": _from_gru,
        "VanillaRNN": _from_vanilla,
        "ConvLSTM": _from_conv,
    }
    return readers[cell](entries)


def _from_lstm(entries: Entries) -> LSTMCell:
    """An LSTM has one matrix, on the inputs and the hidden state side by side."""
    _, columns = entries.shape("linear/w", "input+hidden", "4*hidden")
    hidden = columns // 4
    rows, _ = entries.shape("linear/w", "input+hidden", 4 * hidden)
    weight = reorder(entries.take("linear/w", rows, 4 * hidden).T, "igfo", "ifgo")
    bias = reorder(entries.take("linear/b", 4 * hidden), "igfo", "ifgo")
    entries.finish("Haiku's LSTM")
    arrays = {
        "weight_ih": weight[:, : rows - hidden],
        "weight_hh": weight[:, rows - hidden :],
        "bias": shift_forget(bias, "ifgo", 1),
    }
    return build(LSTMCell, rows - hidden, hidden, weights=arrays)


def _from_gru(entries: Entries) -> GRUCell:
    hidden, _ = entries.shape("w_h", "hidden", "3*hidden")
    stacks = {
        "weight_hh": entries.take("w_h", hidden, 3 * hidden).T,
        "weight_ih": entries.take("w_i", "input", 3 * hidden).T,
        "bias": entries.take("b", 3 * hidden),
    }
    entries.finish("Haiku's GRU")
    arrays = {name: _flip_update(stack, "zrn", "rzn") for name, stack in stacks.items()}
    size = arrays["weight_ih"].shape[1]
    return build(GRUCell, size, hidden, weights=arrays, reset_after=False)


def _flip_update(stacked: Weights, source: str, target: str) -> Weights:
    """Changes the sign of z: a step in Haiku is `h' = (1 - z) h + z a`.

    This is the same because `1 - sigmoid(x) = sigmoid(-x)`.
    """
    rows = gates(stacked, source)
    return concatenate(-rows[gate] if gate == "z" else rows[gate] for gate in target)


def _from_vanilla(entries: Entries) -> SimpleCell:
    hidden, _ = entries.shape("linear_1/w", "hidden", "hidden")
    arrays = {
        "weight_hh": entries.take("linear_1/w", hidden, hidden).T,
        "weight_ih": entries.take("linear/w", "input", hidden).T,
        "bias": entries.take("linear/b", hidden),
    }
    if "linear_1/b" in entries:
        arrays["bias"] = arrays["bias"] + entries.take("linear_1/b", hidden)
    entries.finish("Haiku's VanillaRNN")
    size = arrays["weight_ih"].shape[1]
    return build(SimpleCell, size, hidden, weights=arrays, activation=jax.nn.relu)


def _from_conv(entries: Entries) -> ConvLSTMCell:
    ih, hh = PARTS["ConvLSTM"]
    space = entries.space(f"{ih}/w", f"{hh}/w")
    *sizes, hidden, _ = entries.shape(f"{hh}/w", *space, "hidden", "4*hidden")
    arrays = {
        "weight_ih": from_kernel(entries.take(f"{ih}/w", *sizes, "input", 4 * hidden)),
        "weight_hh": from_kernel(entries.take(f"{hh}/w", *sizes, hidden, 4 * hidden)),
        "bias": entries.take(f"{ih}/b", 4 * hidden) + entries.take(f"{hh}/b", 4 * hidden),
    }
    entries.finish("Haiku's ConvLSTM")
    arrays = {name: reorder(stack, "igfo", "ifgo") for name, stack in arrays.items()}
    arrays["bias"] = shift_forget(arrays["bias"], "ifgo", 1)
    return build(ConvLSTMCell, arrays["weight_ih"].shape[1], hidden, sizes, weights=arrays)


@guard
def to_haiku(
    cell: Any, *, prefix: str | None = None, double_bias: bool = True
) -> dict[str, dict[str, Weights]]:
    """The parameters of the Haiku core that computes the same as `cell`.

    **Arguments:**

    - `cell`: an `LSTMCell`, a `GRUCell` with `reset_after=False`, a `SimpleCell` with relu, or a
        `ConvLSTMCell`.
    - `prefix`: the path of the core. `None` means the name that Haiku gives a core at the top.
    - `double_bias`: this option of a `VanillaRNN`.
    """
    owner = "to_haiku"
    check_type(owner, "cell", cell, TYPES)
    if not double_bias and not isinstance(cell, SimpleCell):
        raise ValueError(
            f"{owner}: `double_bias` is an option of a VanillaRNN. Leave it out for "
            f"{type(cell).__name__}."
        )
    if not isinstance(cell, SimpleCell):
        check_options(owner, cell, activation=jnp.tanh, gate_activation=jax.nn.sigmoid)
    bias = bias_or_zeros(cell)
    zeros = np.zeros(bias.shape, bias.dtype)
    if isinstance(cell, LSTMCell):
        check_options(owner, cell, proj_size=None)
        kernels = concatenate([write(cell.weight_ih).T, write(cell.weight_hh).T])
        bias = shift_forget(bias, "ifgo", -1)
        name, modules = (
            "lstm",
            {
                "/linear": {
                    "w": reorder(kernels.T, "ifgo", "igfo").T,
                    "b": reorder(bias, "ifgo", "igfo"),
                }
            },
        )
    elif isinstance(cell, GRUCell):
        check_options(owner, cell, reset_after=False)
        stacks = {"w_i": write(cell.weight_ih), "w_h": write(cell.weight_hh), "b": bias}
        flip = lambda stack: _flip_update(stack, "rzn", "zrn").T
        name, modules = "gru", {"": {key: flip(stack) for key, stack in stacks.items()}}
    elif isinstance(cell, SimpleCell):
        check_options(owner, cell, activation=jax.nn.relu, residual=False)
        second = {"b": zeros} if double_bias else {}
        name, modules = (
            "vanilla_rnn",
            {
                "/linear": {"w": write(cell.weight_ih).T, "b": bias},
                "/linear_1": {"w": write(cell.weight_hh).T} | second,
            },
        )
    else:
        ones = len(cell.kernel_size) * (1,)
        check_options(owner, cell, strides=(ones,), padding="SAME", dilation=(ones,))
        kernel = lambda weight: to_kernel(reorder(write(weight), "ifgo", "igfo"))
        bias = reorder(shift_forget(bias, "ifgo", -1), "ifgo", "igfo")
        name, modules = (
            f"conv{len(ones)}_dlstm",
            {
                "/input_to_hidden": {"w": kernel(cell.weight_ih), "b": bias},
                "/hidden_to_hidden": {"w": kernel(cell.weight_hh), "b": zeros},
            },
        )
    name = name if prefix is None else prefix
    return {f"{name}{module}".removeprefix("/"): values for module, values in modules.items()}
