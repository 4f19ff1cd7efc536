"""An array that an exported function cannot have, because its check needs Python."""

from typing import Any

from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jaxtyping import Array

_checked_p = Primitive("eqx_rnn_checked")


def not_exportable(array: Array, error: str) -> Array:
    """The same array. `jax.export` of a function that uses it raises a `ValueError`."""
    return _checked_p.bind(array, error=error)


def _lower(ctx: Any, array: Any, *, error: str) -> list[Any]:
    if getattr(ctx.module_context.lowering_parameters, "for_export", False):
        raise ValueError(error)
    return [array]


def _batch(args: Any, axes: Any, **params: Any) -> tuple[Any, Any]:
    return _checked_p.bind(*args, **params), axes[0]


_checked_p.def_impl(lambda array, **_: array)
_checked_p.def_abstract_eval(lambda aval, **_: aval)
mlir.register_lowering(_checked_p, _lower)
batching.primitive_batchers[_checked_p] = _batch
