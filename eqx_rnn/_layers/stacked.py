from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.carries import check_parts
from .._base.cells import RNNCellBase, inner_cells, part_of_key
from .._base.hints import SampleInput
from .._base.layers import Layers
from .._base.structs import output_struct
from .._checks.arguments import check_options_of
from .._checks.errors import part_of
from .._checks.messages import as_array, check_link
from .._wrappers import StackedCell
from .base import CellLayer, CellOutputs, first_cell, run_layer
from .between import Norm, add_inputs, drop, normalize, step_samples
from .checks import check_stack, keeps_order
from .create import create_layers
from .stack_steps import stack_steps
from .valid_steps import fill_padding, find_axes, valid_steps

if TYPE_CHECKING:
    from typing import Unpack

    from .._base.hints import ArrayLike, NoCarry, Options, WithCarry


class Stacked(CellLayer):
    """Runs layers one after another: the outputs of each layer are the inputs of the next.

        h[0] = layers[0](x)
        h[k] = layers[k](dropout(norms[k - 1](h[k - 1])))               residual=False
        h[k] = layers[k](dropout(norms[k - 1](h[k - 1]))) + h[k - 1]    residual=True

    for k = 1, 2, ...; the outputs are the last `h`. A layer is an `RNN`, a `Bidirectional`, a
    `Stacked` or an `AbstractLayer` of your own. Layers may have different widths. `as_cell` returns
    a cell that steps through the stack. If there are norms between the layers, call the stack with
    a time axis of length 1 and the last carry instead.

    **Source:** A. Graves, A.-R. Mohamed, G. Hinton, "Speech recognition with deep recurrent
    neural networks", ICASSP (2013), without its connections that skip layers. Dropout: W.
    Zaremba, I. Sutskever, O. Vinyals, "Recurrent neural network regularization",
    arXiv:1409.2329 (2014), but between layers only, as in torch. Residual connections: Y. Wu et
    al., "Google's neural machine translation system", arXiv:1609.08144 (2016).
    """

    layers: tuple[Any, ...]
    norms: tuple[Norm, ...] | None
    dropout: eqx.nn.Dropout | None
    residual: bool = eqx.field(static=True)

    def __init__(
        self,
        layers: Layers,
        *,
        dropout: float = 0.0,
        residual: bool = False,
        norms: Sequence[Norm] | None = None,
    ):
        """**Arguments:**

        - `layers`: at least one layer, in the order in which they run.
        - `dropout`: the fraction of the entries to drop between layers, not after the last one.
            A call then needs a `key`, unless `eqx.nn.inference_mode` switched dropout off.
        - `residual`: whether each layer but the first adds its inputs to its outputs.
        - `norms`: an `eqx.nn.LayerNorm` or `eqx.nn.RMSNorm` between each two layers, over the last
            axis of the outputs of the layer below.
        """
        check_stack(layers, dropout, residual, norms)
        self.layers = tuple(layers)
        self.norms = None if norms is None else tuple(norms)
        self.dropout = None if dropout == 0 else eqx.nn.Dropout(dropout)
        self.residual = residual

    @classmethod
    def create(
        cls,
        cell: Callable[..., RNNCellBase],
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int,
        bidirectional: bool = False,
        dropout: float = 0.0,
        residual: bool = False,
        layer_norm: bool = False,
        time_major: bool = False,
        check_lengths: bool = True,
        key: PRNGKeyArray,
        **cell_options: Any,
    ) -> "Stacked":
        """Builds layers of one kind and width, like `torch.nn.LSTM`.

        **Arguments:**

        - `cell`: the class of the cells, or a function with the same arguments.
        - `input_size`, `hidden_size`, `cell_options`: the arguments of each cell. The `input_size`
            of every layer but the first is the size of the outputs of the layer below.
        - `num_layers`: the number of layers, at least 1.
        - `bidirectional`: whether each layer is a `Bidirectional` that concatenates its outputs.
        - `dropout`, `residual`: see `Stacked`.
        - `layer_norm`: whether there is an `eqx.nn.LayerNorm` between layers.
        - `time_major`, `check_lengths`: see `RNN`.
        - `key`: a random key for the initial weights.
        """
        check_options_of(cls.create, "Stacked.create", cell, cell_options)
        sizes = input_size, hidden_size, num_layers, bidirectional
        options = dict(time_major=time_major, check_lengths=check_lengths)
        layers, norms = create_layers(cell, *sizes, key, cell_options, **options)
        return cls(layers, dropout=dropout, residual=residual, norms=norms if layer_norm else None)

    @property
    def num_layers(self) -> int:
        """How many layers there are."""
        return len(self.layers)

    @property
    def input_size(self) -> int:
        return self.layers[0].input_size

    @property
    def output_size(self) -> int:
        return self.layers[-1].output_size

    @property
    def num_feature_dims(self) -> int:
        return self.layers[0].num_feature_dims

    @property
    def time_major(self) -> bool:
        return self.layers[0].time_major

    @property
    def check_lengths(self) -> bool:
        return all(layer.check_lengths for layer in self.layers if isinstance(layer, CellLayer))

    def initialize_carry(
        self, key: PRNGKeyArray | None, sample_input: SampleInput
    ) -> tuple[PyTree, ...]:
        """A tuple with the carry of each layer: see `AbstractLayer.initialize_carry`."""
        carries = []
        samples = step_samples(self, sample_input, output_struct)
        for k, (layer, sample) in enumerate(zip(self.layers, samples, strict=False)):
            with part_of("Stacked", f"layers[{k}]", "", is_first=k == 0):
                own_key = part_of_key(key, self.layers, k)
                carries.append(layer.initialize_carry(own_key, sample))
        return tuple(carries)

    def as_cell(self) -> StackedCell:
        """The cell that computes one step of all layers, with the same weights.

        Its carry has the structure of the stack's carry, so you can continue step by step from a
        carry that a call returned.

            carry, outputs = stacked(inputs, return_carry=True)
            cell = stacked.as_cell()
            carry, output = cell(carry, next_input)

        **Raises:** an error if a layer runs backward or is neither an `RNN` nor a `Stacked`, if
        there are norms, or if there is dropout that `eqx.nn.inference_mode` did not switch off.
        """
        return self.as_step("")

    if TYPE_CHECKING:

        @overload
        def __call__(
            self, inputs: ArrayLike, *, return_carry: NoCarry = False, **options: Unpack[Options]
        ) -> Array: ...
        @overload
        def __call__(
            self, inputs: ArrayLike, *, return_carry: WithCarry, **options: Unpack[Options]
        ) -> tuple[tuple[Any, ...], Array]: ...

    @jax.named_scope("eqx_rnn.Stacked")
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
        """Runs all layers: see `RNN.__call__`, with these differences.

        **Arguments:**

        - `initial_carry`: a tuple with one carry per layer; `None` in it stands for the layer's
            own initial carry.
        - `resets`: true at the first step of an episode. A layer that runs backward resets after
            it has processed that step, so no layer sees across the bounds of an episode.
        - `key`: a random key, needed if there is dropout. It is split into one key per layer.

        **Returns:**

        The outputs of the last layer; with `return_carry`, the pair `(carries, outputs)`, where
        `carries` is a tuple with one carry per layer.
        """
        starts = len(self.layers) * (None,)
        if initial_carry is not None:
            directions = len(inner_cells(self.layers))
            starts = check_parts(
                "Stacked", "initial_carry", initial_carry, len(starts), "layer", directions
            )
        inputs = outputs = as_array("Stacked", "inputs", inputs)
        axes = find_axes("Stacked", inputs, self.num_feature_dims, self.time_major)
        valid, _ = valid_steps("Stacked", seq_lengths, mask, axes, check_lengths=False)
        shared: dict[str, Any] = dict(seq_lengths=seq_lengths, mask=mask, resets=resets)
        shared["return_carry"] = return_carry or True
        carries = []
        for k, layer in enumerate(self.layers):
            own_key = part_of_key(key, self.layers, k)
            layer_key, drop_key = (None, None) if own_key is None else jr.split(own_key)
            below = outputs
            if k > 0:
                below = check_link("Stacked", inputs, outputs, self.num_feature_dims, layer)
                if self.norms is not None:  # zeros may have no derivative
                    outputs = fill_padding(valid, below, axes)
                outputs = drop(self.dropout, normalize(self.norms, k, outputs), drop_key)
            with part_of("Stacked", f"layers[{k}]", f"initial_carry[{k}]", is_first=k == 0):
                own = dict(initial_carry=starts[k], key=layer_key, **shared)
                carry, outputs = run_layer(f"layers[{k}]", layer, outputs, valid, axes, **own)
            if k > 0 and self.residual:
                outputs = add_inputs(k, outputs, below)
            carries.append(carry)
        return (tuple(carries), outputs) if return_carry else outputs

    @property
    def keeps_order(self) -> bool:
        return keeps_order(self.layers[-1])

    @property
    def starts_at_end(self) -> bool:
        return False

    @property
    def first_cell(self) -> RNNCellBase | None:
        return first_cell(self.layers[0])

    def step_struct(self, sample_input: Any, of_cell: CellOutputs) -> PyTree[Any]:
        return list(step_samples(self, sample_input, of_cell))[-1]

    def as_step(self, name: str) -> StackedCell:
        return stack_steps(self, name)
