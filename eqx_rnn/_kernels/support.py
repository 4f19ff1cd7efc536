"""Whether the installed JAX has all names that the files of this folder need."""

import functools
import warnings

import jax
import jax.numpy as jnp


@functools.cache
def unsupported() -> str | None:
    """The error that the kernels raise in this JAX, or `None` if they work.

    Tried once per process, on a small product that is traced and lowered but not compiled. The
    first failure gives a warning.
    """
    try:
        _try_kernels()
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        warnings.warn(
            "eqx_rnn: cells run step by step, which is slower, because the factored engine does "
            f"not work with jax {jax.__version__} ({text}). Install a version of JAX that "
            "eqx_rnn was tested with, or set the environment variable EQX_RNN_ENGINE=plain to run "
            "without this warning.",
            RuntimeWarning,
            stacklevel=2,
        )
        return text
    return None


def _try_kernels() -> None:
    """Splits a product, and differentiates, batches and lowers a linear function."""
    from .dots import multiply
    from .hoist import hoist
    from .jaxprs import holds_traced_arrays, ordered_effects, trace
    from .linear import linear

    rows = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    weight = jax.ShapeDtypeStruct((4, 3), jnp.float32)
    aval = jax.typeof(rows)
    _ = aval.sharding.spec, aval.sharding.mesh.axis_types, aval.manual_axis_type.varying

    traced = trace(lambda weights, rows: rows @ weights[0].T, [weight], rows)
    _ = holds_traced_arrays(traced), ordered_effects(traced)
    hoisted = hoist(traced, 1)
    jax.eval_shape(lambda w, rows: hoisted.call(hoisted.prepare([w]), rows), weight, rows)

    double = lambda residuals, values: [2 * values[0]]
    call = lambda row: linear(double, double, [], [row], [row])[0]
    loss = lambda rows, weight: jnp.sum(multiply(jax.vmap(call)(rows), weight, 1))
    gradients = jax.grad(loss, (0, 1))
    jax.jit(gradients).trace(rows, weight).lower(lowering_platforms=("cpu",))
