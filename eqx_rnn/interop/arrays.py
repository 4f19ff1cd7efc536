"""Arrays of other frameworks as arrays of NumPy or JAX, and back."""

from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike

from .._checks.messages import describe
from .._kernels.tracers import Tracer

# Under a transformation they are JAX arrays, so `from_...` and `to_...` are differentiable.
Weights = np.ndarray | Array


def as_weights(owner: str, name: str, value: Any, dtype: DTypeLike | None) -> Weights:
    """An array of a dtype that JAX keeps, from any argument of `np.asarray` or a torch tensor."""
    if not isinstance(value, Tracer):
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            # torch cannot convert bfloat16, which NumPy lacks. float32 represents it exactly.
            is_bfloat16 = str(value.dtype) == "torch.bfloat16"
            value = value.float().numpy().astype(jnp.bfloat16) if is_bfloat16 else value.numpy()
        array = np.asarray(value)
        if array.dtype == object:
            raise TypeError(
                f"{owner}: `{name}` must be an array, got {type(value).__name__}. Pass the arrays "
                "themselves, without boxes around them."
            )
        value = array
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(
            f"{owner}: `{name}` must be a floating-point array, got {describe(value)}. Convert "
            "quantised weights to floating point first."
        )
    if dtype is not None:
        value = value.astype(dtype)
    if jax.dtypes.canonicalize_dtype(value.dtype) != value.dtype:
        raise TypeError(
            f"{owner}: `{name}` must have a dtype that JAX keeps, got {describe(value)}. Pass "
            '`dtype=jnp.float32`, or set `jax.config.update("jax_enable_x64", True)`.'
        )
    return value


def write(array: Any) -> Weights:
    """A NumPy copy of a cell's array, which the caller may change."""
    return array if isinstance(array, Tracer) else np.array(array)


def concatenate(parts: Iterable[Weights]) -> Weights:
    """`np.concatenate`, or `jnp.concatenate` for traced arrays."""
    parts = list(parts)
    traced = any(isinstance(part, Tracer) for part in parts)
    return (jnp if traced else np).concatenate(parts)


def require(value: Weights, wrong: Any, message: str) -> Weights:
    """Returns `value`, or raises an error if `wrong` is true: at run time if it is traced."""
    if isinstance(wrong, Tracer):
        return eqx.error_if(value, wrong, message)
    if wrong:
        raise ValueError(message)
    return value
