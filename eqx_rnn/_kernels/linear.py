"""A linear function with a custom transpose, for every transformation of JAX.

`jax.custom_vjp` would lose forward mode, and `jax.custom_jvp` would leave the transpose to JAX.
A `custom_jvp` rule that computes its tangents by this primitive has both. Forward mode runs the
function, reverse mode runs the transpose, and other transformations see ordinary JAX code.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters.ad import Zero, instantiate_zeros, primitive_jvps, primitive_transposes
from jax.interpreters.batching import fancy_primitive_batchers
from jax.interpreters.mlir import lower_fun, register_lowering
from jaxtyping import Array

from .sharding import struct, struct_of_steps

_linear_p = Primitive("eqx_rnn_linear")
_linear_p.multiple_results = True


class Derivative(NamedTuple):
    """The derivative of `function(residuals, values)` with respect to `values`.

    The function maps two lists of arrays to a list of arrays. The derivative is taken at the
    residuals with the indices `where`.
    """

    function: Callable[[Sequence, Sequence], list]
    where: tuple[int, ...]

    def __call__(self, residuals: Sequence[Array], tangents: Sequence[Array]) -> list[Array]:
        return jax.jvp(self._of_values(residuals), self._at(residuals), tuple(tangents))[1]

    def transpose(self, residuals: Sequence[Array], cotangents: Sequence[Any]) -> Sequence[Array]:
        """The transpose that JAX derives."""
        outputs, pull = jax.vjp(self._of_values(residuals), *self._at(residuals))
        pairs = zip(outputs, cotangents, strict=True)
        return pull([jnp.zeros_like(y) if d is None else d for y, d in pairs])

    def _of_values(self, residuals: Sequence[Array]) -> Callable[..., list[Array]]:
        return lambda *values: self.function(residuals, list(values))

    def _at(self, residuals: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(residuals[i] for i in self.where)


def linear(
    function: Callable[[Sequence, Sequence], list],
    transpose: Callable[[Sequence, Sequence], Sequence],
    residuals: Sequence[Any],
    arguments: Sequence[Any],
    outputs: Sequence[Any],
) -> list:
    """`function(residuals, arguments)`, linear in `arguments`.

    **Arguments:**

    - `function`: ordinary JAX code, from two lists of arrays to a list of arrays. The
        function of a `Derivative` may use `jax.custom_vjp`: under `jax.vmap`, its own reverse mode
        gives the transpose.
    - `transpose`: from residuals and the cotangents of the outputs (`None` for zero) to those
        of the arguments.
    - `outputs`: arrays or structs with the shapes and dtypes of the outputs.
    """
    return _linear_p.bind(
        *residuals,
        *arguments,
        function=function,
        transpose=transpose,
        num_residuals=len(residuals),
        outputs=tuple(map(struct, outputs)),
    )


def is_zero(tangent: Any) -> bool:
    """Whether a tangent in the rule of a `jax.custom_jvp` with `symbolic_zeros` is zero."""
    return isinstance(tangent, SymbolicZero)


def _run(*args, function, num_residuals, **_):
    return function(list(args[:num_residuals]), list(args[num_residuals:]))


def _jvp(primals, tangents, *, function, num_residuals, **params):
    params = dict(params, function=function, num_residuals=num_residuals)
    residuals, arguments = list(primals[:num_residuals]), list(primals[num_residuals:])
    outputs = _linear_p.bind(*primals, **params)
    terms = []
    if any(type(t) is not Zero for t in tangents[num_residuals:]):
        moved = map(instantiate_zeros, tangents[num_residuals:])
        terms.append(_linear_p.bind(*residuals, *moved, **params))
    moving = [i for i, t in enumerate(tangents[:num_residuals]) if type(t) is not Zero]
    if moving:

        def of_moving(*values):
            return function(_replace(residuals, moving, values), arguments)

        start = tuple(residuals[i] for i in moving)
        terms.append(jax.jvp(of_moving, start, tuple(tangents[i] for i in moving))[1])
    return outputs, [sum(parts[1:], parts[0]) for parts in zip(*terms, strict=True)]


def _transpose(cotangents, *args, transpose, num_residuals, **_):
    cotangents = [None if type(ct) is Zero else ct for ct in cotangents]
    return num_residuals * [None] + list(transpose(list(args[:num_residuals]), cotangents))


def _batch(axis, args, axes, *, function, transpose, num_residuals, outputs):
    if all(a is None for a in axes):
        results = linear(function, transpose, args[:num_residuals], args[num_residuals:], outputs)
        return results, len(results) * [None]
    vmap = functools.partial(jax.vmap, axis_size=axis.size, axis_name=axis.name)
    if axis.spmd_name is not None:
        vmap = functools.partial(vmap, spmd_axis_name=axis.spmd_name)
    to_front = lambda x, a: x if a is None else jnp.moveaxis(x, a, 0)
    args = [to_front(x, a) for x, a in zip(args, axes, strict=True)]
    axes = [None if a is None else 0 for a in axes]
    residuals, arguments = args[:num_residuals], args[num_residuals:]
    residual_axes, argument_axes = axes[:num_residuals], axes[num_residuals:]

    if isinstance(function, Derivative):
        # A value and its tangent get the same axes. A value without the mapped axis, such as the
        # weights in `jax.vmap(rnn)`, gets one cotangent, which is the sum over this axis.
        where = list(function.where)
        for i, k in enumerate(where):
            if residual_axes[k] == argument_axes[i]:
                continue
            if argument_axes[i] is None:
                arguments[i] = jnp.broadcast_to(arguments[i], (axis.size, *arguments[i].shape))
                argument_axes[i] = 0
            else:
                residuals.append(jnp.broadcast_to(residuals[k], (axis.size, *residuals[k].shape)))
                residual_axes.append(0)
                where[i] = len(residuals) - 1
        of_own = lambda residuals, values: function.function(residuals[:num_residuals], values)
        over_axis = vmap(of_own, in_axes=(residual_axes, argument_axes))
        batched = Derivative(over_axis, tuple(where))
    else:
        batched = vmap(function, in_axes=(residual_axes, argument_axes))

    def transpose_each(residuals, cotangents):
        present = [i for i, ct in enumerate(cotangents) if ct is not None]

        def transpose_row(residuals, values):
            row = _replace(len(cotangents) * [None], present, values)
            return list(transpose(residuals[:num_residuals], row))

        over_axis = vmap(transpose_row, in_axes=(residual_axes, 0))
        return over_axis(residuals, [cotangents[i] for i in present])

    if None not in argument_axes:
        batched_transpose = transpose_each
    elif isinstance(batched, Derivative):
        # The cotangent of an argument without the mapped axis is a sum over this axis. JAX's
        # transpose sums directly. `transpose_each` would first compute one cotangent per row.
        batched_transpose = batched.transpose
    else:
        results = batched(residuals, arguments)
        return results, len(results) * [0]
    if getattr(axis, "explicit_mesh_axis", None) is None:
        outputs = [struct_of_steps(output, axis.size) for output in outputs]
    else:
        outputs = jax.eval_shape(batched, residuals, arguments)
    results = linear(batched, batched_transpose, residuals, arguments, outputs)
    return results, len(results) * [0]


def _replace(items, indices, values):
    """`items` with `values` at some indices."""
    items = list(items)
    for i, value in zip(indices, values, strict=True):
        items[i] = value
    return items


_linear_p.def_impl(_run)
_linear_p.def_abstract_eval(lambda *_, outputs, **__: list(map(jax.typeof, outputs)))
register_lowering(_linear_p, lower_fun(_run, multiple_results=True))
primitive_jvps[_linear_p] = _jvp
primitive_transposes[_linear_p] = _transpose
fancy_primitive_batchers[_linear_p] = _batch
