"""Named arrays of a layer, read one by one."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jaxtyping import DTypeLike

from .._checks.messages import describe
from .arrays import Weights, as_weights


class Entries:
    """Arrays by name. Each one is taken once, with its shape; `finish` refuses the others."""

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
        """Whether the name of any array passes a test."""
        return any(map(test, self.left))

    def shape(self, name: str, *wanted: int | str) -> tuple[int, ...]:
        """Checks the shape of an array and returns it. A string stands for any size."""
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
                f"least 1, got {shape}. Cells here have at least one input and one unit."
            )
        if len(shape) != len(wanted) or any(
            isinstance(want, int) and size != want for size, want in zip(shape, wanted, strict=True)
        ):
            raise ValueError(
                f"{self.owner}: `{self.prefix}{name}` must have shape {axes}, got {shape}. Pass "
                "the weights of one layer in the layout of its framework."
            )
        return shape

    def space(self, *kernels: str) -> tuple[str, ...]:
        """One letter per spatial axis of convolution kernels `(*space, input, output)`."""
        dims = [self.left[name].ndim for name in kernels if name in self.left]
        return tuple("XYZ"[: max(1, min(dims, default=4) - 2)])

    def take(self, name: str, *wanted: int | str) -> Weights:
        """Removes an array and returns it, with its shape checked as in `shape`."""
        self.shape(name, *wanted)
        return self.left.pop(name)

    def finish(self, layer: str) -> None:
        """Checks that no array is left. `layer` is the description of the layer in the error."""
        for name, array in self.left.items():
            raise ValueError(
                f"{self.owner}: `{self.prefix}{name}` must not be there, got {describe(array)}: "
                f"{layer} has no such weight. Leave it out if the layer does not need it."
            )


def refuse_nested(
    owner: str, names: Iterable[str], wanted: str, advice: str, prefix: str = ""
) -> None:
    """Raises an error if the weights are those of a whole model that contains the layer.

    `wanted` is a pattern for the name of one weight of a layer.
    """
    found = [re.fullmatch(rf"(|.*?[./]){wanted}", name) for name in names]
    paths = sorted({match[1] for match in found if match})
    if paths and "" not in paths:
        raise ValueError(
            f"{owner}: the weights must be those of one layer, got those of a model with layers "
            f"at {', '.join(repr(prefix + path) for path in paths)}. {advice}"
        )
