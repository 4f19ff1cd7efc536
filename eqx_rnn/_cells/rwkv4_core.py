import math
from typing import Any, NamedTuple, Unpack

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import ChunkCell
from .._checks.options import check_sizes
from .._dtypes import widest
from .._kernels.products import along
from .._time import Time
from .base import VectorCell
from .heads import MatrixOptions, draw_wide
from .rwkv import depths, ramp, zigzag


class RWKV4CoreCarry(NamedTuple):
    """The sums of an RWKV-4 memory, `numerator / denominator`, in units of `exp(scale)`."""

    numerator: Any
    denominator: Any
    scale: Any
    inseparable = True  # for `RecurrentDropout`


class RWKV4CoreCell(VectorCell, ChunkCell, key=None):
    """The memory of RWKV-4: a mean of all values, weighted by keys that decay.

        y = (exp(m) a + exp(bonus + k) v) / (exp(m) b + exp(bonus + k))
        m' = max(m + decay, k)
        a' = exp(m + decay - m') a + exp(k - m') v
        b' = exp(m + decay - m') b + exp(k - m')

    The outputs are y. They see the memory before the step, and the current value with a bonus. The
    inputs are k and v, joined. All exponents are at most 0: y is computed in units of
    `exp(max(m, bonus + k))`. So keys of any size are exact.

    In the first carry, a and b are 0 and m is -1e30 (in float16, half the least number), where
    `exp(m)` is 0. With m = 0, keys of -100 would round to 0 / 0 in float32. If `carry_init` draws a
    b other than 0, it draws m, too. While m is -1e30, a and b have no effect and no gradient: to
    learn them with `LearnedCarry`, set the initial m to 0 and the initial b to positive numbers.
    `Zoneout` cannot keep units of this carry, because a, b and m only have a meaning together.

    **Shapes:** inputs `(*batch, 2 * hidden_size)`; outputs `(*batch, hidden_size)`; carry
    `RWKV4CoreCarry(numerator, denominator, scale)`, which are a, b and m, each
    `(*batch, hidden_size)`.

    **Source:** B. Peng et al., "RWKV: reinventing RNNs for the transformer era", EMNLP,
    arXiv:2305.13048 (2023). In the authors' code (RWKV-LM), `bonus` is `time_first`, and `decay` is
    the `time_decay` of the code for inference, which is negative. A checkpoint of the training code
    holds its logarithm: `decay = -exp(time_decay)`. The initial weights are those of that code.
    """

    decay: Float[Array, "{self.hidden_size}"]
    bonus: Float[Array, "{self.hidden_size}"]

    def __init__(
        self,
        hidden_size: int,
        *,
        layer: int = 0,
        num_layers: int = 1,
        **options: Unpack[MatrixOptions],
    ):
        """**Arguments:** those of every cell, without `input_size`, where `key` has no effect, and

        - `layer`, `num_layers`: the number of this layer in a stack, from 0, and the number of all
            layers. The initial weights depend on them.
        """
        check_sizes("RWKV4CoreCell", hidden_size=hidden_size)
        draw = self._setup(2 * hidden_size, hidden_size, options)
        deep, _ = depths("RWKV4CoreCell", layer, num_layers)
        log_decay = -5 + 8 * ramp(hidden_size) ** (0.7 + 1.3 * deep)
        self.decay = jnp.asarray(-np.exp(log_decay), draw.dtype)
        self.bonus = jnp.asarray(math.log(0.3) + 0.5 * zigzag(hidden_size), draw.dtype)

    @property
    def output_size(self) -> int:
        return self.hidden_size

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> RWKV4CoreCarry:
        self._space(sample_input)
        shapes = 3 * [(self.hidden_size,)]
        return first_sums(*draw_wide(self, key, sample_input, *shapes, num_wide=3))

    def chunk(
        self, carry: RWKV4CoreCarry, inputs: Float[Array, "*batch {self.input_size}"], time: Time
    ) -> tuple[RWKV4CoreCarry, Float[Array, "*batch {self.hidden_size}"]]:
        k, v = jnp.split(inputs, 2, axis=-1)
        return self.advance(carry, k, v, time)

    def advance(
        self, carry: RWKV4CoreCarry, k: Array, v: Array, time: Time
    ) -> tuple[RWKV4CoreCarry, Array]:
        """The new carry and y, from arrays `(steps, *batch, hidden_size)`."""
        _check_not_zoned(carry)
        scale, new_m = time.maximum(carry.scale, self.decay, k)
        m = time.before(scale)
        old, new = jnp.exp(m + along(self.decay, m) - new_m), jnp.exp(k - new_m)
        numerator, _ = time.linear(carry.numerator, old, new * v)
        denominator, _ = time.linear(carry.denominator, old, new)
        favoured = k + along(self.bonus, k)
        top = jnp.maximum(m, favoured)
        old, new = jnp.exp(m - top), jnp.exp(favoured - top)
        y = (old * time.before(numerator) + new * v) / (old * time.before(denominator) + new)
        return RWKV4CoreCarry(numerator, denominator, scale), y.astype(
            widest(v.dtype, self.bonus.dtype)
        )


def first_sums(numerator: Array, denominator: Array, scale: Array) -> RWKV4CoreCarry:
    """The first carry. An empty memory has a scale whose exponential is 0."""
    empty = max(-1e30, float(jnp.finfo(scale.dtype).min) / 2)
    return RWKV4CoreCarry(numerator, denominator, jnp.where(denominator == 0, empty, scale))


def _check_not_zoned(carry: RWKV4CoreCarry) -> None:
    """Checks that `Zoneout` keeps no part of the state."""
    if any(state.kept is not None for state in carry):
        raise ValueError(
            "Zoneout: `rate` must be 0 for the `numerator`, the `denominator` and the `scale` of "
            "RWKV-4, got another rate for one of them. The first two are stored divided by "
            "exp(scale), so old entries have no meaning among new ones. Zone out another cell, or "
            "drop inputs or weights of this one by `RecurrentDropout(cell, input_rate=...)` or "
            "`DropConnect`."
        )
