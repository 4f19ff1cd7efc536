from collections.abc import Callable, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.carries import check_parts
from .._base.cells import RNNCellBase, inner_cells, part_of_key
from .._base.widths import cell_outputs
from .._checks.arguments import check_options_of
from .._checks.errors import part_of
from .._checks.messages import as_array, check_distinct, check_link, describe
from .._checks.options import check_sizes, split_key
from .bidirectional import Bidirectional
from .rnn import RNN
from .sequences import backward_resets, fill_padding, find_axes
from .widths import add_inputs, check_cell_class, check_layers, check_norm, keeps_order

Norm = eqx.nn.LayerNorm | eqx.nn.RMSNorm


class Stacked(eqx.Module):
    """Runs layers one after another: the outputs of each are the inputs of the next.

        h[0] = layers[0](x)
        h[k] = layers[k](dropout(norms[k - 1](h[k - 1])))               residual=False
        h[k] = layers[k](dropout(norms[k - 1](h[k - 1]))) + h[k - 1]    residual=True

    for k = 1, 2, ...; the outputs are the last `h`. A layer is an `RNN`, a `Bidirectional` or a
    `Stacked`, each of its own width. To step through a stack, see `StackedCell`; with something
    between the layers, call the stack with a time axis of length 1 and the last call's carry.

    **Source:** A. Graves, A.-R. Mohamed, G. Hinton, "Speech recognition with deep recurrent
    neural networks", ICASSP (2013), without its connections that skip layers; dropout of W.
    Zaremba, I. Sutskever, O. Vinyals, "Recurrent neural network regularization",
    arXiv:1409.2329 (2014), but not on inputs and outputs of the stack, as in torch; residual
    connections of Y. Wu et al., "Google's neural machine translation system",
    arXiv:1609.08144 (2016).
    """

    layers: tuple[Any, ...]
    norms: tuple[Norm, ...] | None
    dropout: eqx.nn.Dropout | None
    residual: bool = eqx.field(static=True)

    def __init__(
        self,
        layers: "Sequence[RNN | Bidirectional | Stacked]",
        *,
        dropout: float | int = 0.0,
        residual: bool = False,
        norms: Sequence[Norm] | None = None,
    ):
        """**Arguments:**

        - `layers`: at least one, the one that takes in the inputs first.
        - `dropout`: which fraction of the entries to drop between layers, not after the last.
            A call then needs a `key`, unless `eqx.nn.inference_mode` switched dropout off.
        - `residual`: whether a layer's inputs are added to its outputs; not to the first's.
        - `norms`: one `eqx.nn.LayerNorm` or `eqx.nn.RMSNorm` less than there are layers, each
            for the last axis of what the layer before it puts out.
        """
        if not isinstance(layers, list | tuple):
            raise TypeError(
                f"Stacked: `layers` must be a list or tuple of layers, got {describe(layers)}. Put "
                "them into a list, also if there is one: `Stacked([layer])`."
            )
        if len(layers) == 0:
            raise ValueError("Stacked: `layers` must be one layer or more, got none. Pass some.")
        for k, layer in enumerate(layers):
            if not isinstance(layer, RNN | Bidirectional | Stacked):
                raise TypeError(
                    f"Stacked: `layers[{k}]` must be an `RNN`, a `Bidirectional` or a `Stacked`, "
                    f"got {describe(layer)}. Wrap a cell first: `RNN(cell)`."
                )
        check_distinct("Stacked", "`layers`", inner_cells(tuple(layers)))
        if len({layer.time_major for layer in layers}) > 1:
            raise ValueError(
                "Stacked: `layers` must agree on `time_major`, got "
                f"{[layer.time_major for layer in layers]}. Build all with the same one."
            )
        for k, layer in enumerate(layers):
            last = k == len(layers) - 1
            if not keeps_order(layer) and (not last or (residual and k > 0)):
                raise ValueError(
                    f"Stacked: `layers[{k}]` must put out its steps in the order of its inputs, "
                    "got reverse=True, keep_order=False. Build it with `keep_order=True`."
                )
        if not 0 <= dropout < 1:
            raise ValueError(
                f"Stacked: `dropout` must be a fraction, 0 <= dropout < 1, got {dropout}. Pass "
                "the share of the entries to be dropped."
            )
        if norms is not None and len(norms) != len(layers) - 1:
            raise ValueError(
                f"Stacked: `norms` must be one between each two of the {len(layers)} layers, got "
                f"{len(norms)}. Pass {len(layers) - 1}."
            )
        check_layers(layers, residual, norms)
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
        dropout: float | int = 0.0,
        residual: bool = False,
        layer_norm: bool = False,
        time_major: bool = False,
        check_lengths: bool = True,
        key: PRNGKeyArray | None = None,
        **cell_options: Any,
    ) -> "Stacked":
        """Layers of one kind and width, as `torch.nn.LSTM` has them.

        **Arguments:**

        - `cell`: a cell's class, or a function with its arguments.
        - `input_size`, `hidden_size`, `cell_options`: what each cell is built with; from the
            second on, `input_size` is what the layer before puts out.
        - `num_layers`: how many layers, at least 1.
        - `bidirectional`: whether each layer is a `Bidirectional`, its outputs side by side.
        - `dropout`, `residual`: see `Stacked`.
        - `layer_norm`: whether there is an `eqx.nn.LayerNorm` between layers.
        - `time_major`, `check_lengths`: see `RNN`.
        - `key`: a `jax.random.key` for the initial weights.
        """
        check_cell_class(cell)
        check_options_of(cls.create, "Stacked.create", cell, cell_options)
        check_sizes("Stacked.create", num_layers=num_layers)
        layers, norms, size = [], [], input_size
        for k, layer_key in enumerate(split_key("Stacked.create", key, num_layers)):
            if k > 0 and layer_norm:
                norms.append(eqx.nn.LayerNorm(size, dtype=cell_options.get("dtype")))
            cells = [
                cell(size, hidden_size, key=cell_key, **cell_options)
                for cell_key in jr.split(layer_key, 1 + bidirectional)
            ]
            options = dict(time_major=time_major, check_lengths=check_lengths)
            rnns = [RNN(cell, **options) for cell in cells]
            layers.append(Bidirectional(rnns[0], rnns[1]) if bidirectional else rnns[0])
            size = sum(_output_size(cell, size) for cell in cells)
        return cls(layers, dropout=dropout, residual=residual, norms=norms if layer_norm else None)

    @property
    def num_feature_dims(self) -> int:
        """How many trailing axes of the inputs are features."""
        return self.layers[0].num_feature_dims

    @property
    def time_major(self) -> bool:
        """Whether the time axis comes first."""
        return self.layers[0].time_major

    @property
    def check_lengths(self) -> bool:
        """Whether lengths outside the time axis raise an error: see `RNN`."""
        return all(layer.check_lengths for layer in self.layers)

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

        - `initial_carry`: a tuple, one carry a layer; `None` in it for the layer's own.
        - `resets`: true at the first step of an episode. A layer that runs backward resets when
            it has left that step, so none sees across an episode's bounds.
        - `key`: needed if there is dropout; split into one a layer.

        **Returns:**

        The outputs of the last layer; with `return_carry`, the pair of a tuple, one carry a
        layer, and the outputs.
        """
        starts = len(self.layers) * (None,)
        if initial_carry is not None:
            directions = sum(1 + isinstance(layer, Bidirectional) for layer in self.layers)
            starts = check_parts(
                "Stacked", "initial_carry", initial_carry, len(starts), "layer", directions
            )
        inputs = outputs = as_array("Stacked", "inputs", inputs)
        carries = []
        for k, layer in enumerate(self.layers):
            own_key = part_of_key(key, self.layers, k)
            layer_key, drop_key = (None, None) if own_key is None else jr.split(own_key)
            below = outputs
            if k > 0:
                below = check_link("Stacked", inputs, outputs, self.num_feature_dims, layer)
                if self.norms is not None:  # zeros may have no finite derivative
                    fill = seq_lengths, mask, self.num_feature_dims, self.time_major
                    outputs = fill_padding("Stacked", below, *fill)
                outputs = self._between(k, outputs, drop_key)
            own_resets = resets
            if resets is not None and isinstance(layer, RNN) and layer.reverse:
                axes = find_axes("Stacked", outputs, layer.num_feature_dims, layer.time_major)
                own_resets = backward_resets(
                    "Stacked", resets, seq_lengths, mask, axes, self.check_lengths
                )
            with part_of("Stacked", f"layers[{k}]", f"initial_carry[{k}]", is_first=k == 0):
                carry, outputs = layer(
                    outputs,
                    initial_carry=starts[k],
                    seq_lengths=seq_lengths,
                    mask=mask,
                    resets=own_resets,
                    return_carry=return_carry or True,
                    key=layer_key,
                )
            if k > 0 and self.residual:
                outputs = add_inputs(k, outputs, below)
            carries.append(carry)
        return (tuple(carries), outputs) if return_carry else outputs

    def _between(self, k: int, outputs: Array, key: PRNGKeyArray | None) -> Array:
        """From the outputs of one layer to the inputs of the `k`-th, the next."""
        if self.norms is not None:
            norm = self.norms[k - 1]
            check_norm(k - 1, norm, outputs)
            outputs = jnp.vectorize(norm, signature="(n)->(n)")(outputs)
        if self.dropout is not None:
            if key is None and not self.dropout.inference:
                raise ValueError(
                    "Stacked: `key` must be a random key, because there is dropout, got None. "
                    "Pass `key=jax.random.key(seed)`, or switch dropout off with "
                    "`eqx.nn.inference_mode(model)`."
                )
            outputs = self.dropout(outputs, key=key)
        return outputs


def _output_size(cell: RNNCellBase, input_size: int) -> int:
    """The size of the last axis of what a cell puts out."""
    space = (cell.num_feature_dims - 1) * (1000,)  # wide enough for a kernel; nothing is computed
    sample = jax.ShapeDtypeStruct((*space, input_size), jnp.result_type(float))
    return cell_outputs(cell, sample).shape[-1]
