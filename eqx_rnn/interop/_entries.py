"""What all frameworks' weights share: reading named arrays, gates in another order, new cells."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.nn.initializers as jinit
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike

from .._base.cells import RNNCellBase
from .._checks.messages import describe
from .._functions.function import is_part, plain
from .._kernels.tracers import Tracer

# JAX's under a transformation, so `from_...` and `to_...` can be differentiated.
Weights = np.ndarray | Array


def as_weights(owner: str, name: str, value: Any, dtype: DTypeLike | None) -> Weights:
    """An array whose dtype JAX keeps, from whatever `np.asarray` takes, or a torch tensor."""
    if not isinstance(value, Tracer):
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            # NumPy has no bfloat16 of its own, so torch refuses; float32 holds all its numbers.
            is_bfloat16 = str(value.dtype) == "torch.bfloat16"
            value = value.float().numpy().astype(jnp.bfloat16) if is_bfloat16 else value.numpy()
        array = np.asarray(value)
        if array.dtype == object:
            raise TypeError(
                f"{owner}: `{name}` must be an array, got {type(value).__name__}. Pass what is in "
                "it, without boxes around arrays."
            )
        value = array
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(
            f"{owner}: `{name}` must be a floating-point array, got {describe(value)}. Quantised "
            "weights must be scaled back first."
        )
    if dtype is not None:
        value = value.astype(dtype)
    if jax.dtypes.canonicalize_dtype(value.dtype) != value.dtype:
        raise TypeError(
            f"{owner}: `{name}` must have a dtype that JAX keeps, got {describe(value)}. Pass "
            '`dtype=jnp.float32`, or set `jax.config.update("jax_enable_x64", True)`.'
        )
    return value


def write(array: Any) -> Weights:
    """A leaf of a cell as a NumPy array of its own: what reads it may want to write to it."""
    return array if isinstance(array, Tracer) else np.array(array)


class Entries:
    """Arrays by name, each to be taken once with its shape; `finish` refuses what is left."""

    def __init__(
        self, owner: str, entries: Mapping[str, Any], dtype: DTypeLike | None, prefix: str = ""
    ):
        self.owner, self.prefix = owner, prefix
        self.left = {k: as_weights(owner, prefix + k, v, dtype) for k, v in entries.items()}
        self.names = ", ".join(f"`{prefix}{name}`" for name in self.left) or "none"
        dtypes = {str(array.dtype): name for name, array in self.left.items()}
        if len(dtypes) > 1:
            (a, first), (b, second), *_ = dtypes.items()
            raise TypeError(
                f"{owner}: all weights must have one dtype, got {a} for `{prefix}{first}` and {b} "
                f"for `{prefix}{second}`. Pass `dtype` to cast all of them to it."
            )

    def __contains__(self, name: str) -> bool:
        return name in self.left

    def any(self, test: Callable[[str], bool]) -> bool:
        return any(map(test, self.left))

    def shape(self, name: str, *wanted: int | str) -> tuple[int, ...]:
        """The shape of an entry, its sizes checked; a string stands for any size."""
        axes = f"({', '.join(map(str, wanted))}{',' if len(wanted) == 1 else ''})"
        if name not in self.left:
            raise ValueError(
                f"{self.owner}: `{self.prefix}{name}` of shape {axes} is missing. The entries are "
                f"{self.names}: pass all weights of the layer."
            )
        shape = self.left[name].shape
        if 0 in shape:
            raise ValueError(
                f"{self.owner}: `{self.prefix}{name}` must have shape {axes} with sizes of at "
                f"least 1, got {shape}. A layer without units has no counterpart here."
            )
        if len(shape) != len(wanted) or any(
            isinstance(want, int) and size != want for size, want in zip(shape, wanted, strict=True)
        ):
            raise ValueError(
                f"{self.owner}: `{self.prefix}{name}` must have shape {axes}, got {shape}. Pass "
                "the weights of one layer as its framework keeps them."
            )
        return shape

    def space(self, *kernels: str) -> tuple[str, ...]:
        """A letter for each spatial axis of convolutions' kernels `(*space, input, output)`."""
        dims = [self.left[name].ndim for name in kernels if name in self.left]
        return tuple("XYZ"[: max(1, min(dims, default=4) - 2)])

    def take(self, name: str, *wanted: int | str) -> Weights:
        self.shape(name, *wanted)
        return self.left.pop(name)

    def finish(self, what: str) -> None:
        for name, array in self.left.items():
            raise ValueError(
                f"{self.owner}: `{self.prefix}{name}` must not be there, got {describe(array)}: "
                f"{what} has no such weight. Leave it out if nothing is lost without it."
            )


def refuse_nested(
    owner: str, names: Iterable[str], wanted: str, advice: str, prefix: str = ""
) -> None:
    """Where a layer's weights are further down in a model's, says so; `wanted` is a pattern."""
    found = [re.fullmatch(rf"(|.*?[./]){wanted}", name) for name in names]
    paths = sorted({match[1] for match in found if match})
    if paths and "" not in paths:
        raise ValueError(
            f"{owner}: the weights must be those of one layer, got a model's, with layers at "
            f"{', '.join(repr(prefix + path) for path in paths)}. {advice}"
        )


