"""Types of arrays that stay the same through the loop over time."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from .._base.cells import RNNCellBase
from .._kernels.sharding import is_spread, manual_axes, vary
from .steps import Steps


def align(
    cell: RNNCellBase, carry: PyTree[Array], inputs: Array, initial: PyTree, steps: Steps
) -> tuple[RNNCellBase, PyTree[Array], Array, PyTree, Steps]:
    """The same arrays, of types that stay the same through the loop over time.

    Carries often start as zeros, of which a type says less than of what comes out of a step. And
    weights that all devices share get the sum of the devices' gradients by the transpose of this.
    """
    arrays, others = eqx.partition((cell, carry, inputs, initial, steps), eqx.is_array)
    axes = frozenset().union(*map(manual_axes, jax.tree.leaves(arrays)))
    arrays = jax.tree.map(lambda a: vary(a, axes), arrays)
    if is_spread(inputs):
        mesh, spec = jax.typeof(inputs).sharding.mesh, jax.typeof(inputs).sharding.spec
        num_batch_axes = inputs.ndim - 1 - cell.num_feature_dims

        def spread(tree: PyTree[Array], spec: Sequence[Any]) -> PyTree[Array]:
            place = lambda a: NamedSharding(mesh, PartitionSpec(*spec[: a.ndim]))
            return jax.tree.map(lambda a: jax.sharding.reshard(a, place(a)), tree)

        cell, carry, _, initial, (valid, resets, *not_of_rows) = arrays
        carry, initial = spread((carry, initial), spec[1 : 1 + num_batch_axes])
        valid, resets = spread((valid, resets), spec)
        cell = jax.tree.map(lambda a: spread(a, jax.typeof(a).sharding.spec), cell)
        arrays = cell, carry, inputs, initial, Steps(valid, resets, *not_of_rows)
    return eqx.combine(arrays, others)
