"""How cells draw their weights and their first carry."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from ._base.cells import RNNCellBase
from ._checks.arguments import guard
from ._checks.functions import check_drawn
from ._checks.messages import as_dtype
from ._dtypes import widest

# The signature of `jax.nn.initializers`: `(key, shape, dtype) -> array`.
Initializer = Callable[..., Any]


def check_options(cell: str, dtype: DTypeLike | None, **sizes: int) -> jnp.dtype:
    """Checks the sizes of a new cell; its weights' dtype, JAX's default one for `None`."""
    for name, size in sizes.items():
        if isinstance(size, bool) or size < 1:
            raise ValueError(f"{cell}: `{name}` must be an integer of at least 1, got {size!r}.")
    if dtype is None:
        return jnp.result_type(float)
    return as_dtype(cell, dtype)


def check_number(cell: str, name: str, number: float | int, *, or_zero: bool = False) -> float:
    """Checks a constant of a new cell's equations: finite and positive, or 0 where it may be."""
    if not math.isfinite(number) or number < 0 or (number == 0 and not or_zero):
        wanted = "0 or positive" if or_zero else "positive"
        raise ValueError(
            f"{cell}: `{name}` must be a finite number, {wanted}, got {number!r}. "
            "Leave it out for the usual one."
        )
    return float(number)


def split_key(cell: str, key: PRNGKeyArray | None, num: int) -> Array:
    """Keys for the parts of a new cell."""
    if key is None:
        raise TypeError(
            f"{cell}: `key` must be a random key for the initial weights, got none. "
            "Pass `key=jax.random.key(seed)`."
        )
    return jr.split(key, num)


def draw(init: Initializer, key: PRNGKeyArray, shape: Sequence[int], dtype: DTypeLike) -> Array:
    """Calls an initialiser in float32 or wider, then casts.

    Some initialisers (`orthogonal`) have no half-precision form, and a rounded float32 draw is
    the better sample anyway.
    """
    array = init(key, tuple(shape), widest(dtype, jnp.float32))
    return check_drawn(init, shape, array).astype(dtype)


def gate_weights(
    init: Initializer,
    key: PRNGKeyArray,
    num_gates: int,
    output_size: int,
    input_size: int,
    dtype: DTypeLike,
    kernel_size: tuple[int, ...] = (),
) -> Float[Array, "{num_gates}*{output_size} {input_size} *kernel"]:
    """One matrix (or convolution kernel) a gate, drawn independently and stacked in rows.

    `init` sees what `jax.nn.initializers` expects, `(*kernel, input, output)` of a single gate,
    so an orthogonal initialiser makes each gate's matrix orthogonal, and a fan-in is a fan-in.
    """
    shape = (*kernel_size, input_size, output_size)
    gates = [draw(init, gate_key, shape, dtype) for gate_key in jr.split(key, num_gates)]
    return jnp.concatenate([jnp.moveaxis(gate, (-1, -2), (0, 1)) for gate in gates])


def gate_biases(
    init: Initializer,
    key: PRNGKeyArray,
    num_gates: int,
    hidden_size: int,
    dtype: DTypeLike,
    offsets: Mapping[int, float | Initializer] = MappingProxyType({}),
) -> Float[Array, "{num_gates}*{hidden_size}"]:
    """The biases of all gates; `offsets[gate]`, a number or drawn, is added to one gate's."""
    bias = draw(init, key, (num_gates * hidden_size,), dtype)
    for gate, offset in offsets.items():
        if callable(offset):
            offset = draw(offset, jr.fold_in(key, gate), (hidden_size,), dtype)
        bias = bias.at[gate * hidden_size : (gate + 1) * hidden_size].add(offset)
    return bias


@guard
def chrono(max_steps: int) -> Initializer:
    """Forget biases for memories of 2 to `max_steps` steps: `log(uniform(1, max_steps - 1))`.

    A unit with the bias `log(t)` forgets `1 / (t + 1)` of its state a step, all else being 0.

    **Arguments:**

    - `max_steps`: the longest dependency to expect, the length of the sequences if in doubt.

    **Raises:** `ValueError` for less than 3 steps.

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
    """One array a feature shape, with the sample's batch axes.

    The dtype is the result type of the sample and the cell's weights, so that a step does not
    change it.
    """
    batch = sample_input.shape[: len(sample_input.shape) - cell.num_feature_dims]
    weights = jax.tree.leaves(eqx.filter(cell, eqx.is_inexact_array))
    # A sample may be a float64 array of NumPy, where JAX has no float64.
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
