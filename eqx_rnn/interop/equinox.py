"""Weights of the cells of `eqx.nn`, which have the same arrays as ours."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import DTypeLike

from .._base.cells import RNNCellBase
from .._cells import GRUCell, LSTMCell
from .._checks.arguments import guard
from .build import build
from .entries import Entries
from .options import check_options, check_type

NAMES = ("weight_ih", "weight_hh", "bias", "bias_n")


@guard
def from_equinox(cell: Any, *, dtype: DTypeLike | None = None) -> RNNCellBase:
    """A cell with the weights of an `eqx.nn.LSTMCell` or `eqx.nn.GRUCell`.

    **Arguments:**

    - `cell`: a single cell; an ensemble made by `jax.vmap` raises an error.
    - `dtype`: the dtype of the new weights. `None` keeps the dtype of the given weights.
    """
    owner = "from_equinox"
    check_type(owner, "cell", cell, (eqx.nn.LSTMCell, eqx.nn.GRUCell))
    is_lstm = isinstance(cell, eqx.nn.LSTMCell)
    size, hidden, rows = cell.input_size, cell.hidden_size, (4 if is_lstm else 3) * cell.hidden_size
    present = {name: getattr(cell, name, None) for name in NAMES}
    present = {name: array for name, array in present.items() if array is not None}
    entries = Entries(owner, present, dtype)
    arrays = {
        "weight_ih": entries.take("weight_ih", rows, size),
        "weight_hh": entries.take("weight_hh", rows, hidden),
    }
    if cell.use_bias:
        arrays["bias"] = entries.take("bias", rows)
        if not is_lstm:
            arrays["bias_n"] = entries.take("bias_n", hidden)
    entries.finish(f"eqx.nn.{type(cell).__name__} with use_bias={cell.use_bias}")
    return build(LSTMCell if is_lstm else GRUCell, size, hidden, weights=arrays)


@guard
def to_equinox(cell: Any) -> Any:
    """The `eqx.nn.LSTMCell` or `eqx.nn.GRUCell` that computes the same as `cell`.

    **Arguments:**

    - `cell`: an `LSTMCell` without projection or a `GRUCell` with `reset_after=True`, with the
        default activations.
    """
    owner = "to_equinox"
    check_type(owner, "cell", cell, (LSTMCell, GRUCell))
    check_options(owner, cell, activation=jnp.tanh, gate_activation=jax.nn.sigmoid)
    if isinstance(cell, LSTMCell):
        check_options(owner, cell, proj_size=None)
        make = eqx.nn.LSTMCell
    else:
        check_options(owner, cell, reset_after=True)
        make = eqx.nn.GRUCell
    target = eqx.filter_eval_shape(
        make, cell.input_size, cell.hidden_size, cell.use_bias, key=jax.random.key(0)
    )
    names = [name for name in NAMES if getattr(cell, name, None) is not None]
    leaves = lambda module: [getattr(module, name) for name in names]
    return eqx.tree_at(leaves, target, leaves(cell))
