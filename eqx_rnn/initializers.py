"""Initialisers for cells, and the function that draws a cell's first carry."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, DTypeLike, PRNGKeyArray

from ._base.cells import RNNCellBase
from ._checks.arguments import guard
from ._checks.functions import check_drawn
from ._dtypes import widest

# The signature of `jax.nn.initializers`: `(key, shape, dtype) -> array`.
Initializer = Callable[..., Any]


@guard
def chrono(max_steps: int) -> Initializer:
    """Forget biases for memories of 2 to `max_steps` steps: `log(uniform(1, max_steps - 1))`.

    A unit with the bias `log(t)` forgets `1 / (t + 1)` of its state per step, if the inputs and the
    hidden state add nothing to its gate. `JANETCell(..., forget_bias=chrono(100))` draws biases
    of this kind.

    **Arguments:**

    - `max_steps`: the longest dependency to expect. If in doubt, pass the length of the sequences.

    **Raises:** `ValueError` for fewer than 3 steps.

    **Source:** C. Tallec, Y. Ollivier, "Can recurrent neural networks warp time?", ICLR (2018).
    """
    if max_steps < 3:
        raise ValueError(
            f"chrono: `max_steps` must be a number of steps, at least 3, got {max_steps}. Pass the "
            "length of your sequences, or a number for the forget bias."
        )

    def init(key: PRNGKeyArray, shape: Sequence[int], dtype: DTypeLike) -> Array:
        return jnp.log(jr.uniform(key, shape, dtype, 1.0, max_steps - 1.0))

    return init


def draw_carry(
    cell: RNNCellBase,
    init: Initializer,
    key: PRNGKeyArray | None,
    sample_input: Any,
    *feature_shapes: Sequence[Any],
) -> list[Array]:
    """Draws the arrays of a first carry: one per feature shape, with the batch axes of the sample.

    The dtype is the result type of the sample and the cell's weights, so a step keeps it.
    """
    batch = sample_input.shape[: len(sample_input.shape) - cell.num_feature_dims]
    weights = jax.tree.leaves(eqx.filter(cell, eqx.is_inexact_array))
    # A sample may be a float64 NumPy array while float64 is disabled in JAX.
    dtype = widest(jax.dtypes.canonicalize_dtype(sample_input.dtype), *weights)
    keys = len(feature_shapes) * [None] if key is None else jr.split(key, len(feature_shapes))
    shapes = [(*batch, *shape) for shape in feature_shapes]
    try:
        arrays = [init(k, shape, dtype) for k, shape in zip(keys, shapes, strict=True)]
    except Exception as error:
        if key is not None:
            raise
        raise ValueError(
            f"{type(cell).__name__}: `key` must be a random key, because `carry_init` needs one, "
            "got None. Pass `key=jax.random.key(seed)`."
        ) from error
    return [check_drawn(init, shape, array) for shape, array in zip(shapes, arrays, strict=True)]
