"""Layers of other frameworks: the shapes of their weights, how we read them and write them back.

This file draws weights, inputs and states from a stream of numbers that never changes. So
`interop.npz` holds only the results of the frameworks.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

INPUT, HIDDEN, BATCH, TIME = 3, 2, 3, 4
LENGTHS = np.array([4, 1, 2])
MASK = np.arange(TIME) < LENGTHS[:, None]
NUM_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1, "SimpleRNN": 1}
Tree = Any


def draw(shapes: Tree, seed: int) -> Tree:
    """Random arrays, one per shape: each tuple of integers in a tree of lists and dicts."""
    stream = np.random.RandomState(seed)  # it never changes, unlike the stream of `default_rng`
    is_shape = lambda node: isinstance(node, tuple) and all(isinstance(n, int) for n in node)
    return jax.tree.map(lambda s: 0.7 * stream.standard_normal(s), shapes, is_leaf=is_shape)


@dataclasses.dataclass(frozen=True)
class Case:
    """One layer of another framework.

    - `read`: makes a module of ours from weights; `write` goes back.
    - `merge`: where we keep two biases as one, puts their sum in the place where `write` puts it.
    - `run(module, inputs, state)`: returns outputs and final states in the framework's layout.
    """

    framework: str
    name: str
    shapes: Tree
    read: Callable[[Tree], Any]
    write: Callable[[Any], Tree]
    merge: Callable[[Tree], Tree] = lambda weights: weights
    inputs: tuple[int, ...] = (BATCH, TIME, INPUT)
    state: Tree = ()
    run: Callable[[Any, Any, Tree], tuple[Any, Tree]] | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def weights(self) -> Tree:
        return draw(self.shapes, seed=0)

    def arguments(self) -> tuple[Tree, np.ndarray, Tree]:
        return self.weights(), draw(self.inputs, seed=1), draw(self.state, seed=2)


def differentiate(run: Callable[..., tuple[Any, Tree]], arguments: Tree) -> list[Any]:
    """The leaves of `run(*arguments)`, and the gradients of a randomly weighted sum of them."""

    def loss(arguments):
        results = run(*arguments)
        leaves = jax.tree.leaves(results)
        return sum(map(jnp.vdot, leaves, draw([leaf.shape for leaf in leaves], seed=3))), leaves

    (_, leaves), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(arguments)
    return [*leaves, *jax.tree.leaves(gradients)]


def onto_first(weights: Tree, first: str, second: str, rows: int | None = None) -> Tree:
    """Puts the sum of two biases (of their first `rows`) in the place of the first bias."""
    merged = dict(weights)
    head, tail = weights[second][:rows], weights[second][head_end(weights[second], rows) :]
    merged[first] = np.concatenate([weights[first][:rows] + head, weights[first][len(head) :]])
    merged[second] = np.concatenate([np.zeros_like(head), tail])
    return merged


def head_end(array: Any, rows: int | None) -> int:
    return len(array) if rows is None else rows
