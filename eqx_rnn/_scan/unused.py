"""A given carry that no step reads, because a reset replaces it or because all steps are skipped.

The values in such a carry must have no effect, even if they are NaN. The plain scan and the
factored engine select the carry of each step. A chunk of a linear recurrence multiplies its first
carry by derivatives that are zero, so an unused carry is replaced before the first chunk.
"""

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from .._select import select
from .skipped import Substitute, first_valid_step
from .steps import Steps


def replace_unused(
    carry: PyTree[Array],
    initial: PyTree[Array] | None,
    steps: Steps,
    substitute: Substitute | None,
    reverse: bool,
) -> PyTree[Array]:
    """`carry`, with a harmless carry in the rows whose carry no step reads."""
    valid, resets, *_ = steps
    if substitute is None or valid is None:
        if resets is None:
            return carry
        return select(resets[-1 if reverse else 0], lax.stop_gradient(initial), carry)
    at_first, is_read = first_valid_step(valid, reverse)
    if resets is not None:
        is_read = is_read & ~at_first(resets)
    return select(is_read, carry, substitute.carry)


def restore_unused(
    given: PyTree[Array],
    final: PyTree[Array],
    carries: PyTree[Array] | None,
    valid: Bool[Array, "time *batch"] | None,
    reverse: bool,
) -> tuple[PyTree[Array], PyTree[Array] | None]:
    """The final carry and the carries, with the given carry until the first valid step of a row."""
    if valid is None:
        return final, carries
    cast = lambda a, like: a.astype(like.dtype)
    final = select(jnp.any(valid, 0), final, jax.tree.map(cast, given, final))
    if carries is not None:
        has_begun = lax.cummax(valid.astype(jnp.int32), reverse=reverse) > 0
        spread = lambda a, like: jnp.broadcast_to(a.astype(like.dtype), like.shape)
        carries = select(has_begun, carries, jax.tree.map(spread, given, carries))
    return final, carries
