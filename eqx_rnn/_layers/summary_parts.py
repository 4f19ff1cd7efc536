"""The parts of a model, with shapes and multiply-adds: the facts that `summary` shows.

Cells and layers of this library are described by their structure. In other modules, a stand-in
takes the place of each part. When the traced module calls it, the stand-in describes the part.
"""

import inspect
import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.random as jr

from .._base.cells import AbstractWrapper, RNNCellBase, SequentialCell
from .._base.layers import AbstractLayer
from .._checks.errors import get_fault, rename
from .._checks.messages import is_ours, wrong_inputs
from .._kernels.count import Count, count, mark
from .base import CellLayer
from .bidirectional import Bidirectional
from .rnn import RNN
from .summary_tree import Part, is_part, parts_of, structs_of, uncalled


def describe_cell(cell: RNNCellBase, sample: Any) -> Part:
    """A cell, from one step of its inputs with their batch axes."""
    try:
        carry, outputs = _trace_step(cell, sample)
    except (TypeError, ValueError) as error:  # as the error of a call
        _, features = get_fault(error)
        if features is not None:
            error.fault = wrong_inputs("inputs", features, sample), None  # pyright: ignore
        rename(error, type(cell).__name__, sample_input="`inputs")
        raise
    part = Part(cell, {}, outputs, carry)
    shape = sample.shape[len(sample.shape) - cell.num_feature_dims :]
    row = jax.ShapeDtypeStruct(shape, sample.dtype)
    parts, cells = parts_of(cell), getattr(cell, "cells", ())
    in_order = len(parts) == len(cells) and all(map(operator.is_, parts.values(), cells))
    if isinstance(cell, AbstractWrapper) or (isinstance(cell, SequentialCell) and in_order):
        for path, inner in parts.items():
            part.inside[path] = describe_cell(inner, sample)
            sample = part.inside[path].outputs  # of the cell before, in a `SequentialCell`
        inside = sum(inner.all_multiply_adds for inner in part.inside.values())
        part.multiply_adds = _count_step(cell, cell, row).multiply_adds - inside
    else:
        run = lambda watched: _count_step(cell, watched, row)
        part.inside, part.multiply_adds = _watch(cell, run, is_step=True)
    return part


def _begin(cell: Any, carry: Any, key: Any) -> Any:
    return cell.begin(carry, key=key)[:2]


def _step(cell: Any, carry: Any, inputs: Any, key: Any) -> Any:
    begun, carry = _begin(cell, carry, key)
    return begun(carry, inputs, key=key)


def _trace_step(cell: RNNCellBase, sample: Any) -> tuple[Any, Any]:
    """The first carry, and the outputs of a step."""

    def trace(cell: Any, inputs: Any, key: Any) -> tuple[Any, Any]:
        carry = cell.initialize_carry(key, sample)
        return carry, _step(cell, carry, inputs, key)[1]

    return eqx.filter_eval_shape(trace, cell, sample, _key())


def _count_step(cell: RNNCellBase, watched: Any, row: Any) -> Count:
    """Counts a step, without `begin`. `watched` is the cell with stand-ins for its parts."""
    carry, _ = _trace_step(cell, row)
    begins = count(_begin, cell, carry, _key()).multiply_adds
    both = count(_step, watched, carry, row, _key())
    return both._replace(multiply_adds=both.multiply_adds - begins)


