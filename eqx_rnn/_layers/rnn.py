from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.carries import check_carry, check_single
from .._base.cells import RNNCellBase, carry_struct
from .._base.hints import SampleInput
from .._base.widths import cell_outputs, input_struct, try_outputs, wrapped_cell
from .._checks.messages import as_array
from .._kernels.sharding import struct_of_steps
from .._scan import Steps, explain
from .._time import Method
from .base import CellLayer, CellOutputs, get_size
from .run_cell import run_cell
from .run_options import check_run, checkpoint_size
from .sequences import flip_sequences
from .valid_steps import check_steps, find_axes, valid_steps

if TYPE_CHECKING:
    from typing import Unpack

    from .._base.hints import ArrayLike, Carry, NoCarry, Options, RunsCell, WithCarry

C = TypeVar("C", bound=RNNCellBase)


class RNN(CellLayer, Generic[C]):
    """Runs a cell over the time axis of its inputs.

        carry, y[t] = cell(carry, x[t])        for t = 0, 1, ...

    The inputs have any number of batch axes; `cell.num_feature_dims` trailing axes are features.

    A `FactoredCell` runs on the fast engine, which supports forward and reverse mode, higher orders
    and `jax.vmap`. A `ChunkCell` runs one chunk of steps after another, and the backward pass
    computes each chunk again. The cells of a `SequentialCell` run one after another, each over all
    steps. Other cells run by a plain `jax.lax.scan`.

    **Options:**

    - `time_major`: whether the time axis comes first instead of after the batch axes.
    - `reverse`, `keep_order`: see `__call__`.
    - `unroll`: the number of steps per iteration of the loop, as in `jax.lax.scan`. `None` means 1
        if JAX's default backend is a CPU, and 4 otherwise. A `ChunkCell` does not use it.
    - `checkpoint`: whether the backward pass recomputes carries and gates, chunk by chunk, so that
        only the carries between chunks are stored. An integer is the number of steps per chunk;
        `True` uses the square root of the number of steps.
    - `truncate`: the number of steps after which gradients are cut (truncated back-propagation
        through time). The values stay the same; gradients do not flow into an earlier piece.
    - `scan`: how a `ChunkCell` runs inside a chunk of steps: `"sequential"`, one step after
        another, which is several times as fast on a CPU; `"associative"`, by
        `jax.lax.associative_scan`; or `"auto"`, which chooses for the platform.
    - `chunk_size`: the number of steps per chunk of a `ChunkCell`; chosen by its sizes if `None`.
    - `check_lengths`: whether lengths outside `[0, time]` raise an error, including under `jit`.
        If false, they are clipped, which is faster and works with `jax.export`.

    **Source:** the proposal "Refactor RNNCellBase" (FLIP 3099) of Flax, with its names.
    """

    cell: C
    time_major: bool = eqx.field(  # pyright: ignore[reportIncompatibleMethodOverride]
        static=True, default=False, kw_only=True
    )
    reverse: bool = eqx.field(static=True, default=False, kw_only=True)
    keep_order: bool = eqx.field(static=True, default=False, kw_only=True)
    unroll: int | None = eqx.field(static=True, default=None, kw_only=True)
    checkpoint: bool | int = eqx.field(static=True, default=False, kw_only=True)
    truncate: int | None = eqx.field(static=True, default=None, kw_only=True)
    scan: Method = eqx.field(static=True, default="auto", kw_only=True)
    chunk_size: int | None = eqx.field(static=True, default=None, kw_only=True)
    check_lengths: bool = eqx.field(  # pyright: ignore[reportIncompatibleMethodOverride]
        static=True, default=True, kw_only=True
    )

    def __check_init__(self):
        check_run(self)

    @property
    def num_feature_dims(self) -> int:
        return self.cell.num_feature_dims

    @property
    def input_size(self) -> int:
        return get_size(self, "input_size", input_struct(self.cell))

    @property
    def output_size(self) -> int:
        outputs = try_outputs(self.cell, input_struct(self.cell), cell_outputs)
        return get_size(self, "output_size", outputs)

    @property
    def hidden_size(self) -> int:
        """The size of the hidden state of the cell inside all wrappers."""
        return wrapped_cell(self.cell).hidden_size

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: SampleInput) -> Any:
        """The carry of the cell: see `AbstractLayer.initialize_carry`."""
        check_single("RNN", self.cell)
        return self.cell.initialize_carry(key, sample_input)

    if TYPE_CHECKING:

        @overload
        def __call__(
            self, inputs: ArrayLike, *, return_carry: NoCarry = False, **options: Unpack[Options]
        ) -> Array: ...
        @overload
        def __call__(
            self: RunsCell[Carry],
            inputs: ArrayLike,
            *,
            return_carry: WithCarry,
            **options: Unpack[Options],
        ) -> tuple[Carry, Array]: ...

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
        - `initial_carry`: the carry before the first step; that of `initialize_carry` if `None`.
            The final carry of the last call continues a sequence.
        - `seq_lengths`: integers in `[0, time]` of shape `(*batch)`. Steps past the end hold the
            carry and return zeros. Values in the padding have no effect, even if they are NaN.
        - `mask`: bool, `(*batch, time)`, or `(time, *batch)` if `time_major`. Steps where it is
            false are skipped in the same way. Only one of `seq_lengths` and `mask` can be given.
        - `resets`: bool, of the shape of `mask`. Where true, the carry of `initialize_carry`
            replaces the carry before that step (in the order of processing), as at the start of
            an episode. It has no effect at a skipped step.
        - `return_carry`: whether to return the final carry too; `"all"` for the carries after
            every step, with the time axis of the inputs, in the order of the outputs.
        - `key`: a random key, for cells that draw their first carry or draw in the step.

        **Returns:**

        The outputs, with the batch and time axes of the inputs. With `return_carry`, the pair
        `(final carry, outputs)` or `(carries, outputs)`.

        With `reverse`, the cell starts at the last (valid) step. The outputs are in the order of
        processing, with the padding last. With `keep_order`, they are in the order of the inputs.

        **Raises:** `ValueError` or `TypeError` for arguments of a wrong shape or kind;
        `eqx.EquinoxRuntimeError`, including under `jit`, for lengths outside `[0, time]`.
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
        cell, carry, finish = self.cell.begin(carry, key=begin_key)
        initial = None if resets is None else cell.initialize_carry(carry_key, sample)

        keys = None if step_key is None else jr.split(step_key, axes.num_steps)
        carry, (carries, outputs) = run_cell(
            cell,
            carry,
            xs,
            initial,
            Steps(mask, resets, keys),
            reverse=self.reverse,
            unroll=self.unroll,
            checkpoint=checkpoint_size(self.checkpoint, axes.num_steps),
            truncate=self.truncate,
            all_carries=return_carry == "all",
            method=self.scan,
            chunk_size=self.chunk_size,
        )
        carry = finish(carry)
        if return_carry == "all":
            carries = jax.vmap(finish, axis_size=axes.num_steps)(carries)
        results = carries, outputs
        if self.reverse and not self.keep_order:
            flip = lambda y: flip_sequences(
                y,
                lengths,
                num_batch_dims=len(axes.batch),
                time_major=True,
                check_lengths=False,  # checked above
            )
            results = jax.tree.map(flip, results)
        carries, outputs = jax.tree.map(lambda y: jnp.moveaxis(y, 0, axes.time_axis), results)
        if return_carry == "all":
            return carries, outputs
        return (carry, outputs) if return_carry else outputs

    @property
    def keeps_order(self) -> bool:
        return self.keep_order or not self.reverse

    def explain(self, sample_input: Any) -> str:
        """Says which engine runs the cell and, if it is the plain scan over single steps, why.

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

    @property
    def starts_at_end(self) -> bool:
        return self.reverse

    @property
    def first_cell(self) -> RNNCellBase:
        return self.cell

    def step_struct(self, sample_input: Any, of_cell: CellOutputs) -> Any:
        return of_cell(self.cell, sample_input)

    def as_step(self, name: str) -> RNNCellBase:
        if self.reverse:
            raise ValueError(
                f"Stacked.as_cell: `{name}` must run forward, got reverse=True. A layer that "
                "starts at the last step needs the whole sequence: call it on all steps."
            )
        return self.cell
