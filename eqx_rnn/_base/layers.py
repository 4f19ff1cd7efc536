"""The contract between layers and `Stacked`, which runs them one after another."""

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
from jaxtyping import PRNGKeyArray, PyTree

from .hints import ArrayLike, SampleInput


class AbstractLayer(eqx.Module):
    """The base class of layers, which map sequences to sequences. Subclass it for `Stacked`.

        class Dense(eqx_rnn.AbstractLayer):
            linear: eqx.nn.Linear

            @property
            def num_feature_dims(self):
                return 1

            @property
            def time_major(self):
                return False

            def initialize_carry(self, key, sample_input):
                return ()  # no state

            def __call__(self, inputs, *, return_carry=False, **options):
                outputs = jnp.vectorize(self.linear, signature="(n)->(m)")(inputs)
                return ((), outputs) if return_carry else outputs

        Stacked([RNN(cell), Dense(linear), RNN(other)])

    A layer keeps the batch axes and the time axis of its inputs, and the order of the steps.
    `Stacked` sets the inputs and the outputs of your layer to zero at skipped steps. So a layer
    that maps each step by itself can ignore `seq_lengths` and `mask`, as `Dense` does. A
    convolution over time sees zeros as its padding. A layer that sums over time reads
    `seq_lengths` and `mask` from its arguments.
    """

    @property
    @abc.abstractmethod
    def num_feature_dims(self) -> int:
        """How many trailing axes of the inputs are features: 1 for vectors."""

    @property
    @abc.abstractmethod
    def time_major(self) -> bool:
        """Whether the time axis comes first. All layers of a `Stacked` agree on it."""

    @abc.abstractmethod
    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: SampleInput) -> PyTree:
        """The carry before the first step, which a call takes as `initial_carry`.

        **Arguments:**

        - `key`: may be `None` for layers that draw nothing.
        - `sample_input`: one time step of the inputs with its batch axes and without a time axis.
            Only its shape and dtype are read, so it may be a `jax.ShapeDtypeStruct`.

        **Returns:**

        A PyTree of the structure and the shapes of the final carry; `()` for a layer without
        state.
        """

    @abc.abstractmethod
    def __call__(
        self,
        inputs: ArrayLike,
        *,
        initial_carry: PyTree | None = None,
        seq_lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        return_carry: bool | Literal["all"] = False,
        key: PRNGKeyArray | None = None,
    ) -> Any:
        """Runs over all steps.

        **Arguments:**

        - `inputs`: `(*batch, time, *features)`, or `(time, *batch, *features)` if `time_major`.
        - `initial_carry`: the carry before the first step; the layer's own if `None`.
        - `seq_lengths`, `mask`: which steps are valid, as for `RNN`; at most one of them is given.
        - `resets`: true at the first step of an episode.
        - `return_carry`: whether to return the final carry too; `"all"` for the carries after
            every step. `Stacked` always asks for one of them.
        - `key`: a random key, or `None`.

        **Returns:**

        The outputs; with `return_carry`, the pair `(carry, outputs)`.
        """


if TYPE_CHECKING:
    Layers = Sequence[AbstractLayer]
else:
    Layers = Any  # `Stacked` checks each layer, with clearer errors
