"""The semantics of `RNN`, as a loop over single sequences and single steps in NumPy."""

import jax
import numpy as np
from cases import Case, weights


def run(
    case: Case,
    cell,
    inputs,
    *,
    carry=None,
    seq_lengths=None,
    mask=None,
    resets=None,
    reverse=False,
    keep_order=False,
):
    """`(final carry leaves, outputs)` of inputs `(*batch, time, *features)`."""
    inputs = np.asarray(inputs, np.float64)
    num_batch_dims = inputs.ndim - 1 - len(case.features)
    batch, num_steps = inputs.shape[:num_batch_dims], inputs.shape[num_batch_dims]
    sample = jax.ShapeDtypeStruct((*batch, *case.features), inputs.dtype)
    fresh = [np.asarray(a) for a in jax.tree.leaves(cell.initialize_carry(None, sample))]
    start = fresh if carry is None else [np.asarray(leaf) for leaf in jax.tree.leaves(carry)]
    first = [leaf[(0,) * len(batch)] for leaf in fresh]
    _, one_output = case.oracle(weights(cell), first, np.zeros(case.features))
    outputs = np.zeros((*batch, num_steps, *one_output.shape))
    final = [leaf.astype(np.result_type(leaf, np.float64)) for leaf in start]
    for b in np.ndindex(*batch):
        if seq_lengths is not None:
            valid = np.arange(num_steps) < np.asarray(seq_lengths)[b]
        else:
            valid = np.ones(num_steps, bool) if mask is None else np.asarray(mask)[b]
        state = [leaf[b] for leaf in start]
        for t in range(num_steps)[:: -1 if reverse else 1]:
            if not valid[t]:
                continue
            if resets is not None and np.asarray(resets)[b][t]:
                state = [leaf[b] for leaf in fresh]
            state, outputs[(*b, t)] = case.oracle(weights(cell), state, inputs[(*b, t)])
        for leaf, value in zip(final, state, strict=True):
            leaf[b] = value
        if reverse and not keep_order:
            end = np.flatnonzero(valid)[-1] + 1 if valid.any() else 0
            outputs[b][:end] = outputs[b][:end][::-1].copy()
    return final, outputs


def episodes(resets, valid):
    """The steps of each episode of one sequence, without skipped steps."""
    steps = np.flatnonzero(valid)
    parts = np.split(steps, np.flatnonzero(resets[steps]))
    return [part for part in parts if part.size]
