"""Checks of the user's arguments, with errors that say what to do.

Each text names the argument, the expected and the given value, and a remedy. Annotations check the
same shapes deeper inside. The checks here run first, because their texts are more helpful.
"""

import numbers
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .errors import fault


def describe(value: Any) -> str:
    """`float32[2,5]` for an array or a struct; the type and the start of its `repr` otherwise."""
    if getattr(value, "describes_itself", False):
        return repr(value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name, text = type(value).__name__, repr(value)
    if "\n" in text:
        return name
    return f"{text:.60}" if text.startswith(("<", f"{name}(")) else f"{name} {text:.60}"


def describe_tree(tree: PyTree) -> str:
    """The structure of a PyTree, with each leaf in the form of `describe`."""
    if hasattr(tree, "_fields"):
        inner = (f"{k}={describe_tree(v)}" for k, v in zip(tree._fields, tree, strict=True))
        return f"{type(tree).__name__}({', '.join(inner)})"
    if isinstance(tree, tuple | list):
        inside = ", ".join(map(describe_tree, tree))
        if isinstance(tree, list):
            return f"[{inside}]"
        return f"({inside},)" if len(tree) == 1 else f"({inside})"
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{k!r}: {describe_tree(v)}" for k, v in tree.items()) + "}"
    return describe(tree)


def is_floating(value: Any) -> bool:
    """Whether a value is a real or complex array, or a struct of one."""
    is_array = hasattr(value, "shape") and hasattr(value, "dtype")
    return is_array and jnp.issubdtype(value.dtype, jnp.inexact)


def is_ours(cls: type) -> bool:
    """Whether a class belongs to this package."""
    return cls.__module__.partition(".")[0] == "eqx_rnn"


def has_field(part: Any, name: str) -> bool:
    """Whether a cell or layer has this field, and a class of this package defines it."""
    sets = ("__dataclass_fields__", "__abstractvars__")
    classes = filter(is_ours, type(part).__mro__)
    return any(name in vars(cls).get(fields, ()) for cls in classes for fields in sets)


