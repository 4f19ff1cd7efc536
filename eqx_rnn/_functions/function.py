"""Functions that cells hold, such as activations: static, compared by their code, picklable."""

import functools
from collections.abc import Callable, Collection
from typing import Any

import equinox as eqx
import jax

from .pickles import portable
from .same import digest, same


@jax.tree_util.register_static
class Function:
    """A function as a PyTree without leaves, so that the leaves of a cell are arrays only.

    Calling it calls the function, which is its `__wrapped__`. Two objects are equal if their
    functions compute the same (see `same`). A plain function compares like a wrapped one.
    """

    __wrapped__: Callable

    def __init__(self, function: Callable):
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return self is other or same(self.__wrapped__, plain(other))

    @functools.cached_property
    def _hash(self) -> int:
        return digest(self.__wrapped__)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        name = getattr(self.__wrapped__, "__name__", None)
        return repr(self.__wrapped__) if name is None else f"<function {name}>"

    def __copy__(self) -> "Function":
        return self

    def __deepcopy__(self, memo: dict) -> "Function":
        return self

    def __reduce__(self) -> tuple:
        return as_function, (portable(self.__wrapped__),)


@jax.tree_util.register_static
class Name(str):
    """The name of a function: a string as a PyTree without leaves."""

    __slots__ = ()

    def __reduce__(self) -> tuple:
        return as_function, (str(self), (str(self),))


def as_function(value: Callable, names: Collection[str] = ()) -> Any:
    """The converter of a field that holds a function, in the cells of this library and in yours.

        activation: Callable = eqx.field(converter=eqx_rnn.as_function)

    A function becomes static: a PyTree without leaves. It can be copied and pickled with the
    cell, and two cells with equal functions have equal structures. An `eqx.Module` with arrays or
    numbers in it, such as `eqx.nn.PReLU()`, stays a part of the cell and is trained.

    **Arguments:**

    - `value`: the function or module.
    - `names`: strings that are allowed as well. They become static, too.

    **Raises:** `TypeError` for anything else.
    """
    if isinstance(value, str) and value in names:
        return Name(value)
    if not callable(value):
        raise TypeError(
            f"as_function: `value` must be a function or a module that can be called, got "
            f"{value!r:.60}. Pass the function itself, for example `jnp.tanh`."
        )
    return value if is_part(value) or isinstance(value, Function) else Function(value)


def is_part(value: Any) -> bool:
    """Whether this is a module with arrays or numbers in it, which `as_function` keeps as it is."""
    return isinstance(value, eqx.Module) and any(map(eqx.is_array_like, jax.tree.leaves(value)))


def plain(value: Any) -> Any:
    """The function in a `Function`; anything else as it is."""
    return value.__wrapped__ if isinstance(value, Function) else value


def is_function(value: Any, function: Callable) -> bool:
    """Whether `value`, from a field of a cell, is this function."""
    return value is function or (isinstance(value, Function) and value == function)
