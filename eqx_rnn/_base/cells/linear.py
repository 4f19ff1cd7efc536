"""The contract of cells that are one linear recurrence."""

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..._checks.messages import describe_tree
from ..._dtypes import widest
from ..._time import Advanced, State, Time
from .chunk import ChunkCell


class Linear(NamedTuple):
    """The coefficients of `h' = a h + b`: see [`Time.linear`][eqx_rnn.Time.linear]."""

    a: Any
    b: Any


class Blend(NamedTuple):
    """The coefficients of `h' = h + z (c - h)`: see [`Time.blend`][eqx_rnn.Time.blend]."""

    gate: Any
    candidate: Any


class LinearCell(ChunkCell):
    """A cell whose step is linear in the state, elementwise.

        h' = a h + b                 coefficients(x) = Linear(a, b)
        h' = h + z (c - h)           coefficients(x) = Blend(z, c)
        y = readout(h', x)

    Implement `num_feature_dims` and `coefficients`, and `readout` if the outputs are not `h'`:

        class FadingCell(eqx_rnn.LinearCell):
            gate: eqx.nn.Linear
            num_feature_dims = 1

            def coefficients(self, inputs):
                z = jax.nn.sigmoid(eqx_rnn.project(self.gate.weight, inputs))
                return eqx_rnn.Blend(z, inputs)

    The carry is one array, the state, which may be complex. The first carry is zero. Override
    `initialize_carry` to start from another carry.
    """

    @abc.abstractmethod
    def coefficients(self, inputs: Any) -> Linear | Blend:
        """The coefficients of all steps, `(steps, *batch, *state features)`.

        An `a` without steps and batch axes is the same everywhere. `inputs` may have any number of
        leading axes.
        """

    def readout(self, hidden: Array, inputs: Any) -> PyTree[Array]:
        """The outputs of all steps, from the states after them and their inputs."""
        return hidden

    def chunk(self, carry: State, inputs: Any, time: Time) -> tuple[Advanced, PyTree[Array]]:
        """See `ChunkCell.chunk`."""
        found = self.coefficients(inputs)
        if isinstance(found, Linear):
            new, hidden = time.linear(carry, *found)
        elif isinstance(found, Blend):
            new, hidden = time.blend(carry, *found)
        else:
            raise TypeError(
                f"{type(self).__name__}: `coefficients` must return `Linear(a, b)` or `Blend(gate, "
                f"candidate)`, got {describe_tree(found)}."
            )
        return new, self.readout(hidden, inputs)

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> Array:
        """See `RNNCellBase.initialize_carry`. Zeros, in the shape and dtype of a step's state."""
        dtype = jax.dtypes.canonicalize_dtype(sample_input.dtype)
        step = jax.ShapeDtypeStruct((1, *sample_input.shape), dtype)
        batch = sample_input.shape[: len(sample_input.shape) - self.num_feature_dims]

        def first(inputs: Any) -> Array:
            leaves = jax.tree.leaves(self.coefficients(inputs))
            features = [_features(jnp.shape(a), batch) for a in leaves]
            try:
                shape = jnp.broadcast_shapes(*features)
            except ValueError as error:
                raise ValueError(
                    f"{type(self).__name__}: `coefficients` must return arrays that broadcast "
                    f"against each other, got {describe_tree(leaves)} for one step."
                ) from error
            return jnp.zeros((*batch, *shape), widest(*leaves))

        struct = jax.eval_shape(first, step)
        return jnp.zeros(struct.shape, struct.dtype)


def _features(shape: tuple[Any, ...], batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """The feature axes of a coefficient, which may lack steps and batch axes."""
    leading = 1, *batch
    is_one = lambda size: isinstance(size, int) and size == 1
    pairs = zip(shape, leading, strict=False)
    has_leading = len(shape) >= len(leading) and all(is_one(a) or a == b for a, b in pairs)
    return shape[len(leading) :] if has_leading else shape
