"""The product of a step's inputs or state with a weight."""

from typing import Any

from jaxtyping import Array

from .._checks.arguments import guard
from .._checks.messages import as_array, describe
from .._kernels import products


@guard
def project(weight: Any, x: Any) -> Array:
    """`x @ weight.T`, in the form that is fastest for these shapes.

        project(weight, x)[..., i] = sum_j weight[i, j] x[..., j]

    Use it for the products of your own cells, in any number of batch axes. The result equals
    `x @ weight.T` up to rounding, and so do all derivatives. On a CPU, a step that computes
    `x @ weight.T` of one row makes a transposed copy of the whole weight: with 512 hidden features,
    an LSTM then takes six to nine times as long. For several rows, `project` chooses by their
    number, also within `jax.vmap`, by the sizes of the weight, the dtype and the platform.

    The product with a large float32 weight is a primitive of its own, named `eqx_rnn_product`. A
    `policy` of `jax.checkpoint` that saves products by the names of JAX's primitives does not know
    it, and neither does `jax.experimental.jet`.

    **Arguments:**

    - `weight`: `(out, in)`.
    - `x`: `(*any, in)`.

    **Returns:** `(*any, out)`, in the dtype to which JAX promotes both.

    **Raises:** `ValueError` if `weight` does not have two axes, or if the last axes differ in size.
    """
    weight, x = as_array("project", "weight", weight), as_array("project", "x", x)
    if weight.ndim != 2:
        raise ValueError(
            f"project: `weight` must have two axes, (out, in), got {describe(weight)}. The order "
            "of the arguments is `project(weight, x)`."
        )
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"project: the last axis of `x` must have size {weight.shape[1]}, as the second axis "
            f"of `weight`, got `x` {describe(x)} and `weight` {describe(weight)}. A weight is "
            "stored as (out, in); pass `weight.T` if yours is (in, out)."
        )
    return products.project(weight, x)
