"""Gives arrays the types that they keep through the loop over time."""

import equinox as eqx
import jax
from jaxtyping import Array, PyTree

from .._base.cells import RNNCellBase
from .._kernels.sharding import is_spread, manual_axes, spec_of, spread_as, vary
from .steps import Steps


def align(
    cell: RNNCellBase, carry: PyTree[Array], inputs: Array, initial: PyTree, steps: Steps
) -> tuple[RNNCellBase, PyTree[Array], Array, PyTree, Steps]:
    """The same arrays, with types that a step does not change.

    A carry often starts as zeros. The type of zeros does not say that they are spread over devices,
    but the type of the carry after a step does. The transpose of this function sums the gradients
    of all devices for weights that the devices share.
    """
    arrays, others = eqx.partition((cell, carry, inputs, initial, steps), eqx.is_array)
    axes = frozenset().union(*map(manual_axes, jax.tree.leaves(arrays)))
    arrays = jax.tree.map(lambda a: vary(a, axes), arrays)
    if is_spread(inputs):
        spec, num_batch_axes = spec_of(inputs), inputs.ndim - 1 - cell.num_feature_dims
        cell, carry, _, initial, (valid, resets, *whole) = arrays
        carry, initial = spread_as((carry, initial), inputs, spec[1 : 1 + num_batch_axes])
        valid, resets = spread_as((valid, resets), inputs, spec)
        cell = jax.tree.map(lambda a: spread_as(a, inputs, spec_of(a)), cell)
        arrays = cell, carry, inputs, initial, Steps(valid, resets, *whole)
    return eqx.combine(arrays, others)
