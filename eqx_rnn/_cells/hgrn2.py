from collections.abc import Sequence
from typing import Unpack

import equinox as eqx
import jax
import jax.nn.initializers as jinit
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, sigmoid, silu
from jaxtyping import Array, Float

from .._checks.options import check_heads, check_number
from .._kernels.products import along, project
from .._time import Advanced, State, Time
from .base import WeightCell, WeightOptions
from .heads import OneMatrixBlock, join_heads, split_heads, split_sizes
from .hgrn2_core import HGRN2CoreCell
from .norms import normalize_scale


class HGRN2Cell(OneMatrixBlock, WeightCell):
    """Hierarchically gated recurrent network 2: a layer with a matrix state.

        q, v = silu(W_iq x), W_iv x
        f = l + (1 - l) sigmoid(W_if x)                     forget gate
        S', h = the step of an HGRN2CoreCell with q, v, log(f)
        y = W_out (gain rms(h))                             rms over all heads

    where `rms(h) = h / sqrt(mean(h^2) + eps)` and `l` stands for `lower_bound`. The rows of
    `weight_ih` are q, f, v, each with the features of the first head first. With `lower_bound`
    growing from layer to layer, higher layers remember for longer.

    **Shapes:** inputs and outputs `(*batch, input_size)`; carry
    `(*batch, num_heads, key_size, hidden_size / num_heads)`.

    **Source:** Z. Qin et al., "HGRN2: gated linear RNNs with state expansion", COLM,
    arXiv:2404.07904 (2024). The equations are those of flash-linear-attention. There, the rows of
    `weight_ih` are `q_proj.weight`, `f_proj.weight` and `i_proj.weight`; `gain` and `weight_out`
    are `g_norm.weight` and `o_proj.weight`. The paper makes the
    lower bounds of all layers from one matrix of weights.
    """

    weight_ih: Float[Array, "rows {self.input_size}"]
    gain: Float[Array, "{self.hidden_size}"]
    weight_out: Float[Array, "{self.input_size} {self.hidden_size}"]
    lower_bounds: Float[Array, " keys"] | None
    core: HGRN2CoreCell
    lower_bound: float = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 1,
        key_size: int | None = None,
        lower_bound: float | Sequence[float] | np.ndarray | jax.Array = 0.0,
        eps: float = 1e-5,
        **options: Unpack[WeightOptions],
    ):
        """**Arguments:** those of every cell, where `hidden_size` is the number of values of all
        heads, and

        - `num_heads`: the number of heads, a divisor of `hidden_size`.
        - `key_size`: the number of keys per head. `None` means the number of values per head.
        - `lower_bound`: the least part of the old state that is kept, 0 <= lower_bound < 1. One
            number is fixed. One number per key of all heads, those of the first head first, are
            weights: the array `lower_bounds`, which is trained. Values outside [0, 0.999] count as
            the nearest bound.
        - `eps`: a number that is added to the mean square.
        """
        draw = self._setup(input_size, hidden_size, options, num_heads=num_heads, key_size=key_size)
        check_heads("HGRN2Cell", num_heads, hidden_size)
        value_size = hidden_size // num_heads
        self.core = HGRN2CoreCell(num_heads, key_size or value_size, value_size)
        bounds = check_lower_bound(lower_bound, num_heads * self.core.key_size)
        self.lower_bound = float(bounds) if bounds.ndim == 0 else 0.0
        self.lower_bounds = None if bounds.ndim == 0 else jnp.asarray(bounds, draw.dtype)
        self.eps = check_number("HGRN2Cell", "eps", eps)
        ih, g, o = draw.keys(3)
        self.weight_ih = draw.rows(ih, self._sizes)
        self.gain = draw.array(g, jinit.ones, (hidden_size,))
        self.weight_out = draw.weight(o, 1, input_size, hidden_size)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        keys = self.core.num_heads * self.core.key_size
        return keys, keys, self.hidden_size

    def chunk(
        self, carry: State, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[Advanced, Float[Array, "*batch {self.input_size}"]]:
        q, f, v = split_sizes(project(self.weight_ih, inputs), self._sizes)
        parts = silu(q), v, self._log_decay(f)
        q, v, g = (split_heads(a, self.core.num_heads) for a in parts)
        state, h = self.core.advance(carry, q, v, g, time)
        y = normalize_scale(join_heads(h), self.eps)
        return state, project(self.weight_out, along(self.gain, y) * y)

    def _log_decay(self, f: Float[Array, "*batch keys"]) -> Float[Array, "*batch keys"]:
        """`log(l + (1 - l) sigmoid(f))`, exact for a sigmoid near 0 and near 1."""
        if self.lower_bounds is None and self.lower_bound == 0:
            return log_sigmoid(f)
        least = self.lower_bound
        if self.lower_bounds is not None:  # trained, and limited to [0, 1)
            least = along(self.lower_bounds, f)
            least = jnp.where(least < 0, 0, jnp.where(least > 0.999, 0.999, least))
        high = jnp.log1p((least - 1) * sigmoid(-jnp.maximum(f, 0)))
        low = jnp.log(least + (1 - least) * sigmoid(jnp.clip(f, -80, 0)))
        return jnp.where(f > 0, high, low)


def check_lower_bound(value: object, num_keys: int) -> np.ndarray:
    """One fraction, or one per key."""
    bounds = np.asarray(value, float)
    if bounds.shape not in ((), (num_keys,)) or not np.all((bounds >= 0) & (bounds < 1)):
        raise ValueError(
            "HGRN2Cell: `lower_bound` must be a fraction, 0 <= lower_bound < 1, or one per key, "
            f"{num_keys} in all, got {value!r:.60}."
        )
    return bounds
