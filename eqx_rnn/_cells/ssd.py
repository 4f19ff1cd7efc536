from typing import Unpack

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._time import Advanced, State, Time
from .heads import MatrixOptions, OneMatrixCell, join_heads


class SSDCell(OneMatrixCell):
    """State space duality (SSD), the recurrence of Mamba-2: a matrix per head with one decay.

        S' = exp(log_decay) S + B x^T             rows of S: one state of all features
        y = S'^T C

    per head. The inputs are C, B, x and log_decay, joined, each with the features of the first head
    (or group) first. C and B are shared by the heads of a group, which are consecutive.

    **Shapes:** inputs `(*batch, input_size)`, whose parts have `num_groups * state_size`,
    `num_groups * state_size`, `num_heads * head_size` and `num_heads` features; carry
    `(*batch, num_heads, state_size, head_size)`; outputs `(*batch, num_heads * head_size)`.

    **Source:** T. Dao, A. Gu, "Transformers are SSMs: generalized models and efficient algorithms
    through structured state space duality", ICML, arXiv:2405.21060 (2024). The time step is no part
    of this cell: it belongs to x and log_decay, as in the arguments `X` and `A` of the authors'
    `ssd_minimal_discrete` (state-spaces). The state there is `(num_heads, head_size, state_size)`.
    """

    num_groups: int = eqx.field(static=True)
    _derived = ("input_size", "hidden_size", "key_size", "value_size")

    @property
    def head_size(self) -> int:
        """The number of features per head."""
        return self.value_size

    @property
    def state_size(self) -> int:
        """The number of states per feature."""
        return self.key_size

    def __init__(
        self,
        num_heads: int,
        head_size: int,
        state_size: int,
        *,
        num_groups: int | None = None,
        **options: Unpack[MatrixOptions],
    ):
        """**Arguments:** `carry_init`, as for every cell, and

        - `num_heads`, `head_size`: the number of heads, and of features per head.
        - `state_size`: the number of states per feature.
        - `num_groups`: the number of groups of heads, a divisor of `num_heads`. `None` means one
            group per head.
        """
        self.num_groups = num_heads if num_groups is None else num_groups
        self._setup_heads(num_heads, state_size, head_size, options, num_groups=num_groups)
        check_groups("SSDCell", self.num_groups, num_heads)

    @property
    def _parts(self) -> tuple[tuple[int, int], ...]:
        group, head = (self.num_groups, self.key_size), (self.num_heads, self.value_size)
        return group, group, head, (self.num_heads, 1)

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.output_size}"]]:
        state, y = self.advance(carry, *self._split(inputs), time=time)
        return state, join_heads(y)

    def advance(
        self, state: State, c: Array, b: Array, x: Array, log_decay: Array, time: Time
    ) -> tuple[Advanced, Array]:
        """The new part of the carry and y, from arrays `(steps, *batch, groups or heads, size)`."""
        return time.matrix(state, self._per_head(c), self._per_head(b), x, log_decay)

    def _per_head(self, a: Array) -> Array:
        """Repeats the array of each group, unless broadcasting does."""
        if self.num_groups in (1, self.num_heads):
            return a
        return jnp.repeat(a, self.num_heads // self.num_groups, axis=-2)


def check_groups(owner: str, num_groups: int, num_heads: int) -> None:
    """Checks that all groups have the same number of heads."""
    if num_heads % num_groups:
        raise ValueError(
            f"{owner}: `num_groups` must divide `num_heads`, got {num_groups} groups for "
            f"num_heads={num_heads}. Change one of the two."
        )
