"""The options of cells with layer normalisation, and their norm."""

import equinox as eqx
import jax.nn.initializers as jinit
from jaxtyping import Array

from .._kernels.products import along
from ..initializers import Initializer
from .base import GatedCell, GatedCellOptions
from .norms import normalize


class LayerNormOptions(GatedCellOptions, total=False):
    """The keyword arguments of every cell with layer normalisation: see `LayerNormCell`."""

    eps: float
    gain_init: Initializer


class LayerNormCell(GatedCell, eps=1e-5, gain_init=jinit.ones):
    """A `GatedCell` with layer normalisation. It has two more arguments:

    - `eps`: a number that is added to each variance.
    - `gain_init`: an initialiser for the gains.
    """

    eps: float = eqx.field(static=True)

    def _normalize(self, x: Array, gain: Array) -> Array:
        return along(gain, x) * normalize(x, self.eps)
