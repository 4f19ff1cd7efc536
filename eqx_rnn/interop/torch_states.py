"""States of PyTorch's recurrent modules."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import DTypeLike

from ..cells import LSTMCarry
from ._entries import as_weights, concatenate, write


def from_torch_state(
    h_n: Any, c_n: Any = None, *, bidirectional: bool = False, dtype: DTypeLike | None = None
) -> tuple[Any, ...]:
    """The `initial_carry` of a `Stacked` from torch's state: layer by layer, forward first.

    **Arguments:**

    - `h_n`, `c_n`: of shape `(layers*directions, *batch, size)`; `c_n` is an LSTM's.
    - `bidirectional`: whether there are two directions, which the shapes do not show.
    - `dtype`: what to cast to; `None` keeps the arrays' own.

    (A cell's state is no such stack: `LSTMCarry(h, c)`, or `h` itself.)
    """
    owner = "from_torch_state"
    h_n = as_weights(owner, "h_n", h_n, dtype)
    parts = [jnp.asarray(h) for h in h_n]
    if c_n is not None:
        c_n = as_weights(owner, "c_n", c_n, dtype)
        if c_n.shape[:-1] != h_n.shape[:-1]:
            raise ValueError(
                f"{owner}: `c_n` must have the shape of `h_n` but for its last axis, got "
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


def torch_state(carry: tuple[Any, ...]) -> Any:
    """torch's `(h_n, c_n)`, or `h_n` alone without LSTMs, from the carry of a `Stacked`."""
    is_pair = lambda part: isinstance(part, tuple) and not isinstance(part, LSTMCarry)
    parts = [part for layer in carry for part in (layer if is_pair(layer) else (layer,))]
    stack = lambda arrays: concatenate(write(array)[None] for array in arrays)
    if not all(isinstance(part, LSTMCarry) for part in parts):
        return stack(parts)
    return stack(part.hidden for part in parts), stack(part.cell for part in parts)
