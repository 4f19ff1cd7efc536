import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.carries import check_parts
from .._base.cells import RNNCellBase, inner_cells
from .._base.hints import SampleInput
from .._base.widths import input_struct, is_known, try_outputs
from .._checks.errors import part_of
from .._checks.messages import as_array, check_distinct
from .._functions.function import Name, as_function
from .base import CellLayer, CellOutputs, first_cell, get_size, known_outputs, outputs_of
from .resets import backward_resets
from .rnn import RNN
from .valid_steps import check_leading, clear_padding, fill_padding, find_axes, valid_steps

if TYPE_CHECKING:
    from typing import Unpack

    from .._base.hints import ArrayLike, NoCarry, Options, WithCarry

MERGES: dict[str, Callable[[Array, Array], Array]] = {
    "concat": lambda forward, backward: jnp.concatenate([forward, backward], axis=-1),
    "sum": jnp.add,
    "mul": jnp.multiply,
    "ave": lambda forward, backward: (forward + backward) / 2,
}


def as_merge(merge: str | Callable[[Any, Any], Any] | None) -> Any:
    """Applies `as_function` to a function. Names and `None` stay as they are."""
    if merge is None:
        return None
    return Name(merge) if isinstance(merge, str) else as_function(merge)


class Bidirectional(CellLayer):
    """Runs one `RNN` forward and another backward over the same inputs, and merges the outputs.

        y[t] = merge(forward[t], backward[t])

    where `backward[t]` has seen the steps from the last (valid) one down to `t`. At skipped steps
    the merged outputs are zero.

    `merge` is `"concat"`, `"sum"`, `"mul"`, `"ave"`, a function of two arrays, or `None` for the
    pair of both outputs. To summarise a sequence, take the final carries: the outputs at the last
    step hold only one step of the backward direction.

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
        cells = map(first_cell, rnns)
        known = lambda cell: cell is not None and is_known(cell)
        forward, backward = (input_struct(cell) if known(cell) else None for cell in cells)
        if forward is not None and backward is not None and forward.shape != backward.shape:
            raise ValueError(
                "Bidirectional: `backward_rnn` must take in the same inputs as `forward_rnn`, with "
                f"input_size={forward.shape[-1]} and num_feature_dims={forward.ndim}, got "
                f"{backward.shape[-1]} and {backward.ndim}. Build both cells with one size."
            )
        if self.merge not in ("sum", "mul", "ave"):
            return
        outputs = [try_outputs(rnn, input_struct(rnn.cell), known_outputs) for rnn in rnns]
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
    def input_size(self) -> int:
        return self.forward_rnn.input_size

    @property
    def output_size(self) -> int:
        outputs = try_outputs(self, input_struct(self.forward_rnn.cell), known_outputs)
        return get_size(self, "output_size", outputs)

    @property
    def num_feature_dims(self) -> int:
        return self.forward_rnn.num_feature_dims

    @property
    def time_major(self) -> bool:
        return self.forward_rnn.time_major

    @property
    def check_lengths(self) -> bool:
        return self.forward_rnn.check_lengths and self.backward_rnn.check_lengths

    def initialize_carry(
        self, key: PRNGKeyArray | None, sample_input: SampleInput
    ) -> tuple[PyTree, PyTree]:
        """The pair of the carries of both directions: see `AbstractLayer.initialize_carry`."""
        keys = (None, None) if key is None else jr.split(key)
        with part_of("Bidirectional", "forward_rnn", ""):
            forward = self.forward_rnn.initialize_carry(keys[0], sample_input)
        with part_of("Bidirectional", "backward_rnn", ""):
            return forward, self.backward_rnn.initialize_carry(keys[1], sample_input)

    if TYPE_CHECKING:

        @overload
        def __call__(
            self, inputs: ArrayLike, *, return_carry: NoCarry = False, **options: Unpack[Options]
        ) -> Array: ...
        @overload
        def __call__(
            self, inputs: ArrayLike, *, return_carry: WithCarry, **options: Unpack[Options]
        ) -> tuple[tuple[Any, Any], Array]: ...

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
        - `resets`: true at the first step of an episode. The backward direction resets after it
            has processed that step, so neither direction sees across the bounds of an episode.
            If a sequence is cut into pieces, a bound between two pieces is invisible: start the
            backward direction of the earlier piece from its own initial carry.

        **Returns:**

        The merged outputs in the order of the inputs, or the pair of outputs if `merge` is `None`.
        With `return_carry`, the pair `((forward carry, backward carry), outputs)`.
        """
        starts = (None, None)
        if initial_carry is not None:
            starts = check_parts("Bidirectional", "initial_carry", initial_carry, 2, "direction")
        keys = (None, None) if key is None else jr.split(key)
        backward_rnn = dataclasses.replace(self.backward_rnn, reverse=True, keep_order=True)
        ends = None
        if resets is not None:
            inputs = as_array("Bidirectional", "inputs", inputs)
            axes = find_axes("Bidirectional", inputs, self.num_feature_dims, self.time_major)
            valid, _ = valid_steps("Bidirectional", seq_lengths, mask, axes, check_lengths=False)
            ends = backward_resets("Bidirectional", resets, valid, axes)
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
        """`merged` of the valid steps, with zeros at the skipped ones.

        The function may have no derivative at the zeros of the padding, so the padding holds the
        outputs of valid steps when `merge` is called.
        """
        inputs = as_array("Bidirectional", "inputs", inputs)
        axes = find_axes("Bidirectional", inputs, self.num_feature_dims, self.time_major)
        valid, _ = valid_steps("Bidirectional", seq_lengths, mask, axes, check_lengths=False)
        if valid is None:
            return self.merged(*outputs)
        merged = self.merged(*fill_padding(valid, outputs, axes))
        advice = "Let it merge each step by itself."
        check_leading("Bidirectional: `merge`", merged, axes, advice)
        return clear_padding(valid, merged, axes)

    @property
    def keeps_order(self) -> bool:
        return True

    @property
    def starts_at_end(self) -> bool:
        return False

    @property
    def first_cell(self) -> RNNCellBase | None:
        return first_cell(self.forward_rnn)

    def step_struct(self, sample_input: Any, of_cell: CellOutputs) -> PyTree[Any]:
        rnns = self.forward_rnn, self.backward_rnn
        outputs = (outputs_of(rnn, sample_input, of_cell) for rnn in rnns)
        return jax.eval_shape(self.merged, *outputs)

    def as_step(self, name: str) -> RNNCellBase:
        raise ValueError(
            f"Stacked.as_cell: `{name}` must run forward, got a `Bidirectional`. Its backward "
            "direction needs the whole sequence: call the layer on all steps."
        )
