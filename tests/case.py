"""One row of the table of cells: how to build the cell, and its oracle."""

import dataclasses
import types
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from helpers import FLOAT, random_like

import eqx_rnn


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    make: Callable[..., eqx_rnn.RNNCellBase]
    oracle: Callable[[Any, list, np.ndarray], tuple[list, np.ndarray]]
    features: tuple[int, ...] = (3,)
    call: tuple = ()  # the class of the cell, with its arguments by position and by name
    log_decays: tuple[int, int] = (0, 0)  # which features of the inputs are logarithms of decays
    input_scale: float = 1.0

    def cell(self, dtype: Any = FLOAT, seed: int = 0) -> Any:
        """The cell with random distinct weights, including biases."""
        shapes = eqx.filter_eval_shape(self.make, dtype=dtype, key=jr.key(0))
        return random_like(shapes, seed, scale=0.5)

    def inputs(self, *leading: int, seed: int = 2, dtype: Any = FLOAT) -> jax.Array:
        struct = jax.ShapeDtypeStruct((*leading, *self.features), dtype)
        x = random_like(struct, seed, self.input_scale)
        start, stop = self.log_decays
        return x.at[..., start:stop].set(-jnp.abs(x[..., start:stop])) if stop else x

    def carry(self, cell: Any, *batch: int, seed: int = 3) -> Any:
        """A random carry in place of the zeros that cells start from."""
        sample = jax.ShapeDtypeStruct((*batch, *self.features), FLOAT)
        return random_like(jax.eval_shape(lambda: cell.initialize_carry(None, sample)), seed)


def weights(cell: Any) -> types.SimpleNamespace:
    """The fields of a cell and of its inner cell, as NumPy arrays. An absent bias is 0."""
    fields = {}
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name)
        if isinstance(value, jax.Array):
            value = np.asarray(value, np.float64)
        if isinstance(value, eqx_rnn.RNNCellBase):
            value = weights(value)
        if value is None and field.name.startswith("bias"):
            value = np.zeros(99)
        fields[field.name] = value
    return types.SimpleNamespace(**fields)


def row(
    name, oracle, cell_type, *args, features=(3,), log_decays=(0, 0), input_scale=1.0, **options
) -> Case:
    make = lambda **extra: cell_type(*args, **options, **extra)
    call = cell_type, args, options
    return Case(name, make, oracle, features, call, log_decays, input_scale)
