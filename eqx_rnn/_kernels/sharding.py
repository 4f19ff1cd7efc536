"""Types of arrays: shapes, dtypes, and how the arrays are spread over a mesh of devices.

A mesh may have explicit axes: the type of an array says which of its axes are spread over them.
Within `jax.shard_map`, it may have manual axes: the type says over which of them the values vary.
In a JAX whose types lack this information, arrays count as neither spread nor varying.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.lax as lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree


def struct(a: Any) -> jax.ShapeDtypeStruct:
    """The type of an array."""
    return _struct(a, a.shape, spec_of(a))


def struct_of_step(a: Any) -> jax.ShapeDtypeStruct:
    """The type of one step, from an array with a time axis in front."""
    return _struct(a, a.shape[1:], spec_of(a)[1:])


def struct_of_steps(a: Any, size: Any, axis: int = 0) -> jax.ShapeDtypeStruct:
    """The type of `size` steps along a new axis, from the type of one step."""
    insert = lambda sizes, size: (*sizes[:axis], size, *sizes[axis:])
    return _struct(a, insert(a.shape, size), insert(spec_of(a), None))


def type_of(a: Any) -> Any:
    """The shape, dtype and sharding of an array, as JAX compares them; `None` in an old JAX."""
    if not hasattr(jax, "typeof"):
        return None
    try:
        return jax.typeof(a)
    except TypeError:
        return a  # the type of a variable of a jaxpr


def spec_of(a: Any) -> Sequence[Any]:
    """For each axis of an array, the mesh axes that it is spread over, or `None`."""
    return getattr(_sharding_of(a), "spec", ())


def is_spread(a: Any) -> bool:
    """Whether the type of an array says that it is spread over a mesh."""
    return any(spec_of(a))


def manual_axes(a: Any) -> frozenset:
    """The manual axes over which an array varies."""
    kind = getattr(type_of(a), "manual_axis_type", None)
    return getattr(kind, "varying", frozenset())


def is_partly_manual(a: Any) -> bool:
    """Whether an array varies over some axes of a mesh and the compiler handles other axes.

    The results of `jax.eval_shape` and `jax.make_jaxpr` do not show this.
    """
    if not manual_axes(a):
        return False
    return any(kind.name == "Auto" for kind in _sharding_of(a).mesh.axis_types)


def sharding_of_sum(a: Any, spec: Sequence[Any]) -> NamedSharding | None:
    """The sharding of a sum over axes of `a`, if JAX requires it explicitly."""
    return _named(a, spec) if is_spread(a) else None


def spread_as(tree: PyTree[Array], like: Any, spec: Sequence[Any]) -> PyTree[Array]:
    """Spreads each array over the mesh of `like`, its leading axes by `spec`."""
    return jax.tree.map(lambda a: jax.sharding.reshard(a, _named(like, spec[: a.ndim])), tree)


def vary(a: Array, axes: frozenset) -> Array:
    """The same array, with a type that varies over all manual axes in `axes`."""
    missing = tuple(sorted(axes - manual_axes(a)))
    return lax.pcast(a, missing, to="varying") if missing else a


def _sharding_of(a: Any) -> Any:
    return getattr(type_of(a), "sharding", None)


def _named(a: Any, spec: Sequence[Any]) -> NamedSharding:
    return NamedSharding(_sharding_of(a).mesh, PartitionSpec(*spec))


def _struct(a: Any, shape: tuple[Any, ...], spec: Sequence[Any]) -> jax.ShapeDtypeStruct:
    if not (is_spread(a) or manual_axes(a)):
        return jax.ShapeDtypeStruct(shape, a.dtype)
    kind = type_of(a).manual_axis_type
    return jax.ShapeDtypeStruct(shape, a.dtype, sharding=_named(a, spec), manual_axis_type=kind)
