"""A linear function that brings its own transpose, for every transformation of JAX.

`jax.custom_vjp` would lose forward mode, and `jax.custom_jvp` would leave the transpose to JAX.
A `custom_jvp` rule that returns the tangents through this primitive has both: forward mode runs
`fun`, reverse mode runs `transpose`, and both are ordinary JAX code to everything above.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_linear_p = Primitive("eqx_rnn_linear")
_linear_p.multiple_results = True


def linear(
    fun: Callable[..., list],
    transpose: Callable[[Sequence, Sequence], Sequence],
    residuals: Sequence[Any],
    arguments: Sequence[Any],
    outputs: Sequence[Any],
) -> list:
    """`fun(*residuals, *arguments)`, linear in `arguments`.

    **Arguments:**

    - `fun`: ordinary JAX code, from arrays to a list of arrays.
    - `transpose`: from residuals and the cotangents of the outputs (`None` for zero) to those
        of the arguments.
    - `outputs`: anything with the outputs' shapes and dtypes.
    """
    return _linear_p.bind(
        *residuals,
        *arguments,
        fun=fun,
        transpose=transpose,
        num_residuals=len(residuals),
        out_avals=tuple(jax.typeof(out) for out in outputs),
    )


def _run(*args, fun, **_):
    return fun(*args)


def _jvp(primals, tangents, *, fun, num_residuals, **params):
    params = dict(params, fun=fun, num_residuals=num_residuals)
    residuals, arguments = primals[:num_residuals], primals[num_residuals:]
    outputs = _linear_p.bind(*primals, **params)
    parts = []
    if any(type(t) is not ad.Zero for t in tangents[num_residuals:]):
        moved = map(ad.instantiate_zeros, tangents[num_residuals:])
        parts.append(_linear_p.bind(*residuals, *moved, **params))
    which = [i for i, t in enumerate(tangents[:num_residuals]) if type(t) is not ad.Zero]
    if which:

        def in_residuals(*moved):
            values = dict(zip(which, moved, strict=True))
            full = [values.get(i, r) for i, r in enumerate(residuals)]
            return fun(*full, *arguments)

        start = tuple(residuals[i] for i in which)
        parts.append(jax.jvp(in_residuals, start, tuple(tangents[i] for i in which))[1])
    return outputs, [sum(terms[1:], terms[0]) for terms in zip(*parts, strict=True)]


def _transpose(cotangents, *args, transpose, num_residuals, **_):
    given = [None if type(ct) is ad.Zero else ct for ct in cotangents]
    return num_residuals * [None] + list(transpose(args[:num_residuals], given))


def _batch(args, axes, *, fun, transpose, num_residuals, **_):
    size = next(x.shape[a] for x, a in zip(args, axes, strict=True) if a is not None)
    if None in axes[num_residuals:]:
        # What has no axis, as weights have none in `jax.vmap(rnn)`, gets one cotangent, a sum over
        # the axis. JAX's transpose forms it at once; ours would be run for each, and then summed.
        outputs = jax.vmap(fun, in_axes=tuple(axes), axis_size=size)(*args)
        return outputs, len(outputs) * [0]
    residuals, arguments = args[:num_residuals], args[num_residuals:]
    residual_axes = tuple(axes[:num_residuals])
    arguments = [
        jnp.moveaxis(x, a, 0) for x, a in zip(arguments, axes[num_residuals:], strict=True)
    ]

    def batched_transpose(residuals, cotangents):
        which = [i for i, ct in enumerate(cotangents) if ct is not None]

        def one(residuals, given):
            values = dict(zip(which, given, strict=True))
            return transpose(residuals, [values.get(i) for i in range(len(cotangents))])

        given = [cotangents[i] for i in which]
        over = (list(residual_axes), 0)
        return jax.vmap(one, in_axes=over, axis_size=size)(list(residuals), given)

    in_axes = (*residual_axes, *len(arguments) * (0,))
    batched = jax.vmap(fun, in_axes=in_axes, axis_size=size)
    shapes = jax.eval_shape(batched, *residuals, *arguments)
    outputs = linear(batched, batched_transpose, residuals, arguments, shapes)
    return outputs, len(outputs) * [0]


_linear_p.def_impl(_run)
_linear_p.def_abstract_eval(lambda *_, out_avals, **__: list(out_avals))
mlir.register_lowering(_linear_p, mlir.lower_fun(_run, multiple_results=True))
ad.primitive_jvps[_linear_p] = _jvp
ad.primitive_transposes[_linear_p] = _transpose
batching.primitive_batchers[_linear_p] = _batch
