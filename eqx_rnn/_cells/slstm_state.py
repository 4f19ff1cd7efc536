"""The carry and the gates of an sLSTM."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from .base import Gate


class SLSTMMemory(NamedTuple):
    """The memory of an sLSTM, `cell / normaliser`. Both are stored divided by `exp(stabiliser)`."""

    cell: Gate
    normaliser: Gate
    stabiliser: Gate

    def mix(self, other: "SLSTMMemory", share: Any) -> "SLSTMMemory":
        """`share` of this memory and `1 - share` of the other, as if stored without stabiliser."""
        # A step with the forget gate `share` and the input gate `1 - share`, so n stays >= 1.
        log_f, log_i = (jnp.log(s).astype(self.cell.dtype) for s in (share, 1 - share))
        stabiliser, keep, take = weigh(self, log_f, log_i + other.stabiliser)
        cell = keep * self.cell + take * other.cell
        return SLSTMMemory(cell, keep * self.normaliser + take * other.normaliser, stabiliser)


def weigh(memory: SLSTMMemory, log_f: Array, log_i: Array) -> tuple[Array, Array, Array]:
    """The new stabiliser, and the stabilised factors of the memory and of the candidate.

    Without the `where`, a first step with a small input gate would compute c' / n' as 0 / 0: m'
    would be log f, and exp(log i - m') would round to 0. With the `where`, m' = log i, so
    n' = exp(0) = 1. In every later step, one of the two exponents is 0 and no factor is negative.
    So n' >= 1 if n >= 1, and h' is o times a weighted mean of the candidates so far.
    """
    m = jnp.where(memory.normaliser == 0, -jnp.inf, memory.stabiliser)
    stabiliser = jnp.maximum(log_f + m, log_i)
    return stabiliser, jnp.exp(log_f + m - stabiliser), jnp.exp(log_i - stabiliser)


class SLSTMCarry(NamedTuple):
    """The state of an sLSTM: the output `hidden` and the `memory`."""

    hidden: Gate
    memory: SLSTMMemory


class SLSTMGates(NamedTuple):
    """Pre-activations of the input and forget gate, the candidate and the output gate."""

    i: Gate
    f: Gate
    z: Gate
    o: Gate
