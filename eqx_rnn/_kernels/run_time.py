"""An error at run time, which depends on values. It needs Python, so it cannot be exported."""

import inspect
import sys
from typing import Any

import equinox as eqx
import jax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jaxtyping import Array, Bool

_checked_p = Primitive("eqx_rnn_checked")


def error_if(array: Array, condition: Bool[Array, "..."], error: str, not_exported: str) -> Array:
    """As `eqx.error_if`. `jax.export` of a function that uses the array raises `not_exported`."""
    array = eqx.error_if(_checked_p.bind(array, error=not_exported), condition, error)
    if jax.config.jax_check_tracer_leaks:  # pyright: ignore[reportAttributeAccessIssue]
        _forget_locals()
    return array


def _forget_locals() -> None:
    """Empties the copies of local variables that the frames on the stack hold.

    `eqx.error_if` reads `f_locals` of each frame. Before Python 3.13, a frame keeps the copy that
    this makes, with traced arrays in it, and `jax.checking_leaks` finds these. A copy is made anew
    whenever it is read, and the variables themselves stay.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_flags & inspect.CO_OPTIMIZED and type(frame.f_locals) is dict:
            frame.f_locals.clear()
        frame = frame.f_back


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
