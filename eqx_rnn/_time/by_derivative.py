"""Two forms of one recurrence: one is faster, the other has the better derivative."""

from collections.abc import Callable
from typing import Any

import jax
import jax.lax as lax

Form = Callable[[Any, Any], Any]


def by_derivative(steps: Form, blocks: Form, method: str) -> Form:
    """`blocks` where a derivative is taken or the platform is no CPU, and `steps` elsewhere.

    Both are functions of two PyTrees of arrays, of which the second contains masks.
    """
    if method == "associative":
        return blocks

    @jax.custom_jvp
    def run(arrays: Any, masks: Any) -> Any:
        if method == "sequential":
            return steps(arrays, masks)
        return lax.platform_dependent(arrays, masks, cpu=steps, default=blocks)

    def rule(primals: Any, tangents: Any) -> Any:
        from .._kernels.linear import is_zero

        arrays, masks = primals
        leaves, tree = jax.tree.flatten(arrays)
        tangents = jax.tree.leaves(tangents[0], is_leaf=is_zero)
        moving = [i for i, t in enumerate(tangents) if not is_zero(t)]

        def of_moving(*values: Any) -> Any:
            own = list(leaves)
            for i, value in zip(moving, values, strict=True):
                own[i] = value
            return blocks(tree.unflatten(own), masks)

        start = tuple(leaves[i] for i in moving)
        return jax.jvp(of_moving, start, tuple(tangents[i] for i in moving))

    run.defjvp(rule, symbolic_zeros=True)
    return run
