"""The reasons why the plain scan runs a `FactoredCell`. Each completes "because ..."."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..._base.gates import map_gates
from ..._kernels.jaxprs import Traced, holds_traced_arrays, ordered_effects
from ..._kernels.sharding import is_partly_manual, is_spread, struct
from ..steps import Steps


def refuse_inputs(num_feature_dims: int, inputs: Array, steps: Steps) -> str | None:
    """The reason that follows from inputs and steps, if any."""
    if inputs.shape[0] == 0:
        return "there are no time steps"
    if steps.cuts is not None:
        return "`truncate` cuts gradients along a time axis of symbolic length"
    if is_partly_manual(inputs):
        return (
            "`jax.shard_map` leaves some axes of the mesh to the compiler. Name all axes of the "
            "mesh in its `axis_names`"
        )
    if num_feature_dims > 1 and is_spread(inputs):
        return (
            "the inputs are spread over an explicit axis of a mesh and have more than one feature "
            "axis. Use a mesh with axes of type `AxisType.Auto`"
        )
    return None


def refuse_parts(
    parts: dict[str, list[Traced]],
    carry: PyTree,
    gates: PyTree,
    from_input: PyTree,
    from_hidden: PyTree,
) -> str | None:
    """The reason that follows from the traced parts of a cell, if any."""
    sums = {"project_input": from_input, "project_hidden": from_hidden}
    for name, tree in sums.items():
        if not jax.tree.leaves(tree):
            return f"`{name}` returns no arrays, so there is no product to move out of the loop"
    for name, traces in parts.items():
        if any(map(holds_traced_arrays, traces)):
            return (
                f"`{name}` uses a traced array that is not a leaf of the cell. Pass functions "
                "with parameters, such as activations, as `eqx.Module`s"
            )
        effects = [effect for traced in traces for effect in ordered_effects(traced)]
        if effects:
            return f"`{name}` has the effect {effects[0]}, which must happen at each step in order"
    new_carry, outputs = parts["update"][-1].results
    if jax.tree.map(struct, new_carry) != carry:
        return "a step changes the sharding of the carry"
    for name, tree in (("carry", carry), ("gates", gates), ("outputs", outputs)):
        for leaf in jax.tree.leaves(tree):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return (
                    f"an array in the {name} has dtype {leaf.dtype}, and the factored engine is "
                    "for real floating-point numbers"
                )
    for name, tree in sums.items():
        if not _same_shapes(tree, gates):
            return (
                f"the sum of the gates broadcasts an array that `{name}` returns. Return all gates "
                "in their full shape"
            )
    return None


def _same_shapes(part: Any, gates: Any) -> bool:
    same = map_gates(lambda p, g: p is None or p.shape == g.shape, part, gates)
    return all(jax.tree.leaves(same))
