"""Random trees, and comparison of trees up to rounding."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

FLOAT = jnp.result_type(float)  # float64, unless the environment says JAX_ENABLE_X64=0
ROUNDING = 1e-11 if jnp.finfo(FLOAT).bits == 64 else 1e-4
EXACT = dict(rtol=ROUNDING, atol=ROUNDING)


def random_like(tree: Any, seed: int, scale: float = 1.0) -> Any:
    """Random distinct arrays with the shapes and dtypes of a tree. NumPy draws: no compilation.

    Leaves without a shape (rates, flags) stay as they are.
    """
    rng = np.random.default_rng(seed)

    def draw(s: Any) -> Any:
        if jnp.issubdtype(s.dtype, jnp.integer):
            return jnp.asarray(rng.integers(0, 3, s.shape), s.dtype)
        values = scale * rng.standard_normal(s.shape)
        if jnp.issubdtype(s.dtype, jnp.complexfloating):
            values = values + 1j * scale * rng.standard_normal(s.shape)
        return jnp.asarray(values.astype(s.dtype))

    return jax.tree.map(lambda s: draw(s) if hasattr(s, "shape") else s, tree)


def random_cell(cell_type: Any, *sizes: int, seed: int, **options: Any) -> Any:
    """A cell with random distinct weights, including biases."""
    options = {"dtype": FLOAT, "key": jax.random.key(0)} | options
    shapes = eqx.filter_eval_shape(lambda: cell_type(*sizes, **options))
    return random_like(shapes, seed, scale=0.5)


def assert_close(a: Any, b: Any, **tolerance: float) -> None:
    """Asserts that two trees have the same structure, and equal leaves up to rounding."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    check = lambda x, y: np.testing.assert_allclose(x, y, **(EXACT | tolerance))
    jax.tree.map(check, a, b)
