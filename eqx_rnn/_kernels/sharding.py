"""What JAX's types say of arrays, and of parts of them: shapes, dtypes, and places on a mesh.

A mesh of devices may have explicit axes: a type says which axes of an array are spread over them.
Or manual ones, within `jax.shard_map`: a type says over which of them values differ.
"""

from typing import Any

import jax
import jax.lax as lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array


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
    return bool(manual_axes(a)) and AxisType.Auto in jax.typeof(a).sharding.mesh.axis_types


def sharding_of_sum(a: Any, spec: PartitionSpec) -> NamedSharding | None:
    """Where a sum over axes of `a` has to be said to go, if it has to."""
    return NamedSharding(jax.typeof(a).sharding.mesh, spec) if is_spread(a) else None


def _struct(a: Any, shape: tuple[int, ...], spec: Any) -> jax.ShapeDtypeStruct:
    aval = jax.typeof(a)
    if not (is_spread(a) or manual_axes(a)):
        return jax.ShapeDtypeStruct(shape, aval.dtype)
    sharding = NamedSharding(aval.sharding.mesh, PartitionSpec(*spec))
    kind = aval.manual_axis_type
    return jax.ShapeDtypeStruct(shape, aval.dtype, sharding=sharding, manual_axis_type=kind)


def vary(a: Array, axes: frozenset) -> Array:
    missing = tuple(sorted(axes - manual_axes(a)))
    return lax.pcast(a, missing, to="varying") if missing else a


def manual_axes(a: Any) -> frozenset:
    return jax.typeof(a).manual_axis_type.varying
