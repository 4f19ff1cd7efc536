"""States of the recurrent modules of PyTorch."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import DTypeLike

from .._cells import LSTMCarry
from .._checks.arguments import guard
from .._checks.messages import describe_tree
from .arrays import as_weights, concatenate, write


@guard
def from_torch_state(
    h_n: Any, c_n: Any = None, *, bidirectional: bool = False, dtype: DTypeLike | None = None
) -> tuple[Any, ...]:
    """The `initial_carry` of a `Stacked` from a state of torch.

    **Arguments:**

    - `h_n`, `c_n`: arrays of shape `(layers*directions, *batch, size)`, layer by layer, forward
        first. Only an LSTM has `c_n`.
    - `bidirectional`: whether there are two directions, which the shapes do not show. A `Stacked`
        raises an error if it gets the state of two directions without this option.
    - `dtype`: the dtype of the carry. `None` keeps the dtype of the given arrays.

    The state of a cell needs no function: pass `LSTMCarry(h, c)`, or `h` itself.
    """
    owner = "from_torch_state"
    if isinstance(h_n, tuple):
        raise TypeError(
            f"{owner}: `h_n` must be an array, got a tuple of {len(h_n)}. Pass `*state` for a pair "
            "`state = (h_n, c_n)`."
        )
    h_n = as_weights(owner, "h_n", h_n, dtype)
    if h_n.ndim < 2 or len(h_n) == 0:
        raise ValueError(
            f"{owner}: `h_n` must have shape (layers*directions, *batch, size), got {h_n.shape}. "
            "A cell's state needs no function: pass `LSTMCarry(h, c)`, or `h` itself."
        )
    parts = [jnp.asarray(h) for h in h_n]
    if c_n is not None:
        c_n = as_weights(owner, "c_n", c_n, dtype)
        if c_n.shape[:-1] != h_n.shape[:-1]:
            raise ValueError(
                f"{owner}: `c_n` must have the shape of `h_n` except for its last axis, got "
                f"{c_n.shape} and {h_n.shape}."
            )
        parts = [LSTMCarry(h, jnp.asarray(c)) for h, c in zip(parts, c_n, strict=True)]
    if not bidirectional:
        return tuple(parts)
    if len(parts) % 2 != 0:
        raise ValueError(
            f"{owner}: `h_n` must have an even first axis with bidirectional=True, got {h_n.shape}."
        )
    return tuple(zip(parts[::2], parts[1::2], strict=True))


@guard
def torch_state(carry: Any) -> Any:
    """torch's `(h_n, c_n)`, or `h_n` alone without LSTMs, from the carry of a `Stacked`.

    The carry of an `RNN` or a `Bidirectional` gives the state of one layer.
    """
    parts = list(_parts(carry))
    kinds = {describe_tree(part) for part in parts}
    if len(kinds) != 1 or not isinstance(parts[0], LSTMCarry | np.ndarray | jax.Array):
        raise ValueError(
            "torch_state: `carry` must be the carry of a `Stacked` whose layers have one kind and "
            f"size, all `LSTMCarry` or all arrays, got {describe_tree(carry)}. A state of torch is "
            "one array or two."
        )
    stack = lambda arrays: concatenate(write(array)[None] for array in arrays)
    if not isinstance(parts[0], LSTMCarry):
        return stack(parts)
    return stack(part.hidden for part in parts), stack(part.cell for part in parts)


def _parts(carry: Any) -> Iterator[Any]:
    if type(carry) not in (tuple, list):
        yield carry
    else:
        for part in carry:
            yield from _parts(part)