def as_array(owner: str, name: str, value: Any) -> Array:
    """A JAX array from a JAX or NumPy one; anything else is an error."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        raise fault(
            TypeError,
            owner,
            f"`{name}` must be a JAX or NumPy array, got {describe(value)}. Convert it first, for "
            f"example with `jnp.asarray({name})`.",
        )
    return jnp.asarray(value)


def as_dtype(owner: str, dtype: Any) -> jnp.dtype:
    """A floating-point dtype, from any argument of `jnp.dtype`."""
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating):
        raise TypeError(
            f"{owner}: `dtype` must be a floating-point dtype or None, got {dtype!r}. "
            "Pass for example `jnp.float32` or `jnp.bfloat16`."
        )
    return found


def check_inputs(cell: Any, inputs: Any, features: Sequence[int | str]) -> None:
    """Checks the inputs of one step: floating-point, of shape `(*batch, *features)`.

    A string in `features` stands for an axis of any size. The last item is the `input_size`.
    """
    owner, name = type(cell).__name__, "sample_input"
    is_array = hasattr(inputs, "shape") and hasattr(inputs, "dtype")
    is_floating = is_array and jnp.issubdtype(inputs.dtype, jnp.floating)
    fits = is_array and inputs.shape[-1:] == features[-1:] and len(inputs.shape) >= len(features)
    if not (is_floating and fits):
        kind = ValueError if is_floating else TypeError
        features = tuple(features)
        raise fault(kind, owner, wrong_inputs(name, features, inputs), features)


def wrong_inputs(
    name: str, features: tuple[int | str, ...], inputs: Any, leading: Sequence[str] = ("*batch",)
) -> str:
    """The text of the error for inputs that are not of shape `(*leading, *features)`."""
    size = features[-1]
    wanted = ", ".join([*leading, *map(str, features[:-1]), f"input_size={size}"])
    text = f"`{name}` must be a floating-point array of shape ({wanted}), got {describe(inputs)}. "
    if not (hasattr(inputs, "shape") and hasattr(inputs, "dtype")):
        return text + _advise_no_array(inputs)
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        return text + (
            "Cast it first, for example with `.astype(jnp.float32)`; tokens need an "
            "`eqx.nn.Embedding`."
        )
    shape = inputs.shape
    if size == 1 and shape[-1:] != (1,):
        return text + f"If the feature axis is missing, add it: `{name}[..., None]`."
    num_axes = len(features) + len(leading) - 1
    if len(shape) < num_axes:
        where = "The axis of features" if shape[-1:] != (size,) else "Another axis"
        return text + f"{where} is missing: reshape the array first."
    pass_them = f"pass {size} features per step"
    if len(shape) > num_axes or len(leading) == 1:
        pass_them += f", or build the cell for {shape[-1]} features"
    axis = -len(features) if len(features) > 1 else -2  # the place of channels in other libraries
    if (len(features) > 1 or len(shape) > num_axes) and shape[axis:][:1] == (size,):
        return text + (
            f"Axis {axis} has this size. If it holds the features, move it last with "
            f"`jnp.moveaxis({name}, {axis}, -1)`. If not, {pass_them}."
        )
    return text + f"The last axis is wrong: {pass_them}."


def is_shape(value: Any) -> bool:
    """Whether a value looks like the shape of an array."""
    is_size = lambda n: isinstance(n, numbers.Integral) and not isinstance(n, bool)
    return isinstance(value, tuple | list) and bool(value) and all(map(is_size, value))


def advise_shape(shape: Any) -> str:
    """The advice for a shape in place of an array."""
    return f"For a shape, pass `jax.ShapeDtypeStruct({tuple(map(int, shape))}, jnp.float32)`."


def _advise_no_array(value: Any) -> str:
    if is_shape(value):
        return advise_shape(value)
    if isinstance(value, tuple | list) and any(hasattr(part, "shape") for part in value):
        return "A carry comes before the inputs: `cell(carry, inputs)`."
    return "Pass a JAX or NumPy array."


def check_distinct(owner: str, names: str, cells: Sequence[Any]) -> None:
    """Checks that no weights are used twice: an update of a PyTree would turn them into two cells.

    A cell without weights, such as an activation in a `Pointwise`, may be used twice.
    """
    is_array = lambda leaf: isinstance(leaf, jax.Array)
    weights = [tuple(map(id, filter(is_array, jax.tree.leaves(cell)))) for cell in cells]
    weights = [ids for ids in weights if ids]
    if len(set(weights)) < len(weights):
        raise ValueError(
            f"{owner}: {names} must have a cell each, got one cell twice (or in two wrappers). The "
            "first update of its weights would turn it into two independent cells. Build another "
            "cell, or share the weights with `eqx.nn.Shared`."
        )


def check_link(owner: str, inputs: Any, outputs: Any, num_feature_dims: int, above: Any) -> Any:
    """Returns the outputs of a part of a stack, checked as inputs of the part above.

    `inputs` are the inputs of the stack, with `num_feature_dims` feature axes.
    """
    if not (hasattr(outputs, "shape") and hasattr(outputs, "dtype")):
        raise TypeError(
            f"{owner}: all parts except the last must return one array, got "
            f"{describe_tree(outputs)}. Move this part to the end, or combine its outputs into one "
            "array."
        )
    batch = len(inputs.shape) - num_feature_dims
    if len(outputs.shape) - above.num_feature_dims != batch:
        raise ValueError(
            f"{owner}: each part must have as many feature axes as the outputs of the part before, "
            f"got outputs {describe(outputs)} with {len(outputs.shape) - batch} of them for a part "
            f"with num_feature_dims={above.num_feature_dims}. Stack cells for vectors on cells "
            "for vectors, and cells for images on cells for images."
        )
    return outputs
