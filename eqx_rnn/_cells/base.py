"""The options, sizes, first carry and `repr` that the cells of this library share.

The base classes of a cell determine its carry (`HiddenCell`, `MemoryCell`), its functions
(`ActivatedCell`, `NonlinearCell`, `GatedCell`), its features (`VectorCell`, `ConvCell`) and its
contract (`FactoredCell`, `LinearCell`, `ChunkCell`).

    class GRUCell(HiddenCell, GatedCell, VectorCell, FactoredCell): ...
    class MinGRUCell(HiddenCell, ActivatedCell, VectorCell, LinearCell): ...

A class is either abstract or final, as Equinox recommends: every method is implemented once, and
`__init__` belongs to the final class. There are two exceptions. The common options are fields of
an abstract class. And `__pdoc__` replaces the text that Equinox prints for a module.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.nn
import jax.nn.initializers as jinit
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._base.cells import RNNCellBase
from .._checks.messages import as_dtype, check_inputs
from .._checks.options import check_names, check_sizes, require_key
from .._functions.function import as_function
from ..initializers import Initializer, draw_carry
from .draw import Draw
from .options import ActivatedOptions as ActivatedOptions
from .options import BiasedOptions as BiasedOptions
from .options import CellOptions as CellOptions
from .options import CoreOptions as CoreOptions
from .options import GatedCellOptions as GatedCellOptions
from .options import MatrixOptions as MatrixOptions
from .options import WeightOptions as WeightOptions
from .show import document, show

Hidden = Float[Array, "*batch {self.hidden_size}"]
# Types in named tuples of gates, which have no `self`. One of two added `Part`s may be `None`.
Gate = Float[Array, "*batch hidden_size"]
Part = PyTree[Float[Array, "*batch features"]]


class AbstractCell(RNNCellBase):
    """A cell of this library. Every cell has these arguments:

    - `input_size`: the number of features of the inputs.
    - `hidden_size`: the number of features of the hidden state.
    - `carry_init`: an initialiser for the carry before the first step.
    - `dtype`: the dtype of the weights. `None` means JAX's default floating-point dtype.
    - `key`: a `jax.random.key` for the initial weights. It has no default.

    A subclass declares its arrays and its own options. Its `__init__` takes all others as
    `**options`, passes them to `_setup`, and draws the arrays with the `Draw` that it returns.
    A class changes a default by a keyword: `class IndRNNCell(..., activation=relu)`.
    """

    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    carry_init: eqx.AbstractVar[Initializer]
    _defaults: ClassVar[dict[str, Any]] = {"carry_init": jinit.zeros, "dtype": None}

    def __init_subclass__(cls, **defaults: Any):
        super().__init_subclass__()
        if defaults:
            cls._defaults = defaults | cls._defaults | defaults
        if "__init__" in vars(cls):
            fields = cls.__dataclass_fields__
            document(cls, AbstractCell)
            # A module in place of a function has leaves. In files of `tree_serialise_leaves` they
            # follow the arrays of the cell. Leaves of a base class's fields would precede them.
            if "__annotations__" not in vars(cls):
                cls.__annotations__ = {}  # not those of a base class
            abstract = [getattr(base, "__abstractvars__", ()) for base in cls.__mro__]
            for name in ("activation", "gate_activation", "carry_init"):
                if any(name in names for names in abstract) and name not in fields:
                    cls.__annotations__[name] = Callable
                    setattr(cls, name, eqx.field(converter=as_function))

    def _setup(
        self,
        input_size: int,
        hidden_size: int,
        options: CoreOptions | MatrixOptions,
        kernel_size: tuple[int, ...] = (),
        **sizes: int | None,
    ) -> Draw:
        """Checks the common options and further sizes, sets fields, and returns a `Draw`."""
        owner, values = type(self).__name__, {"key": None, **self._defaults}
        check_names(owner, options, values)
        check_sizes(owner, input_size=input_size, hidden_size=hidden_size, **sizes)
        values |= options
        if "key" not in self._defaults:  # otherwise the cell draws no weights
            require_key(owner, values["key"])
        self.input_size = input_size
        self.hidden_size = hidden_size
        fields = type(self).__dataclass_fields__.keys() - vars(self).keys()
        for name in values.keys() & fields:
            setattr(self, name, values[name])
        dtype = values["dtype"]
        dtype = jnp.result_type(float) if dtype is None else as_dtype(owner, dtype)
        return Draw(values, dtype, input_size, hidden_size, kernel_size)

    @property
    @abc.abstractmethod
    def output_size(self) -> int:
        """The number of features of the outputs; for images, the number of channels."""

    @abc.abstractmethod
    def _space(self, sample_input: Any) -> tuple[Any, ...]:
        """Checks a sample of the inputs, and returns the spatial axes of the state for it."""

    def _first_carry(self, key: PRNGKeyArray | None, sample_input: Any, *sizes: int) -> list[Array]:
        """The arrays of the first carry: one per number of features."""
        space = self._space(sample_input)
        shapes = [(*space, size) for size in sizes]
        return draw_carry(self, self.carry_init, key, sample_input, *shapes)

    def __pdoc__(self, **kwargs: Any) -> Any:
        return show(self, self._defaults, **kwargs)


class StateCell(AbstractCell):
    """A cell whose carry is one array, the state."""

    @property
    def output_size(self) -> int:
        return self.hidden_size

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> Hidden:
        (state,) = self._first_carry(key, sample_input, self.hidden_size)
        return state


class HiddenCell(StateCell):
    """A cell whose state is also its output."""

    def read_out(self, carry: Hidden) -> Hidden:
        return carry


class MemoryCell(AbstractCell):
    """A cell whose carry is a named tuple, in which the field `hidden` is the output."""

    @property
    def output_size(self) -> int:
        return self.hidden_size

    def read_out(self, carry: Any) -> Hidden:
        return carry.hidden


class VectorCell(AbstractCell):
    """A cell whose inputs are vectors, with any number of batch axes."""

    @property
    def num_feature_dims(self) -> int:
        return 1

    def _space(self, sample_input: Any) -> tuple[Any, ...]:
        check_inputs(self, sample_input, (self.input_size,))
        return ()


class BlockCell(VectorCell):
    """A cell of vectors whose outputs are as wide as its inputs."""

    @property
    def output_size(self) -> int:
        return self.input_size


class WeightCell(AbstractCell, weight_init=jinit.lecun_normal()):
    """A cell with matrices that multiply the inputs. It has one more argument:

    - `weight_init`: an initialiser as in `jax.nn.initializers`, for these matrices. They are drawn
        per gate.
    """


class BiasedCell(WeightCell, use_bias=True, bias_init=jinit.zeros):
    """A cell with matrices and biases. It has two more arguments:

    - `use_bias`: whether the cell has biases.
    - `bias_init`: an initialiser for biases.
    """

    use_bias: bool = eqx.field(static=True)


class ActivatedCell(BiasedCell, activation=jnp.tanh):
    """A cell with an activation. It has one more argument:

    - `activation`: a function from an array to an array of the same shape. A module with
        parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
    """

    activation: eqx.AbstractVar[Callable]


class NonlinearCell(ActivatedCell, recurrent_weight_init=jinit.orthogonal()):
    """A cell that multiplies its state by a matrix. It has one more argument:

    - `recurrent_weight_init`: an initialiser for the matrices that multiply the state. They are
        drawn per gate, so that for example each gate's recurrent matrix is orthogonal.
    """


class GatedCell(NonlinearCell, gate_activation=jax.nn.sigmoid):
    """A cell with gates. It has one more argument:

    - `gate_activation`: the activation of the gates, a function like `activation`.
    """

    gate_activation: eqx.AbstractVar[Callable]
