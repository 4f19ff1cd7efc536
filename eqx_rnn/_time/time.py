"""`Time`: the methods by which a `ChunkCell` advances its carry over the steps of a chunk."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._checks.messages import describe, describe_tree
from .._dtypes import widest
from .affine import BLEND, LINEAR
from .any_step import run_any
from .coefficients import half_of, matrix_inputs
from .expanded import Expansion, expand
from .history import count, shift, window
from .matrix import run_matrix
from .recurrences import compose_maximum, step_maximum
from .running import Moved, Runner
from .states import Advanced, State, check_not_kept, check_state, hold


class Time(Runner):
    """The steps of a chunk: the argument `time` of `ChunkCell.chunk`.

    Its methods, the *verbs*, advance the parts of a carry over all steps of the chunk. Each takes
    parts of the carry, and arrays with the steps in front, `(steps, *batch, ...)`. Most return a
    pair: the part of the new carry, and the values after every step.

    The verbs handle skipped steps, resets, the direction and the length of a chunk, so a cell does
    not see them. A skipped step holds the state; its inputs and values are those of a valid step.
    """

    def linear(self, state: State, a: Any, b: Any) -> Moved:
        """`h' = a h + b`, real or complex, elementwise.

        **Arguments:**

        - `state`: the part `h` of the carry.
        - `a`, `b`: `(steps, *batch, *features)`, or `(*features)` if they are the same at all
            steps and in all rows. Axes may have size 1.

        **Returns:** the part of the new carry, and `h'` of all steps.
        """
        wide, (a, b) = self._prepare("linear", state, a=a, b=b)
        if state.kept is not None:
            kept = self._spread(state.kept, wide)
            a, b = hold(kept, 1, self._spread(a, wide)), hold(kept, 0, self._spread(b, wide))
        sequential = lambda: self._affine(LINEAR, wide, a, b)
        return self._choose(state, sequential, lambda: self._in_parallel(wide, a, b))

    def blend(self, state: State, gate: Any, candidate: Any) -> Moved:
        """`h' = h + z (c - h)`, elementwise, with the gate `z` and the candidate `c`.

        Like `linear` with `a = 1 - z` and `b = z c`, in less time and memory.
        """
        wide, (z, c) = self._prepare("blend", state, gate=gate, candidate=candidate)
        if state.kept is not None:
            z = hold(self._spread(state.kept, wide), 0, self._spread(z, wide))
        sequential = lambda: self._affine(BLEND, wide, z, c)
        parallel = lambda: self._in_parallel(wide, 1 - z, z * self._spread(c, wide))
        return self._choose(state, sequential, parallel)

    def maximum(self, state: State, log_decay: Any, log_input: Any) -> Moved:
        """`m' = max(m + log_decay, log_input)`: the logarithm of the scale of a decaying sum.

        `exp(log_input - m')` and `exp(log_decay + m - m')` are at most 1. The arguments are like
        those of `linear`. The first `m` must be finite.
        """
        wide, (g, i) = self._prepare("maximum", state, log_decay=log_decay, log_input=log_input)
        check_not_kept("maximum", state)
        sequential = lambda: self._in_sequence(step_maximum, wide, g, i)
        identity = 0.0, -jnp.inf
        parallel = lambda: self._in_parallel(wide, g, i, step_maximum, compose_maximum, identity)
        return self._choose(state, sequential, parallel)

    def expand(
        self,
        state: State,
        coefficients: Callable[[Any, Any], tuple[Any, Any]],
        readout: Callable[[Any, Array, Any], PyTree[Array]],
        weights: PyTree,
        xs: PyTree[Array],
    ) -> tuple[Advanced, PyTree[Array]]:
        """`h' = a h + b` with states much larger than the inputs and outputs.

        This is `linear` with `a, b = coefficients(weights, xs)` and `y = readout(weights, h', xs)`.
        Without derivatives, a CPU computes both functions step by step, in little memory.

        **Arguments:**

        - `state`: the part `h` of the carry.
        - `coefficients`, `readout`: functions of arrays with steps in front. They get all that has
            a derivative as arguments.
        - `weights`, `xs`: any PyTree, and arrays `(steps, *batch, ...)` in any PyTree.

        **Returns:** the part of the new carry, and `y` of all steps.
        """
        check_state("expand", state)
        return expand(self, Expansion(coefficients, readout), state, weights, xs)

    def matrix(
        self,
        state: State,
        query: Any,
        key: Any,
        value: Any,
        log_decay: Any,
        erase: tuple[Any, Any] | None = None,
        read: Literal["after", "before"] = "after",
    ) -> Moved:
        """A matrix state, which is updated by outer products and read by a vector:

            S' = exp(log_decay) S + key value^T                           rows of S: keys
            S' = exp(log_decay) S + key value^T - write (read^T S)        with erase=(read, write)
            y = query^T S'                                                or query^T S, before it

        The delta rule has `erase=(exp(log_decay) * key, beta * key)` and values `beta * value`.

        **Arguments:**

        - `state`: the part `S` of the carry, `(*batch, *heads, key size, value size)`, with any
            number of axes for heads.
        - `query`, `key`: `(steps, *batch, *heads, key size)`.
        - `value`: `(steps, *batch, *heads, value size)`.
        - `log_decay`: `(steps, *batch, *heads, key size)`, or `(..., 1)` for one decay per head; at
            most 0, and `-inf` is allowed. 0 means no decay.
        - `erase`: the pair `(read, write)`, both like `key`.
        - `read`: whether `y` is read after the update or before it.

        Arguments without steps and batch axes are the same everywhere. Heads may have size 1.

        **Returns:** the part of the new carry, and `y`, `(steps, *batch, *heads, value size)`.

        With a float32 state, `y` is in half precision if query and value are. For derivatives,
        steps are computed in blocks, by products of matrices. Otherwise, a CPU computes one step
        after another, in less memory. The results differ by rounding errors.
        """
        check_state("matrix", state)
        if read not in ("after", "before"):
            raise ValueError(f'time.matrix: `read` must be "after" or "before", got {read!r}.')
        if erase is not None and not (isinstance(erase, tuple | list) and len(erase) == 2):
            raise TypeError(
                "time.matrix: `erase` must be the pair (read, write), or None, got "
                f"{describe_tree(erase)}."
            )
        given = dict(query=query, key=key, value=value, log_decay=log_decay)
        given |= {f"erase[{k}]": a for k, a in enumerate(erase or ())}
        wide, x = matrix_inputs(state, self._num_steps, len(self._batch), given)
        how = self._num_steps, self._method, read == "before"
        last, outputs, history = run_matrix(x, wide, *self._masks, *how)
        narrow = half_of(query, value)
        return Advanced(state, last, history), outputs if narrow is None else outputs.astype(narrow)

    def scan(
        self, state: PyTree[State], step: Callable[[Any, Any], Any], xs: PyTree[Array]
    ) -> tuple[PyTree[Advanced], PyTree[Array]]:
        """`h' = step(h, x)` for any function, one step after another.

        **Arguments:**

        - `state`: parts of the carry, in any PyTree.
        - `step`: a function `step(h, x)` from the values before a step and the entries of `xs` at
            this step to the values after it.
        - `xs`: arrays `(steps, ...)` in any PyTree, or `None`.

        **Returns:** the parts of the new carry, and their values after every step, both in the
        structure of `state`.

        **Raises:** `ValueError` with `scan="associative"`: such a function runs step by step only.
        """
        for part in jax.tree.leaves(state):
            check_state("scan", part)
        if self._method == "associative":
            raise ValueError(
                'RNN: `scan` must be "auto" or "sequential" for this cell, got "associative". It '
                "advances its state by a function (`time.scan`), which runs step by step only."
            )
        run = run_any(state, step, xs, *self._masks, self._num_steps)
        pack = lambda state, last, held: Advanced(state, last, lambda: held)
        return jax.tree.map(pack, state, run.last, run.held), run.values

    def count(self, state: State) -> Moved:
        """The number of each step: `n' = n + 1`. Returns `n`, the number before each step.

        `state` is an array of integers without feature axes, `(*batch)`.
        """
        check_state("count", state)
        if not jnp.issubdtype(state.dtype, jnp.integer) or state.ndim != len(self._batch):
            raise ValueError(
                "time.count: `state` must be integers without feature axes, of the shape of the "
                f"batch {self._batch}, got {state!r}."
            )
        before, after = count(state.now, state.first, self._num_steps, *self._masks)
        return Advanced(state, after[-1], lambda: after), self._select(before, state.safe)

    def window(self, state: State, x: Array) -> tuple[Advanced, tuple[Array, ...]]:
        """The last inputs at every step, for convolutions over time.

        **Arguments:**

        - `state`: the inputs before the chunk, oldest first: `(*batch, width - 1, *features)`.
        - `x`: the inputs of all steps, `(steps, *batch, *features)`.

        **Returns:** the part of the new carry, and `width` arrays of the shape of `x`: the inputs
        `width - 1` steps before, ..., one step before, and `x` itself. Skipped steps do not count.
        """
        check_state("window", state)
        check_not_kept("window", state)
        axis, dtype = len(self._batch), widest(state.dtype, x.dtype)
        wide, x = state.astype(dtype), x.astype(dtype)
        slots = [wide.at(j, axis) for j in range(state.shape[axis])]
        lags, histories = window(slots, x, *self._masks)
        if not slots:
            empty = lambda: self._spread(wide.now, wide)
            return Advanced(state, wide.now, empty), (x,)
        last = jnp.stack([a[-1] for a in histories], axis)
        return Advanced(state, last, lambda: jnp.stack(histories, axis + 1)), tuple(lags)

    def before(self, advanced: Advanced) -> Array:
        """The values before every step. At a reset, this is the value of the first carry."""
        if not isinstance(advanced, Advanced):
            raise TypeError(
                "time.before: `advanced` must be a part of the new carry, as a verb returns it, "
                f"got {describe(advanced)}."
            )
        state = advanced.state.astype(advanced.dtype)
        before = shift(state.now, state.first, advanced.history(), self._masks[1])
        return self._select(before, state.safe)

    def draw(self, function: Callable[[PRNGKeyArray], Any]) -> Any:
        """`function(key)` for the random key of each step, with the steps in front.

        If a cell draws several times, split the key inside one function.
        """
        if self._keys is None:
            raise RuntimeError(
                "`key` must be a random key, because the cell draws at every step, got None. Pass "
                "`key=jax.random.key(seed)` to `RNN` or to each step."
            )
        return jax.vmap(function)(self._keys)

    @property
    def has_keys(self) -> bool:
        """Whether there is a random key for `draw`."""
        return self._keys is not None

    def with_keys(self, keys: PRNGKeyArray | None) -> "Time":
        """The same steps with other keys, for a cell inside a cell."""
        return Time(self._num_steps, self._batch, *self._masks, keys, self._method)
