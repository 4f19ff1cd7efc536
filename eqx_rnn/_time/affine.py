"""A recurrence that is affine in the state, elementwise, with a written derivative.

The derivative of `h' = step(coefficients, h)` is a recurrence of the same kind,

    dh' = decay(coefficients) dh + source
    source = (d step / d coefficients) d coefficients

and the transpose of this recurrence runs it backward. XLA runs these two loops, and the products
that make sources, about twice as fast as the derivative that JAX takes of the loop itself. Only the
coefficients and the states are kept.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array

from .._kernels.support import unsupported
from .._select import select
from .history import shift
from .recurrences import Run, Steps, in_sequence, step_linear


class Affine(NamedTuple):
    """A step `step(*coefficients, h)` and its derivative with respect to `h`."""

    step: Callable[..., Array]
    decay: Callable[..., Array]


LINEAR = Affine(step_linear, lambda a, b: a)
BLEND = Affine(lambda z, c, h: h + z * (c - h), lambda z, c: 1 - z)


def run_affine(
    kind: Affine,
    coefficients: Sequence[Array],
    now: Array,
    first: Array,
    safe: Array,
    valid: Steps,
    resets: Steps,
    num_steps: Any,
) -> Run:
    """Runs all steps. A coefficient that is the same at all steps has the rank of the state."""
    rank = now.ndim
    if unsupported() is not None or (isinstance(num_steps, int) and num_steps == 1):
        moving, at_step = split(coefficients, rank)
        step = lambda h, xs: kind.step(*at_step(xs), h)
        return in_sequence(step, now, first, safe, moving, valid, resets, num_steps)
    held = _differentiable(kind, rank)(list(coefficients), now, first, valid, resets)
    from_safe = None if valid is None else kind.step(*_by_step(coefficients, rank), safe[None])
    return Run(held[-1], held, select(valid, held, from_safe))


def _differentiable(kind: Affine, rank: int) -> Callable[..., Array]:
    """The states after all steps, as a function of coefficients, `now` and `first`."""

    @jax.custom_jvp
    def run(coefficients: list[Array], now: Array, first: Array, valid: Steps, resets: Steps):
        moving, at_step = split(coefficients, rank)

        def step(h: Array, xs: Any):
            x, valid, reset = xs
            start = h if reset is None else select(reset, first, h)
            new = select(valid, kind.step(*at_step(x), start), h)
            return new, new

        return lax.scan(step, now, (moving, valid, resets))[1]

    def rule(primals: Any, tangents: Any):
        from .._kernels.linear import is_zero, linear

        coefficients, now, first, valid, resets = primals
        d_coefficients, d_now, d_first, *_ = tangents
        held = run(*primals)
        before = shift(now, first, held, resets)
        which = [i for i, d in enumerate(d_coefficients) if not is_zero(d)]

        def of_moving(*moving: Array) -> Array:
            own = list(coefficients)
            for i, c in zip(which, moving, strict=True):
                own[i] = c
            return jnp.broadcast_to(kind.step(*_by_step(own, rank), before), held.shape)

        source = jnp.zeros_like(held)
        if which:
            at = tuple(coefficients[i] for i in which), tuple(d_coefficients[i] for i in which)
            source = jax.jvp(of_moving, at[0], at[1])[1]
        starts = [jnp.zeros_like(now) if is_zero(d_now) else d_now]
        if resets is not None:
            starts.append(jnp.zeros_like(first) if is_zero(d_first) else d_first)
        masks = [m for m in (valid, resets) if m is not None]
        has = valid is not None, resets is not None
        along, back = _derivative(kind, rank, len(coefficients), has)
        residuals = [*coefficients, *masks]
        return held, linear(along, back, residuals, [source, *starts], [held])[0]

    run.defjvp(rule, symbolic_zeros=True)
    return run


def _derivative(
    kind: Affine, rank: int, number: int, has: tuple[bool, bool]
) -> tuple[Callable, Callable]:
    """The recurrence of the tangents, and its transpose.

    They outlive the trace, so they get all arrays as residuals: `number` coefficients, then the
    masks that there are.
    """

    def unpack(residuals: Sequence[Array]) -> tuple[list[Array], Steps, Steps]:
        masks = iter(residuals[number:])
        valid, resets = (next(masks) if present else None for present in has)
        return list(residuals[:number]), valid, resets

    def along(residuals: Sequence[Array], arguments: Sequence[Array]) -> list[Array]:
        coefficients, valid, resets = unpack(residuals)
        moving, at_step = split(coefficients, rank)
        source, now, *first = arguments

        def step(dh: Array, xs: Any):
            x, source, valid, reset = xs
            start = dh if reset is None else select(reset, first[0], dh)
            new = select(valid, kind.decay(*at_step(x)) * start + source, dh)
            return new, new

        return [lax.scan(step, now, (moving, source, valid, resets))[1]]

    def back(residuals: Sequence[Array], cotangents: Sequence[Any]) -> list[Array]:
        coefficients, valid, resets = unpack(residuals)
        moving, at_step = split(coefficients, rank)
        (d_held,) = cotangents
        zeros = jnp.zeros_like(d_held[0])

        def step(state: Any, xs: Any):
            d_after, d_first = state
            x, d, valid, reset = xs
            d = d_after + d
            d_new = select(valid, d, 0)
            d_start = kind.decay(*at_step(x)) * d_new
            d_before = d_start
            if reset is not None:
                d_before = select(~reset, d_start, 0)
                d_first = d_first + select(reset, d_start, 0)
            if valid is not None:
                d_before = d_before + select(~valid, d, 0)
            return (d_before, d_first), d_new

        state = zeros, None if resets is None else zeros
        xs = moving, d_held, valid, resets
        (d_now, d_first), d_source = lax.scan(step, state, xs, reverse=True)
        return [d_source, d_now] + ([] if d_first is None else [d_first])

    return along, back


def split(coefficients: Sequence[Array], rank: int) -> tuple[list, Callable]:
    """The coefficients that differ from step to step, and a function from them to all, per step."""
    moving = [c if c.ndim > rank else None for c in coefficients]
    fixed = [None if c.ndim > rank else c for c in coefficients]
    return moving, lambda xs: [f if x is None else x for f, x in zip(fixed, xs, strict=True)]


def _by_step(coefficients: Sequence[Array], rank: int) -> list[Array]:
    return [c if c.ndim > rank else c[None] for c in coefficients]
