import math
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.carries import check_carry, check_single
from .._base.cells import RNNCellBase, SequentialCell, carry_struct, part_of_key
from .._checks.messages import as_array
from .._kernels.sharding import struct_of_steps
from .._scan import Steps, explain, scan
from .sequences import check_steps, find_axes, flip_sequences, valid_steps


class RNN(eqx.Module):
    """Runs a cell over the time axis of its inputs.

        carry, y[t] = cell(carry, x[t])        for t = 0, 1, ...

    Any number of batch axes, any cell: `cell.num_feature_dims` tells which axes are features.

    Cells that are `FactoredCell`s run on the fast engine; forward and reverse mode, higher orders
    and `jax.vmap` are exact on it. The cells of a `SequentialCell` run one after another, each
    over all steps. Others run by a plain `jax.lax.scan`.

    **Options:**

    - `time_major`: whether the time axis comes first, and not after the batch axes.
    - `reverse`, `keep_order`: see `__call__`.
    - `unroll`: steps in one iteration of the loop, as in `jax.lax.scan`.
    - `checkpoint`: whether the backward pass computes carries and gates again, chunk by chunk,
        so that only the carries between chunks are kept. An integer is the chunk's steps; `True`
        takes the square root of the number of steps.
    - `truncate`: after how many steps gradients are cut (truncated back-propagation through
        time). The values are the same; what a step receives from an earlier piece counts as
        given.
    - `check_lengths`: whether lengths outside `[0, time]` raise an error, under `jit` too. If not,
        they are clipped, which is faster and can be exported by `jax.export`.

    **Source:** the proposal "Refactor RNNCellBase" (FLIP 3099) of Flax, whose names these are.
    """

    cell: RNNCellBase
    time_major: bool = eqx.field(static=True, default=False, kw_only=True)
    reverse: bool = eqx.field(static=True, default=False, kw_only=True)
    keep_order: bool = eqx.field(static=True, default=False, kw_only=True)
    unroll: int = eqx.field(static=True, default=1, kw_only=True)
    checkpoint: bool | int = eqx.field(static=True, default=False, kw_only=True)
    truncate: int | None = eqx.field(static=True, default=None, kw_only=True)
    check_lengths: bool = eqx.field(static=True, default=True, kw_only=True)

    def __check_init__(self):
        for name in ("unroll", "checkpoint", "truncate"):
            value = getattr(self, name)
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise ValueError(
                    f"RNN: `{name}` must be a number of steps, at least 1, got {value}. Leave it "
                    "out, or pass a positive integer."
                )

    @property
    def num_feature_dims(self) -> int:
        """How many trailing axes of the inputs are features."""
        return self.cell.num_feature_dims

    @jax.named_scope("eqx_rnn.RNN")
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
        """Runs the cell over a batch of sequences.

        **Arguments:**

        - `inputs`: `(*batch, time, *features)`, or `(time, *batch, *features)` if `time_major`.
        - `initial_carry`: the carry before the first step; the cell's own if `None`. What
            `return_carry` gave continues a sequence.
        - `seq_lengths`: integers in `[0, time]` of shape `(*batch)`. Steps past the end hold the
            carry and return zeros. Values in the padding have no effect, even if they are NaN.
        - `mask`: the same for any steps: bool, `(*batch, time)` (`(time, *batch)` if
            `time_major`), false where a step is to be skipped. Not both.
        - `resets`: bool, of the shape of `mask`: where true, the cell's own initial carry replaces
            the carry before that step (in the order of processing), as at the start of an
            episode. Without effect at a skipped step.
        - `return_carry`: whether to return the final carry too; `"all"` for the carries after
            every step, their time axis where the inputs have it, in the order of the outputs.
        - `key`: for cells that draw their first carry or draw in the step.

        **Returns:**

        The outputs, with batch and time axes where the inputs have them; or, with `return_carry`,
        the pair `(final carry, outputs)` or `(carries, outputs)`.

        `reverse` runs from the last step to the first (with lengths: from the last valid one).
        Outputs come in the order of processing, padding last, or with `keep_order` in that of
        the inputs.

        **Raises:** `ValueError` or `TypeError` for arguments of a wrong shape or kind, and
        `eqx.EquinoxRuntimeError`, under `jit` too, for lengths outside `[0, time]`.
        """
        check_single("RNN", self.cell)
        inputs = as_array("RNN", "inputs", inputs)
        axes = find_axes("RNN", inputs, self.cell.num_feature_dims, self.time_major)
        xs = jnp.moveaxis(inputs, axes.time_axis, 0)
        mask, lengths = valid_steps("RNN", seq_lengths, mask, axes, self.check_lengths)
        if resets is not None:
            resets = check_steps("RNN", "resets", resets, axes)

        carry_key, step_key, begin_key = 3 * (None,) if key is None else jr.split(key, 3)
        sample = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
        if initial_carry is None:
            carry = self.cell.initialize_carry(carry_key, sample)
        else:
            wanted = carry_struct(self.cell, sample)
            carry = check_carry("RNN", "initial_carry", initial_carry, wanted)
        cell, carry, restore = self.cell.begin(carry, key=begin_key)
        initial = None if resets is None else cell.initialize_carry(carry_key, sample)

        keys = None if step_key is None else jr.split(step_key, axes.num_steps)
        checkpoint = self.checkpoint
        if isinstance(checkpoint, bool):
            size = math.isqrt(axes.num_steps) if isinstance(axes.num_steps, int) else 1
            checkpoint = max(1, size) if checkpoint else None
        carry, (carries, outputs) = run_cell(
            cell,
            carry,
            xs,
            initial,
            Steps(mask, resets, keys),
            reverse=self.reverse,
            unroll=self.unroll,
            checkpoint=checkpoint,
            truncate=self.truncate,
            all_carries=return_carry == "all",
        )
        carry = restore(carry)
        if return_carry == "all":
            carries = jax.vmap(restore, axis_size=axes.num_steps)(carries)
        results = carries, outputs
        if self.reverse and not self.keep_order:
            flip = lambda y: flip_sequences(
                y,
                lengths,
                num_batch_dims=len(axes.batch),
                time_major=True,
                check_lengths=False,  # they are by now
            )
            results = jax.tree.map(flip, results)
        carries, outputs = jax.tree.map(lambda y: jnp.moveaxis(y, 0, axes.time_axis), results)
        if return_carry == "all":
            return carries, outputs
        return (carry, outputs) if return_carry else outputs

    def explain(self, sample_input: Any) -> str:
        """Says which engine runs the cell, and why if that is the plain scan, one step at a time.

        The text has one line per cell that runs over time: several for a `SequentialCell`.

        **Arguments:**

        - `sample_input`: one time step of the inputs with its batch axes, as for
            `initialize_carry`. Only its shape and dtype are read, so it may be a
            `jax.ShapeDtypeStruct`.
        """
        carry_struct(self.cell, sample_input)  # raises errors that name `sample_input`
        axis = 0 if self.time_major else sample_input.ndim - self.num_feature_dims
        inputs = struct_of_steps(sample_input, 2, axis)
        call = lambda rnn, inputs, key: rnn(inputs, key=key)
        return explain(lambda: eqx.filter_eval_shape(call, self, inputs, jr.key(0)))


def run_cell(
    cell: RNNCellBase, carry: Any, inputs: Array, initial: Any, steps: Steps, **options: Any
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    """As `scan`; the cells of a `SequentialCell` one after another, each over all steps."""
    if not isinstance(cell, SequentialCell):
        return scan(cell, carry, inputs, initial, steps, **options)
    finals, all_carries, outputs = [], [], inputs
    for k, part in enumerate(cell.cells):
        keys = steps.keys
        if keys is not None:
            keys = jax.vmap(lambda key, k=k: part_of_key(key, cell.cells, k))(keys)
        start = None if initial is None else initial[k]
        final, (carries, outputs) = run_cell(
            part, carry[k], outputs, start, steps._replace(keys=keys), **options
        )
        finals.append(final)
        all_carries.append(carries)
    return tuple(finals), (tuple(all_carries), outputs)
