"""How the verbs of `Time` run a recurrence: the method, the masks, and the dtypes."""

from collections.abc import Callable
from typing import Any, Literal

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from .._kernels.sizes import is_known
from .._select import select
from .affine import Affine, run_affine, split
from .coefficients import per_step, spread
from .recurrences import Run, compose_linear, in_parallel, in_sequence, step_linear
from .states import Advanced, State, check_state

Method = Literal["auto", "sequential", "associative"]
Moved = tuple[Advanced, Array]


class Runner:
    """The steps of a chunk, without the verbs."""

    def __init__(
        self,
        num_steps: Any,
        batch: tuple[Any, ...],
        valid: Bool[Array, "steps *batch"] | None = None,
        resets: Bool[Array, "steps *batch"] | None = None,
        keys: PRNGKeyArray | None = None,
        method: Method = "sequential",
    ):
        self._num_steps = num_steps
        self._batch = batch
        self._masks = valid, resets
        self._keys = keys
        self._method: Method = method

    def _prepare(self, verb: str, state: State, **coefficients: Any) -> tuple[State, list[Array]]:
        check_state(verb, state)
        return per_step(verb, state, self._num_steps, len(self._batch), **coefficients)

    def _spread(self, a: Any, state: State) -> Array:
        return spread(a, self._num_steps, state)

    def _select(self, values: Array, safe: Array) -> Array:
        """`values` at the valid steps, and the safe value at skipped steps."""
        valid, _ = self._masks
        return select(valid, values, jnp.broadcast_to(safe, values.shape))

    def _choose(
        self, state: State, sequential: Callable[[], Run], parallel: Callable[[], Run]
    ) -> Moved:
        """The part of the new carry and the values, by the method of this run.

        "sequential" is several times as fast on a CPU, and slow on devices that launch kernels.
        """
        # `associative_scan` needs a known number of steps.
        if self._method == "sequential" or not is_known(self._num_steps) or self._num_steps == 1:
            run = sequential()
        elif self._method == "associative":
            run = parallel()
        else:
            run = lax.platform_dependent(cpu=sequential, default=parallel)
        return Advanced(state, run.last, lambda: run.held), run.values

    def _affine(self, kind: Affine, state: State, *coefficients: Array) -> Run:
        values = state.now, state.first, state.safe
        return run_affine(kind, coefficients, *values, *self._masks, self._num_steps)

    def _in_sequence(self, function: Callable[..., Array], state: State, *coefficients: Array):
        moving, at_step = split(coefficients, state.ndim)
        step = lambda h, xs: function(*at_step(xs), h)
        values = state.now, state.first, state.safe
        return in_sequence(step, *values, moving, *self._masks, self._num_steps)

    def _in_parallel(
        self,
        state: State,
        a: Array,
        b: Array,
        apply: Callable = step_linear,
        compose: Callable = compose_linear,
        identity: tuple[float, float] = (1.0, 0.0),
    ):
        if a.ndim == state.ndim:
            a = jnp.broadcast_to(a, (self._num_steps, *a.shape))
        pair, values = (a, self._spread(b, state)), (state.now, state.first, state.safe)
        return in_parallel(apply, compose, identity, *values, pair, *self._masks)
