import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.cells import ChunkCell
from .._checks.messages import as_array, describe
from .._functions.function import as_function
from .._time import Time


class Pointwise(ChunkCell):
    """A cell without state around a module, such as a norm or a feed-forward network.

        y = module(x)

    The module is written for one step of one sequence, as those of `eqx.nn` are. It is mapped by
    `jax.vmap` over all steps and batch axes at once, so it never mixes steps or sequences.

        layer = StackedCell([Pointwise(eqx.nn.LayerNorm(64)), LRUCell(64, 128, key=key)])
        rnn = RNN(Residual(layer))

    If the module has an argument `key`, it gets one random key per step and sequence. If `RNN` or
    the step got no key, the module is called without `key`.

    **Shapes:** inputs `(*batch, *features)`, of which the module sees `(*features)`; outputs
    `(*batch, ...)` with the axes that the module returns; the carry is `()`.
    """

    module: Callable = eqx.field(converter=as_function)
    num_feature_dims: int = eqx.field(  # pyright: ignore[reportIncompatibleMethodOverride]
        static=True, default=1, kw_only=True
    )

    def __check_init__(self):
        if not callable(self.module):
            raise TypeError(
                f"Pointwise: `module` must be a module or a function, got {describe(self.module)}."
            )
        if self.num_feature_dims < 0:
            raise ValueError(
                "Pointwise: `num_feature_dims` must be a number of axes, at least 0, got "
                f"{self.num_feature_dims}."
            )

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> tuple[()]:
        """See `RNNCellBase.initialize_carry`. The carry is `()`."""
        return ()

    def chunk(self, carry: tuple[()], inputs: Any, time: Time) -> tuple[tuple[()], PyTree[Array]]:
        """See `ChunkCell.chunk`."""
        inputs = as_array("Pointwise", "inputs", inputs)
        num_batch_axes = inputs.ndim - 1 - self.num_feature_dims
        batch = inputs.shape[1 : 1 + num_batch_axes]
        if not (_takes_key(self.module) and time.has_keys):
            return (), _vmap(self.module, 1 + num_batch_axes)(inputs)
        keys = time.draw(lambda key: jr.split(key, batch))
        call = lambda x, key: self.module(x, key=key)
        return (), _vmap(call, 1 + num_batch_axes)(inputs, keys)

    def read_out(self, carry: tuple[()]) -> None:
        """See `RNNCellBase.read_out`. The outputs do not follow from the carry."""
        return None


def _vmap(function: Callable, num_axes: int) -> Callable:
    for _ in range(num_axes):
        function = jax.vmap(function)
    return function


def _takes_key(module: Callable) -> bool:
    try:
        return "key" in inspect.signature(module).parameters
    except ValueError:  # some functions of C have no signature
        return False
