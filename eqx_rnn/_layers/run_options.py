"""The options of an `RNN` that say how its cell runs."""

import math
from typing import Any

import jax

from .._base.cells import ChunkCell


def check_run(rnn: Any) -> None:
    """Checks the options of an `RNN` that say how its cell runs."""
    for name in ("unroll", "checkpoint", "truncate", "chunk_size"):
        value = getattr(rnn, name)
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            raise ValueError(
                f"RNN: `{name}` must be a number of steps, at least 1, got {value}. Leave it "
                "out, or pass a positive integer."
            )
    is_set = {"scan": rnn.scan != "auto", "chunk_size": rnn.chunk_size is not None}
    is_chunk_cell = lambda node: isinstance(node, ChunkCell)
    if any(is_set.values()) and not any(
        map(is_chunk_cell, jax.tree.leaves(rnn.cell, is_leaf=is_chunk_cell))
    ):
        name = next(name for name, given in is_set.items() if given)
        raise ValueError(
            f"RNN: `{name}` is an option for a `ChunkCell`, got {type(rnn.cell).__name__}, which "
            f"has no `ChunkCell` inside. Leave `{name}` out."
        )


def checkpoint_size(checkpoint: bool | int, num_steps: Any) -> int | None:
    """The number of steps that the backward pass computes again at once."""
    if not isinstance(checkpoint, bool):
        return checkpoint
    if not checkpoint:
        return None
    return max(1, math.isqrt(num_steps)) if isinstance(num_steps, int) else 1
