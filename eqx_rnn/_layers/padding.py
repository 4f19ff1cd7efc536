"""Sequences of different lengths as one array."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from .._base.hints import Arrays
from .._checks.arguments import guard
from .._checks.messages import describe
from .._kernels.tracers import Tracer


@guard
def pad_sequences(
    sequences: Arrays,
    *,
    length: int | None = None,
    padding_value: float = 0,
    time_major: bool = False,
) -> tuple[Array, Int[Array, " batch"]]:
    """Puts sequences of different lengths into one array, with padding at their ends.

        inputs, lengths = pad_sequences([a, b, c])      # each (time, *features)
        outputs = RNN(cell)(inputs, seq_lengths=lengths)

    **Arguments:**

    - `sequences`: a list or tuple of JAX or NumPy arrays, each `(time, *features)`. Their time
        axes may differ in length, and the length may be 0.
    - `length`: the size of the padded time axis; that of the longest sequence if `None`. A function
        under `jax.jit` compiles again for every new size, so pad all batches to one size.
    - `padding_value`: the number at the padded steps.
    - `time_major`: whether time comes first.

    **Returns:** the pair `(array, lengths)`: an array `(batch, time, *features)`, or `(time, batch,
    *features)` if `time_major`, and the lengths as int32. The dtype is that of the sequences; if
    they have several, the one to which JAX promotes them.
    """
    if not isinstance(sequences, list | tuple):
        raise TypeError(
            "pad_sequences: `sequences` must be a list or tuple of arrays, got "
            f"{describe(sequences)}. Pass one array per sequence, for example `list(sequences)`."
        )
    arrays: list[Any] = list(sequences)
    if len(arrays) == 0:
        raise ValueError(
            "pad_sequences: `sequences` must be one sequence or more, got none, which have no "
            "number of features. Pass at least one."
        )
    features = np.shape(arrays[0])[1:]
    for k, sequence in enumerate(arrays):
        if not isinstance(sequence, jax.Array | np.ndarray) or np.ndim(sequence) == 0:
            raise TypeError(
                f"pad_sequences: `sequences[{k}]` must be a JAX or NumPy array (time, *features), "
                f"got {describe(sequence)}. Convert it first, for example with `np.asarray`."
            )
        if sequence.shape[1:] != features:
            raise ValueError(
                f"pad_sequences: `sequences[{k}]` must have the features of `sequences[0]`, "
                f"{features}, got {describe(sequence)}. Sequences differ in the time axis "
                "only, which is the first one."
            )
    lengths = [sequence.shape[0] for sequence in arrays]
    size = max(lengths) if length is None else length
    if size < max(lengths):
        raise ValueError(
            f"pad_sequences: `length` must be at least {max(lengths)}, the length of the longest "
            f"sequence, got {length}. Cut the sequences first, or pass a larger one."
        )
    dtype = jnp.result_type(*arrays)
    value = _padding(padding_value, dtype)
    # Use NumPy where possible: JAX would compile the padding again for each length.
    xp: Any = jnp if any(isinstance(array, Tracer) for array in arrays) else np

    def pad(sequence: Any) -> Any:
        rows = xp.full((size - sequence.shape[0], *sequence.shape[1:]), value)
        return xp.concatenate([xp.asarray(sequence, dtype), rows])

    array = jnp.asarray(xp.stack([pad(array) for array in arrays], axis=1 if time_major else 0))
    return array, jnp.asarray(lengths, jnp.int32)


def _padding(padding_value: float, dtype: Any) -> np.ndarray:
    """The number at padded steps, of the dtype of the sequences."""
    with np.errstate(all="ignore"):
        value = np.asarray(padding_value).astype(dtype)
    if not (jnp.issubdtype(dtype, jnp.inexact) or value == padding_value):
        raise ValueError(
            f"pad_sequences: `padding_value` must be a number of the dtype {dtype}, got "
            f"{padding_value}. Pass one that this dtype holds, or cast the sequences."
        )
    return value
