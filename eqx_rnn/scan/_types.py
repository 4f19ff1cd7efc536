"""What JAX's types say of arrays, and of parts of them: shapes, dtypes, and places on a mesh.

A mesh of devices may have explicit axes: a type says which axes of an array are spread over them.
Or manual ones, within `jax.shard_map`: a type says over which of them values differ.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from ..base import RNNCellBase
from ._steps import Steps


def struct(a: Any) -> jax.ShapeDtypeStruct:
    """What is known of an array."""
    aval = jax.typeof(a)
    return _struct(a, a.shape, aval.sharding.spec)


def one(a: Any) -> jax.ShapeDtypeStruct:
    """What is known of one step of many."""
    return _struct(a, a.shape[1:], jax.typeof(a).sharding.spec[1:])


def many(a: Any, size: int) -> jax.ShapeDtypeStruct:
    """What is known of `size` steps, from one."""
    return _struct(a, (size, *a.shape), (None, *jax.typeof(a).sharding.spec))


def is_spread(a: Any) -> bool:
    """Whether a type says that an array is spread over a mesh."""
    return any(jax.typeof(a).sharding.spec)


def is_partly_manual(a: Any) -> bool:
    """Whether an array varies over some axes of a mesh, and others are left to the compiler.

    The shapes and dtypes that JAX's transformations return do not tell of such.
    """
    return bool(_manual_axes(a)) and AxisType.Auto in jax.typeof(a).sharding.mesh.axis_types


def sharding_of_sum(a: Any, spec: PartitionSpec) -> NamedSharding | None:
    """Where a sum over axes of `a` has to be said to go, if it has to."""
    return NamedSharding(jax.typeof(a).sharding.mesh, spec) if is_spread(a) else None


def align(
    cell: RNNCellBase, carry: PyTree[Array], inputs: Array, initial: PyTree, steps: Steps
) -> tuple[RNNCellBase, PyTree[Array], Array, PyTree, Steps]:
    """The same arrays, of types that stay the same through the loop over time.

    Carries often start as zeros, of which a type says less than of what comes out of a step. And
    weights that all devices share get the sum of the devices' gradients by the transpose of this.
    """
    arrays, others = eqx.partition((cell, carry, inputs, initial, steps), eqx.is_array)
    axes = frozenset().union(*map(_manual_axes, jax.tree.leaves(arrays)))
    arrays = jax.tree.map(lambda a: _vary(a, axes), arrays)
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


def _struct(a: Any, shape: tuple[int, ...], spec: Any) -> jax.ShapeDtypeStruct:
    aval = jax.typeof(a)
    if not (is_spread(a) or _manual_axes(a)):
        return jax.ShapeDtypeStruct(shape, aval.dtype)
    sharding = NamedSharding(aval.sharding.mesh, PartitionSpec(*spec))
    kind = aval.manual_axis_type
    return jax.ShapeDtypeStruct(shape, aval.dtype, sharding=sharding, manual_axis_type=kind)


def _vary(a: Array, axes: frozenset) -> Array:
    missing = tuple(sorted(axes - _manual_axes(a)))
    return lax.pcast(a, missing, to="varying") if missing else a


def _manual_axes(a: Any) -> frozenset:
    return jax.typeof(a).manual_axis_type.varying
