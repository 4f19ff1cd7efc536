"""Random trees, and whether two of them are equal to rounding."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

FLOAT = jnp.result_type(float)  # float64, unless the environment says JAX_ENABLE_X64=0
ROUNDING = 1e-11 if jnp.finfo(FLOAT).bits == 64 else 1e-4
EXACT = dict(rtol=ROUNDING, atol=ROUNDING)


def random_like(tree: Any, seed: int, scale: float = 1.0) -> Any:
    """Random distinct arrays of a tree's shapes and dtypes; drawn in NumPy: nothing compiles.

    What has no shape (rates, flags) stays as it is.
    """
    rng = np.random.default_rng(seed)
    draw = lambda s: jnp.asarray((scale * rng.standard_normal(s.shape)).astype(s.dtype))
    return jax.tree.map(lambda s: draw(s) if hasattr(s, "shape") else s, tree)


def random_cell(cell_type: Any, *sizes: int, seed: int, **options: Any) -> Any:
    """A cell whose weights, biases too, are random and distinct."""
    options = {"dtype": FLOAT, "key": jax.random.key(0)} | options
    shapes = eqx.filter_eval_shape(lambda: cell_type(*sizes, **options))
    return random_like(shapes, seed, scale=0.5)


def assert_close(a: Any, b: Any, **tolerance: float) -> None:
    """Trees of one structure, with equal leaves."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    check = lambda x, y: np.testing.assert_allclose(x, y, **(EXACT | tolerance))
    jax.tree.map(check, a, b)
