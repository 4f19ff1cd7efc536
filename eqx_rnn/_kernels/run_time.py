"""An error at run time, which depends on values. It needs Python, so it cannot be exported."""

import inspect
import sys
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Bool


def error_if(array: Array, condition: Bool[Array, "..."], error: str, not_exported: str) -> Array:
    """Like `eqx.error_if`. `jax.export` of a function that uses the array raises `not_exported`.

    In a JAX without the names that this function needs, `jax.export` raises JAX's own error.
    """
    marked = array if _checked_p is None else _checked_p.bind(array, error=not_exported)
    array = eqx.error_if(marked, condition, error)
    if getattr(jax.config, "jax_check_tracer_leaks", False):
        _forget_locals()
    return array


def _forget_locals() -> None:
    """Empties the copies of local variables that the frames on the stack hold.

    `eqx.error_if` reads `f_locals` of each frame. Before Python 3.13, this read makes a copy that
    the frame keeps. The copy holds traced arrays, which `jax.checking_leaks` reports. Python makes
    a new copy at each read. The variables themselves do not change.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_flags & inspect.CO_OPTIMIZED and type(frame.f_locals) is dict:
            frame.f_locals.clear()
        frame = frame.f_back


def _lower(ctx: Any, array: Any, *, error: str) -> list[Any]:
    parameters = getattr(ctx.module_context, "lowering_parameters", None)
    if getattr(parameters, "for_export", False):
        raise ValueError(error)
    return [array]


def _batch(args: Any, axes: Any, **params: Any) -> tuple[Any, Any]:
    return _checked_p.bind(*args, **params), axes[0]


def _make_primitive() -> Any:
    """The identity, whose lowering for `jax.export` raises an error; `None` if JAX lacks a name."""
    try:
        from jax.extend.core import Primitive
        from jax.interpreters.batching import primitive_batchers
        from jax.interpreters.mlir import register_lowering

        primitive = Primitive("eqx_rnn_checked")
        primitive.def_impl(lambda array, **_: array)
        primitive.def_abstract_eval(lambda aval, **_: aval)
        register_lowering(primitive, _lower)
        primitive_batchers[primitive] = _batch
    except (ImportError, AttributeError, TypeError):
        return None
    return primitive


_checked_p = _make_primitive()
