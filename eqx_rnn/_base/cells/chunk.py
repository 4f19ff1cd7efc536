"""The contract of cells that advance many steps at once."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..._checks.messages import describe_tree
from ..._time import Advanced, State, Time
from ..carries import check_step
from ..contract import check_batch, check_contract
from ..structs import carry_struct
from .rnn_cell import RNNCellBase


class ChunkCell(RNNCellBase):
    """A cell that is written over a chunk of steps, such as a linear recurrence.

        class LeakyCell(eqx_rnn.ChunkCell):
            weight: Array                                     # (hidden, features)
            decay: Array                                      # (hidden,)

            num_feature_dims = 1

            def chunk(self, carry, inputs, time):
                u = eqx_rnn.project(self.weight, inputs)      # (steps, *batch, hidden)
                carry, h = time.linear(carry, self.decay, u)  # h' = decay h + u
                return carry, jnp.tanh(h)

            def initialize_carry(self, key, sample_input):
                return jnp.zeros((*sample_input.shape[:-1], self.decay.shape[0]))

    The arrays in `inputs` and in the outputs have the steps in front, then the batch axes. A chunk
    may have any number of steps. `RNN` processes one chunk after another. For a long sequence, the
    backward pass computes each chunk again, so large arrays exist for one chunk only. `__call__` is
    a chunk of one step, and it is final.

    In place of each array of its carry, a cell gets a [`State`][eqx_rnn.State], which only the
    methods of [`Time`][eqx_rnn.Time] can advance. They return the new carry, whose parts are
    [`Advanced`][eqx_rnn.Advanced]. A cell computes each step of `inputs` by itself: sums over the
    steps, such as `inputs.mean(0)`, would depend on the length of the chunk.

    If the step is `h' = a h + b` with coefficients that are functions of the inputs, subclass
    [`LinearCell`][eqx_rnn.LinearCell], which is shorter.
    """

    @abc.abstractmethod
    def chunk(
        self, carry: PyTree[State], inputs: Any, time: Time
    ) -> tuple[PyTree[Advanced], PyTree[Array]]:
        """The new carry, and the outputs of all steps.

        **Arguments:**

        - `carry`: the carry, with a `State` in place of each array.
        - `inputs`: `(steps, *batch, *features)`.
        - `time`: the steps. See [`Time`][eqx_rnn.Time].
        """

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "__call__" in cls.__dict__:
            raise TypeError(
                f"{cls.__name__}: `__call__` of a `ChunkCell` is final, because `RNN` runs chunks "
                "of steps instead. Write `chunk`, or subclass `RNNCellBase` to write `__call__`."
            )

    def __call__(
        self, carry: PyTree, inputs: Any, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """One step: see `RNNCellBase.__call__`."""
        return step_as_chunk(self, carry, inputs, key)


def step_as_chunk(
    cell: Any, carry: PyTree, inputs: Any, key: PRNGKeyArray | None
) -> tuple[PyTree[Array], PyTree[Array]]:
    """A chunk of one step, with all checks."""
    carry = check_step(type(cell).__name__, cell, carry, inputs, carry_struct)
    inputs = jnp.asarray(inputs)
    begun, carry, finish = cell.begin(carry)
    batch = inputs.shape[: inputs.ndim - cell.num_feature_dims]
    time = Time(1, batch, keys=None if key is None else key[None])
    states = jax.tree.map(State, carry, carry, carry)
    new, outputs = run_chunk(begun, states, inputs[None], time)
    new_carry, outputs = jax.tree.map(lambda a: a.now, new), jax.tree.map(lambda y: y[0], outputs)
    check_contract(cell, inputs, carry, (), new_carry, outputs)
    return finish(new_carry), outputs


def run_chunk(
    cell: Any, carry: PyTree[State], inputs: Array, time: Time
) -> tuple[PyTree[Advanced], PyTree[Array]]:
    """`cell.chunk(carry, inputs, time)`, with checks of its results."""
    owner = type(cell).__name__
    results = cell.chunk(carry, inputs, time)
    if type(results) is not tuple or len(results) != 2:
        raise TypeError(
            f"{owner}: `chunk` must return the pair (new carry, outputs), got "
            f"{describe_tree(results)}."
        )
    new, outputs = results
    parts, states = jax.tree.leaves(new), jax.tree.leaves(carry)
    if jax.tree.structure(new) != jax.tree.structure(carry):
        raise ValueError(
            f"{owner}: `chunk` must return a new carry of the structure of the old one, "
            f"{describe_tree(carry)}, got {describe_tree(new)}."
        )
    for part, state in zip(parts, states, strict=True):
        if not isinstance(part, Advanced):
            raise TypeError(
                f"{owner}: every part of the new carry must come from a verb of `time`, such as "
                f"`new, h = time.linear(state, a, b)`, got {describe_tree(part)} in "
                f"{describe_tree(new)}. To keep a part unchanged, write `new, _ = time.scan(state, "
                "lambda h, x: h, None)`."
            )
        if part.state.origin is not state.origin:
            raise ValueError(
                f"{owner}: `chunk` must return each part of the carry in its own place, got "
                f"{describe_tree(new)} in another order than {describe_tree(carry)}."
            )
    outputs = jax.tree.map(jnp.asarray, outputs)
    leading = inputs.shape[: inputs.ndim - cell.num_feature_dims]
    check_batch(owner, "the outputs of a chunk (steps first)", outputs, leading)
    return new, outputs