def require(value: Weights, wrong: Any, message: str) -> Weights:
    """`value`, unless something is wrong; under `jax.jit` that is known only when it runs."""
    if isinstance(wrong, Tracer):
        return eqx.error_if(value, wrong, message)
    if wrong:
        raise ValueError(message)
    return value


def concatenate(parts: Iterable[Weights]) -> Weights:
    parts = list(parts)
    traced = any(isinstance(part, Tracer) for part in parts)
    return (jnp if traced else np).concatenate(parts)


def gates(stacked: Weights, order: str) -> dict[str, Weights]:
    """The rows of each gate, a letter each."""
    size = stacked.shape[0] // len(order)
    return {gate: stacked[k * size : (k + 1) * size] for k, gate in enumerate(order)}


def reorder(stacked: Weights, source: str, target: str) -> Weights:
    """Gates in another order. Letters are ours, so the same stand for the same gate."""
    blocks = gates(stacked, source)
    return concatenate(blocks[gate] for gate in target)


def from_kernel(kernel: Weights) -> Weights:
    """`(*kernel_size, input, output)` to `(output, input, *kernel_size)`."""
    n = kernel.ndim
    return kernel.transpose(n - 1, n - 2, *range(n - 2))


def to_kernel(weight: Weights) -> Weights:
    return weight.transpose(*range(2, weight.ndim), 1, 0)


def merge_gru_biases(of_input: Weights, of_hidden: Weights) -> tuple[Weights, Weights]:
    """Two biases with rows r, z, n to `bias` and `bias_n`."""
    x, h = gates(of_input, "rzn"), gates(of_hidden, "rzn")
    return concatenate([x["r"] + h["r"], x["z"] + h["z"], x["n"]]), h["n"]


def split_gru_biases(cell: Any) -> tuple[Weights, Weights]:
    bias, bias_n = write(cell.bias), write(cell.bias_n)
    return bias, concatenate([np.zeros(2 * cell.hidden_size, bias_n.dtype), bias_n])


def shift_forget(bias: Weights, order: str, by: int) -> Weights:
    """Adds to the forget gate's rows, for frameworks that add 1 to them in every step."""
    return concatenate(
        rows + by if gate == "f" else rows for gate, rows in gates(bias, order).items()
    )


def bias_or_zeros(cell: Any) -> Weights:
    """For targets that always have a bias."""
    if cell.bias is None:
        return np.zeros(cell.weight_ih.shape[0], cell.weight_ih.dtype)
    return write(cell.bias)


def build(
    cell_type: Callable[..., RNNCellBase],
    *sizes: Any,
    weights: Mapping[str, Weights],
    **options: Any,
) -> Any:
    """A cell around given weights; its constructor checks the options and draws nothing."""
    weights = {name: value for name, value in weights.items() if value is not None}
    arrays = {name: jnp.asarray(value) for name, value in weights.items()}
    arrays |= {name: value for name, value in options.items() if is_part(value)}
    shapes = eqx.filter_eval_shape(
        cell_type,
        *sizes,
        use_bias="bias" in weights,
        weight_init=jinit.zeros,
        recurrent_weight_init=jinit.zeros,
        dtype=weights["weight_ih"].dtype,
        key=jax.random.key(0),
        **options,
    )
    return eqx.tree_at(
        lambda cell: [getattr(cell, name) for name in arrays], shapes, list(arrays.values())
    )


def show(value: Any) -> str:
    """The name of a function, or a value as Python writes it."""
    return getattr(value, "__name__", repr(value))


def check_type(owner: str, name: str, module: Any, types: Iterable[type]) -> None:
    types = tuple(types)
    if not isinstance(module, types):
        names = ", ".join(map(_path, types))
        got = describe(module) if isinstance(module, type) else _path(type(module))
        raise TypeError(
            f"{owner}: `{name}` must be one of {names}, got {got}. Nothing else has a counterpart "
            "there."
        )


def _path(cls: type) -> str:
    """The name of a class; with the library if it is one of Equinox, whose cells have ours."""
    return f"eqx.nn.{cls.__name__}" if cls.__module__.startswith("equinox.") else cls.__name__


def check_choice(owner: str, name: str, value: Any, choices: Iterable[Any]) -> None:
    choices = list(choices)
    if value not in choices:
        raise ValueError(
            f"{owner}: `{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}."
        )


def check_options(owner: str, cell: Any, **wanted: Any) -> None:
    """Refuses a cell with an option that the target cannot have; a tuple gives several."""
    for name, values in wanted.items():
        value = plain(getattr(cell, name))
        if value not in (values if isinstance(values, tuple) else (values,)):
            choices = list(map(show, values if isinstance(values, tuple) else [values]))
            found = show(value)
            if found in choices:  # another function of that name
                found = f"that of {value.__module__}"
            raise ValueError(
                f"{owner}: `{type(cell).__name__}` must have {name}={' or '.join(choices)}, got "
                f"{found}, which has no counterpart there."
            )
