"""The time axis, cut into chunks of equal length and a remainder."""

from typing import Any, NamedTuple

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._kernels.sizes import is_known
from .platform import Platform

SHORTEST = 4  # steps
FEWEST_ROWS = 256  # with fewer rows, the products of a chunk are slow


class Piece(NamedTuple):
    """`number` chunks of `size` steps each, from step `start` on.

    In `overlapping` chunks, the first one may start before step 0, or the last one may end after
    the last step. It is then shifted into range, so some of its steps are also in the chunk beside
    it.
    """

    start: int
    number: int
    size: int

    def cut(self, tree: PyTree[Array]) -> PyTree[Array]:
        """Cuts the time axis: `(time, ...)` becomes `(number, size, ...)`."""
        stop = self.start + self.number * self.size
        return jax.tree.map(
            lambda a: a[self.start : stop].reshape(self.number, self.size, *a.shape[1:]), tree
        )

    def chunk(self, tree: PyTree[Array], k: Any) -> PyTree[Array]:
        """The arrays of chunk `k`, without a copy of the other chunks: `(size, ...)`."""
        if self.number == 1:
            return jax.tree.map(lambda a: a[self.start : self.start + self.size], tree)
        start = jnp.maximum(self.start + k * self.size, 0)  # XLA limits it at the other end
        return jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, start, self.size), tree)

    def flatten(self, tree: PyTree[Array]) -> PyTree[Array]:
        """Merges the chunks: `(number, size, ...)` becomes `(time, ...)`."""
        return jax.tree.map(lambda a: a.reshape(self.number * self.size, *a.shape[2:]), tree)


def pieces(num_steps: int, size: int, reverse: bool) -> list[Piece]:
    """The pieces of the time axis, in the order of processing. The last chunk may be shorter.

    A time axis of a symbolic length, as in `jax.export`, is one chunk.
    """
    if not is_known(num_steps):
        return [Piece(0, 1, num_steps)]
    number, rest = divmod(num_steps, size)
    whole = Piece(rest if reverse else 0, number, size)
    remainder = Piece(0 if reverse else number * size, 1, rest)
    return [piece for piece in (whole, remainder) if piece.number * piece.size > 0]


def overlapping(num_steps: int, size: int, reverse: bool) -> Piece:
    """All steps as chunks of one size. The last chunk in the order of the backward pass may overlap
    with the one beside it.
    """
    number = -(-num_steps // size)
    return Piece(0 if reverse else num_steps - number * size, number, size)


def join(results: list[PyTree[Array]], reverse: bool) -> PyTree[Array]:
    """Concatenates pieces of the time axis, which come in the order of processing."""
    if len(results) == 1:
        return results[0]
    if reverse:
        results = results[::-1]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *results)


def best_chunk_size(
    num_steps: int, rows: int, step_bytes: int, weight_bytes: int, platform: Platform
) -> int:
    """The number of steps in a chunk, if one step has `rows` rows and gates of `step_bytes` bytes.

    On a CPU, the gates of a chunk should stay in the processor's cache from their computation to
    the product that uses them. Large weights make chunks longer, because adding up their gradients
    once per chunk takes time. The gates of a chunk should also be small beside the weights or
    beside the arrays that are kept for all steps: a chunk has at most about a fifth of all steps,
    or as many steps as have gates of the size of the weights, or `FEWEST_ROWS` rows. A nearby size
    is taken for which the last chunk lacks the fewest steps. If the gates of all steps are small,
    all steps are one chunk, because cutting arrays into chunks copies them.
    """
    if not is_known(num_steps, rows, step_bytes, weight_bytes):
        return FEWEST_ROWS
    step_bytes = max(step_bytes, 1)
    if num_steps * step_bytes <= 2 * platform.gate_bytes:
        return max(num_steps, 1)
    most = max(num_steps // 5, weight_bytes // step_bytes, FEWEST_ROWS // max(rows, 1), SHORTEST)
    chunk_bytes = max(platform.gate_bytes, weight_bytes // 4)
    target = min(max(chunk_bytes // step_bytes, SHORTEST), most, max(num_steps, 1))
    sizes = range(max(1, target // 2), 2 * target)
    return min(sizes, key=lambda size: (-num_steps % size, abs(size - target), -size))


def best_recomputed_size(num_steps: Any, step_bytes: int, platform: Platform) -> int:
    """The number of steps in a chunk that the backward pass computes again.

    A nearby divisor of the number of steps is taken if there is one, because a remainder is
    compiled as one more loop. If all steps are small, they are one chunk, and nothing is computed
    again.
    """
    if not is_known(num_steps, step_bytes):
        return FEWEST_ROWS
    target = max(platform.chunk_bytes // max(step_bytes, 1), platform.shortest_chunk)
    target = min(target, platform.longest_chunk)
    if num_steps <= 2 * target or num_steps * step_bytes <= platform.one_chunk_bytes:
        return max(num_steps, 1)
    sizes = range(target // 2, 2 * target)
    return min(sizes, key=lambda size: (num_steps % size > 0, abs(size - target)))
