import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.carries import check_parts
from .._base.cells import inner_cells
from .._base.widths import cell_outputs, input_struct, is_known, is_own_layer, try_outputs
from .._checks.errors import part_of
from .._checks.messages import as_array, check_distinct, describe
from .._functions.function import Name, as_function
from .._scan import fill_skipped, select
from .rnn import RNN
from .sequences import backward_resets, find_axes, valid_steps

MERGES: dict[str, Callable[[Array, Array], Array]] = {
    "concat": lambda forward, backward: jnp.concatenate([forward, backward], axis=-1),
    "sum": jnp.add,
    "mul": jnp.multiply,
    "ave": lambda forward, backward: (forward + backward) / 2,
}


def as_merge(merge: str | Callable[[Any, Any], Any] | None) -> Any:
    """`as_function` of a function; a name and `None` stay."""
    if merge is None:
        return None
    return Name(merge) if isinstance(merge, str) else as_function(merge)


class Bidirectional(eqx.Module):
    """Runs one `RNN` forward and another one backward over the same inputs, and merges them.

        y[t] = merge(forward[t], backward[t])

    where `backward[t]` has seen the steps from the last (valid) one down to `t`. At skipped steps
    the merged outputs are zero.

    **Source:** M. Schuster, K. K. Paliwal, "Bidirectional recurrent neural networks", IEEE
    Transactions on Signal Processing 45 (1997).
    """

    forward_rnn: RNN
    backward_rnn: RNN
    merge: str | Callable[[Any, Any], Any] | None = eqx.field(default="concat", converter=as_merge)

    def __check_init__(self):
        cells = inner_cells((self.forward_rnn, self.backward_rnn))
        check_distinct("Bidirectional", "`forward_rnn` and `backward_rnn`", cells)
        if self.forward_rnn.reverse:
            raise ValueError(
                "Bidirectional: `forward_rnn` must run forward, got reverse=True. Pass the two "
                "`RNN`s the other way round, or leave out `reverse`: the second is run reversed."
            )
        if self.forward_rnn.time_major != self.backward_rnn.time_major:
            raise ValueError(
                "Bidirectional: `forward_rnn` and `backward_rnn` must agree on `time_major`, got "
                f"{self.forward_rnn.time_major} and {self.backward_rnn.time_major}."
            )
        if isinstance(self.merge, str) and self.merge not in MERGES:
            raise ValueError(
                f"Bidirectional: `merge` must be a function of two arrays, None or one of "
                f"{sorted(MERGES)}, got {self.merge!r}."
            )
        self._check_widths()

    def _check_widths(self) -> None:
        rnns = self.forward_rnn, self.backward_rnn
        forward, backward = (input_struct(rnn) if is_known(rnn) else None for rnn in rnns)
        if forward is not None and backward is not None and forward.shape != backward.shape:
            raise ValueError(
                "Bidirectional: `backward_rnn` must take in the same inputs as `forward_rnn`, with "
                f"input_size={forward.shape[-1]} and num_feature_dims={forward.ndim}, got "
                f"{backward.shape[-1]} and {backward.ndim}. Build both cells with one size."
            )
        if self.merge not in ("sum", "mul", "ave") or any(map(is_own_layer, rnns)):
            return
        outputs = [try_outputs(rnn.cell, input_struct(rnn), cell_outputs) for rnn in rnns]
        if None not in outputs and outputs[0].shape != outputs[1].shape:
            raise ValueError(
                f"Bidirectional: with merge={self.merge!r}, `forward_rnn` and `backward_rnn` must "
                f"return equally many features, got {outputs[0].shape[-1]} and "
                f'{outputs[1].shape[-1]}. Build cells of one size, or pass merge="concat".'
            )

    def merged(self, forward: PyTree, backward: PyTree) -> PyTree:
        """The outputs of the two directions, merged."""
        merge = MERGES[self.merge] if isinstance(self.merge, str) else self.merge
        return (forward, backward) if merge is None else jax.tree.map(merge, forward, backward)

    @property
    def num_feature_dims(self) -> int:
        """How many trailing axes of the inputs are features."""
        return self.forward_rnn.num_feature_dims

    @property
    def time_major(self) -> bool:
        """Whether the time axis comes first."""
        return self.forward_rnn.time_major

    @property
    def check_lengths(self) -> bool:
        """Whether lengths outside the time axis raise an error: see `RNN`."""
        return self.forward_rnn.check_lengths and self.backward_rnn.check_lengths

    @jax.named_scope("eqx_rnn.Bidirectional")
    def __call__(
        self,
        inputs: Any,
        *,
        initial_carry: PyTree | None = None,
        seq_lengths: Any = None,
        mask: Any = None,
        resets: Any = None,
        return_carry: bool | Literal["all"] = False,
        key: PRNGKeyArray | None = None,
    ) -> Any:
        """Runs both directions: see `RNN.__call__`, with these differences.

        **Arguments:**

        - `initial_carry`: a pair, `(forward, backward)`.
        - `resets`: true at the first step of an episode. The backward direction resets when it
            has left that step, so neither sees across an episode's bounds.
            An episode that ends with a piece of a longer sequence is not seen: start the backward
            direction of that piece from its own initial carry.

        **Returns:**

        The merged outputs in the order of the inputs (the pair of them if `merge` is `None`);
        with `return_carry`, the pair `((forward carry, backward carry), outputs)`.
        """
        starts = (None, None)
        if initial_carry is not None:
            starts = check_parts("Bidirectional", "initial_carry", initial_carry, 2, "direction")
        keys = (None, None) if key is None else jr.split(key)
        backward_rnn = dataclasses.replace(self.backward_rnn, reverse=True, keep_order=True)
        ends = None
        if resets is not None:
            inputs = as_array("Bidirectional", "inputs", inputs)
            owner = "Bidirectional"
            axes = find_axes(owner, inputs, self.num_feature_dims, self.time_major)
            ends = backward_resets(owner, resets, seq_lengths, mask, axes, self.check_lengths)
        carries, outputs = [], []
        for k, (rnn, own_resets) in enumerate([(self.forward_rnn, resets), (backward_rnn, ends)]):
            part = ("forward_rnn", "backward_rnn")[k]
            with part_of("Bidirectional", part, f"initial_carry[{k}]"):
                carry, y = rnn(
                    inputs,
                    initial_carry=starts[k],
                    seq_lengths=seq_lengths,
                    mask=mask,
                    resets=own_resets,
                    return_carry=return_carry or True,
                    key=keys[k],
                )
            carries.append(carry)
            outputs.append(y)
        if callable(self.merge):
            merged = self._merge_valid_steps(inputs, outputs, seq_lengths, mask)
        else:
            merged = self.merged(*outputs)
        return (tuple(carries), merged) if return_carry else merged

    def _merge_valid_steps(
        self, inputs: Any, outputs: list[PyTree[Array]], seq_lengths: Any, mask: Any
    ) -> PyTree[Array]:
        """`merged`, and zeros at skipped steps.

        The function may have no derivative at the zeros of the padding, so it gets the outputs of
        valid steps there.
        """
        inputs = as_array("Bidirectional", "inputs", inputs)
        axes = find_axes("Bidirectional", inputs, self.num_feature_dims, self.time_major)
        valid, _ = valid_steps("Bidirectional", seq_lengths, mask, axes, check_lengths=False)
        if valid is None:
            return self.merged(*outputs)
        leading = inputs.shape[: len(axes.batch) + 1]

        def at_all_steps(function: Callable[[Array], Array], y: Array) -> Array:
            if y.shape[: len(leading)] != leading:
                raise ValueError(
                    "Bidirectional: `merge` must keep the batch and time axes of the outputs, "
                    f"{leading}, got {describe(y)}. Let it merge each step by itself."
                )
            steps = function(jnp.moveaxis(y, axes.time_axis, 0))
            return jnp.moveaxis(steps, 0, axes.time_axis)

        fill = functools.partial(at_all_steps, functools.partial(fill_skipped, valid))
        clear = functools.partial(at_all_steps, lambda steps: select(valid, steps, 0))
        return jax.tree.map(clear, self.merged(*jax.tree.map(fill, outputs)))
