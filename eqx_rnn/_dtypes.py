"""The dtype that holds the values of several others."""

from typing import Any

import jax
import jax.numpy as jnp


def widest(*dtypes: Any) -> jnp.dtype:
    """The dtype to which JAX promotes arrays or dtypes, in every mode of promotion.

    The mode "strict" refuses implicit promotions. Those of the callers are explicit.
    """
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*dtypes)
