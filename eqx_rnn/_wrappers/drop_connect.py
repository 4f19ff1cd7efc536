import dataclasses
from typing import Any

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.cells import (
    AbstractWrapper,
    Begun,
    RNNCellBase,
    SequentialCell,
    innermost,
    step_begun,
)
from .._checks.messages import describe, is_floating
from .rates import as_rates, check_rates, drop, fixed, is_zero, require_key


class DropConnect(AbstractWrapper):
    """Drops individual recurrent weights, with one mask for all steps and the whole batch.

        M ~ Bernoulli(1 - rate) / (1 - rate)                      once per sequence
        h', y = cell(h, x)                                        with M W_hh in place of W_hh

    `RNN` draws the mask from its `key`, a new one in each call. At inference no weight is dropped
    or scaled. To step by hand, or to keep a mask over several calls of `RNN`, draw it first, inside
    the function that is differentiated: `cell, carry, finish = cell.begin(carry, key=key)`.
    `begin` returns the inner cell with the masked weights.

    Around a `StackedCell`, each of its cells gets its own mask.

    **Shapes:** those of the inner cell.

    **Options:**

    - `rate`: the fraction of the weights that is dropped.
    - `name`: the field that holds the weights, in the cell inside all wrappers.
    - `inference`: whether nothing is dropped. See `eqx.nn.inference_mode`.

    **Source:** S. Merity, N. S. Keskar, R. Socher, "Regularizing and optimizing LSTM language
    models", ICLR (2018), after L. Wan et al., "Regularization of neural networks using
    DropConnect", ICML (2013).
    """

    cell: RNNCellBase
    rate: Any = eqx.field(default=0.5, converter=as_rates)
    name: str = eqx.field(static=True, default="weight_hh")
    inference: bool = eqx.field(default=False, kw_only=True)

    def __check_init__(self):
        check_rates("DropConnect", "rate", self.rate)
        cell = innermost(self.cell)
        if isinstance(cell, SequentialCell):
            self._each(cell)
        elif not is_floating(getattr(cell, self.name, None)):
            arrays = [name for name, value in vars(cell).items() if is_floating(value)]
            raise ValueError(
                f"DropConnect: `name` must be that of a floating-point array of "
                f"{type(cell).__name__}, one of {arrays}, got {self.name!r}, which is "
                f"{describe(getattr(cell, self.name, None))}."
            )

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> PyTree[Array]:
        return self.cell.initialize_carry(key, sample_input)

    def begin(self, carry: PyTree[Array], *, key: PRNGKeyArray | None = None) -> Begun:
        if self.inference or is_zero(self.rate):
            return self.cell.begin(carry, key=key)
        key = require_key(
            "DropConnect",
            key,
            "to `RNN`, or `cell, carry, finish = cell.begin(carry, key=...)` before the first step",
        )
        inside = innermost(self.cell)
        if isinstance(inside, SequentialCell):
            cells = lambda cell: innermost(cell).cells  # pyright: ignore[reportAttributeAccessIssue]
            return eqx.tree_at(cells, self.cell, self._each(inside)).begin(carry, key=key)
        mask_key, cell_key = jr.split(key)
        weight = lambda cell: getattr(innermost(cell), self.name)
        w = weight(self.cell)
        mask = jr.bernoulli(mask_key, 1 - fixed(self.rate, w), w.shape)
        masked = eqx.tree_at(weight, self.cell, drop(w, mask, self.rate))
        return masked.begin(carry, key=cell_key)

    def __call__(
        self, carry: PyTree[Array], inputs: Any, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        return step_begun(self, carry, inputs, key)

    def read_out(self, carry: PyTree[Array]) -> PyTree[Array]:
        return self.cell.read_out(carry)

    def _each(self, stack: SequentialCell) -> tuple["DropConnect", ...]:
        return tuple(dataclasses.replace(self, cell=cell) for cell in stack.cells)
