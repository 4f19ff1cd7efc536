"""Checks of the options of convolutions."""

from collections.abc import Sequence

Padding = str | Sequence[tuple[int, int]]


def kernel_shape(
    owner: str, kernel_size: int | Sequence[int], num_spatial_dims: int | None
) -> tuple[int, ...]:
    """The size of the kernel along each spatial axis."""
    if isinstance(kernel_size, int):
        if num_spatial_dims is None:
            raise ValueError(
                f"{owner}: `kernel_size` must be a tuple with one size per spatial axis, got "
                f"{kernel_size}, which does not say how many axes there are. For images, pass "
                f"`kernel_size=({kernel_size}, {kernel_size})` or `num_spatial_dims=2`."
            )
        kernel_size = num_spatial_dims * (kernel_size,)
    kernel_size = tuple(kernel_size)
    if num_spatial_dims not in (None, len(kernel_size)):
        raise ValueError(
            f"{owner}: `num_spatial_dims` must be the length of `kernel_size`, got "
            f"{num_spatial_dims} and {kernel_size}. Pass one of the two."
        )
    if not 1 <= len(kernel_size) <= 3 or min(kernel_size) < 1:
        raise ValueError(
            f"{owner}: `kernel_size` must be 1, 2 or 3 sizes of at least 1, got {kernel_size}."
        )
    return kernel_size


def per_axis(owner: str, name: str, value: int | Sequence[int], num_axes: int) -> tuple[int, ...]:
    """An option that is one number for all spatial axes, or one number per axis."""
    values = num_axes * (value,) if isinstance(value, int) else tuple(value)
    if len(values) != num_axes or min(values) < 1:
        raise ValueError(
            f"{owner}: `{name}` must be an integer of at least 1, or {num_axes} of them (as many "
            f"as `kernel_size` has), got {value}."
        )
    return values


def check_padding(owner: str, padding: Padding, num_axes: int) -> str | tuple[tuple[int, int], ...]:
    if isinstance(padding, str):
        valid = padding in ("SAME", "VALID")
    else:
        padding = tuple((low, high) for low, high in padding)
        valid = len(padding) == num_axes
    if not valid:
        raise ValueError(
            f'{owner}: `padding` must be "SAME", "VALID" or {num_axes} pairs (before, after), as '
            f"many as `kernel_size` has numbers, got {padding!r}."
        )
    return padding