def describe_layer(layer: AbstractLayer, inputs: Any) -> Part:
    """A layer, from all steps of its inputs."""

    def call(layer: Any, inputs: Any, key: Any) -> Any:
        return layer(inputs, return_carry=True, key=key)

    carry, outputs = eqx.filter_eval_shape(call, layer, inputs, _key())
    part = Part(layer, {}, outputs, carry, 0)
    axis = 0 if layer.time_major else inputs.ndim - layer.num_feature_dims - 1
    if not (isinstance(layer, CellLayer) and is_ours(type(layer))):
        one = (1, *inputs.shape[inputs.ndim - layer.num_feature_dims :])
        row = jax.ShapeDtypeStruct(one, inputs.dtype)  # one step of one row
        run = lambda watched: count(call, watched, row, _key())
        part.inside, part.multiply_adds = _watch(layer, run, is_step=True)
    elif isinstance(layer, RNN):
        shape = inputs.shape[:axis] + inputs.shape[axis + 1 :]
        sample = jax.ShapeDtypeStruct(shape, inputs.dtype)
        part.inside["cell"] = describe_cell(layer.cell, sample)
    elif isinstance(layer, Bidirectional):
        for path in ("forward_rnn", "backward_rnn"):
            part.inside[path] = describe_layer(getattr(layer, path), inputs)
    else:
        _describe_stack(part, inputs)
    return part


def _describe_stack(part: Part, inputs: Any) -> None:
    """Fills in the parts of a `Stacked`."""
    for k, inner in enumerate(part.module.layers):
        if k > 0 and part.module.norms is not None:
            norm = part.module.norms[k - 1]
            part.inside[f"norms[{k - 1}]"] = Part(norm, {}, inputs, None, 0)
        part.inside[f"layers[{k}]"] = describe_layer(inner, inputs)
        inputs = part.inside[f"layers[{k}]"].outputs


def describe_call(module: Any, args: Any, kwargs: Any) -> Part:
    """A part of any kind, from the arguments of a call."""
    if isinstance(module, RNNCellBase):
        return describe_cell(module, kwargs["inputs"] if "inputs" in kwargs else args[1])
    if isinstance(module, AbstractLayer):
        return describe_layer(module, kwargs["inputs"] if "inputs" in kwargs else args[0])
    call = lambda module, args, kwargs: module(*args, **kwargs)
    outputs = eqx.filter_eval_shape(call, module, args, kwargs)
    run = lambda watched: count(call, watched, args, kwargs)
    inside, multiply_adds = _watch(module, run, is_step=False)
    return Part(module, inside, outputs, None, multiply_adds, is_per_call=True)


class _Watch(eqx.Module):
    """Stands in for a part in a traced call, and describes the part at its first call.

    It counts as an instance of the class of the part, and has the attributes of the part.
    """

    _inner: Any  # the part, with traced arrays
    _found: Part = eqx.field(static=True)
    _number: int = eqx.field(static=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = lambda inner, args, kwargs: inner(*args, **kwargs)
        results = eqx.filter_eval_shape(call, self._inner, args, kwargs)
        if self._found.multiply_adds is None:
            described = describe_call(self._inner, *structs_of((args, kwargs)))
            described.set_module(self._found.module)
            vars(self._found).update(vars(described))
        return mark(self._number, results)

    def __getattr__(self, name: str) -> Any:
        if name == "__signature__":
            return inspect.signature(self._inner)
        if name == "_inner":  # while Equinox builds this module
            raise AttributeError(name)
        return getattr(self._inner, name)

    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self._inner)


def _watch(module: Any, run: Callable[[Any], Count], is_step: bool) -> tuple[dict[str, Part], int]:
    """The parts of a module, and the multiply-adds of `run(module)` outside of them.

    `is_step` says that `run` is one step, so that a part counts as often as `run` calls it.
    """
    found = {path: uncalled(part) for path, part in parts_of(module).items()}
    if found:
        numbered = iter(enumerate(found.values()))

        def stand_in(node: Any) -> Any:
            if not is_part(module, node):
                return node
            number, part = next(numbered)
            return _Watch(node, part, number)

        module = jax.tree.map(stand_in, module, is_leaf=lambda node: is_part(module, node))
    own, marks = run(module)
    for number, part in enumerate(found.values()):
        if is_step:
            part.as_step(marks[number])
    return found, own


def _key() -> Any:
    return jax.eval_shape(lambda: jr.key(0))
