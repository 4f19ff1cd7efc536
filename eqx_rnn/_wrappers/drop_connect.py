from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._base.cells import RNNCellBase
from .._checks.messages import describe, is_floating
from .base import Wrapper, begin, innermost
from .rates import as_rates, check_rates, drop, fixed, is_zero, require_key, split


class DropConnect(Wrapper):
    """Drops single recurrent weights, the same ones at all steps and in the whole batch.

        M ~ Bernoulli(1 - rate) / (1 - rate)                      once a sequence
        h', y = cell(h, x)                                        with M W_hh for W_hh

    `RNN` draws the mask from its `key`, anew in each call. At inference nothing is dropped, nor
    scaled. To step by hand, or to keep a mask over several calls of `RNN`, draw it first, inside
    the function that is differentiated: `cell, carry, _ = cell.begin(carry, key=key)`.

    **Shapes:** as the inner cell.

    **Options:**

    - `rate`: which share of the weights is dropped.
    - `name`: the field that holds them, of the cell inside all wrappers.
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
        weight = getattr(innermost(self.cell), self.name, None)
        if not is_floating(weight):
            cell = innermost(self.cell)
            arrays = [name for name, value in vars(cell).items() if is_floating(value)]
            raise ValueError(
                f"DropConnect: `name` must be that of a floating-point array of "
                f"{type(cell).__name__}, one of {arrays}, got {self.name!r}, which is "
                f"{describe(weight)}."
            )

    def begin(
        self, carry: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> tuple[Any, PyTree[Array], Callable]:
        if self.inference or is_zero(self.rate):
            return begin(self, carry, key)
        require_key(
            "DropConnect",
            key,
            "to `RNN`, or `cell, carry, _ = cell.begin(carry, key=...)` before the first step",
        )
        mask_key, cell_key = split(key, 2)
        weight = getattr(innermost(self.cell), self.name)
        mask = jr.bernoulli(mask_key, 1 - fixed(self.rate, weight), weight.shape)
        where = lambda cell: getattr(innermost(cell), self.name)
        masked = eqx.tree_at(where, self.cell, drop(weight, mask, self.rate))
        cell, carry, restore = masked.begin(carry, key=cell_key)
        # What is masked already is not to be masked again.
        begun = eqx.tree_at(lambda w: (w.cell, w.inference), self, (cell, True))
        return begun, carry, restore
