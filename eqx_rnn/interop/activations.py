"""Activations by their names in other frameworks."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def keras2_hard_sigmoid(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """clip(0.2 x + 0.5, 0, 1), which is `"hard_sigmoid"` in Keras 1 and 2.

    It is the default there for the gates of layers that do not run on cuDNN. The `"hard_sigmoid"`
    of Keras 3 is `jax.nn.hard_sigmoid`.
    """
    return jnp.clip(0.2 * x + 0.5, 0, 1)


def linear(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The identity."""
    return x


def _keras_leaky_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.nn.leaky_relu(x, 0.2)


def _keras_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.nn.gelu(x, approximate=False)


def _tanh_shrink(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return x - jnp.tanh(x)


def _hard_shrink(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(jnp.abs(x) > 0.5, x, 0)


def _soft_shrink(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - 0.5, 0)


# Every elementwise activation of Keras, and the two softmaxes.
KERAS: dict[str | None, Callable] = {
    None: linear,
    "celu": jax.nn.celu,
    "elu": jax.nn.elu,
    "exponential": jnp.exp,
    "gelu": _keras_gelu,
    "hard_shrink": _hard_shrink,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_silu": jax.nn.hard_silu,
    "hard_swish": jax.nn.hard_silu,
    "hard_tanh": jax.nn.hard_tanh,
    "keras2_hard_sigmoid": keras2_hard_sigmoid,
    "leaky_relu": _keras_leaky_relu,
    "linear": linear,
    "log_sigmoid": jax.nn.log_sigmoid,
    "log_softmax": jax.nn.log_softmax,
    "mish": jax.nn.mish,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "selu": jax.nn.selu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "soft_shrink": _soft_shrink,
    "softmax": jax.nn.softmax,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "sparse_plus": jax.nn.sparse_plus,
    "sparse_sigmoid": jax.nn.sparse_sigmoid,
    "squareplus": jax.nn.squareplus,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
    "tanh_shrink": _tanh_shrink,
}

# With ONNX's defaults for their parameters.
ONNX: dict[str, Callable] = {
    "Elu": jax.nn.elu,
    "HardSigmoid": keras2_hard_sigmoid,
    "LeakyRelu": jax.nn.leaky_relu,
    "Relu": jax.nn.relu,
    "Sigmoid": jax.nn.sigmoid,
    "Softplus": jax.nn.softplus,
    "Softsign": jax.nn.soft_sign,
    "Tanh": jnp.tanh,
}


def find_activation(owner: str, name: str, value: object, known: dict) -> Callable:
    """The activation of this name; a function is returned as it is."""
    if callable(value):
        return value
    if value not in known:
        raise ValueError(
            f"{owner}: `{name}` must be a function or one of {', '.join(map(repr, known))}, got "
            f"{value!r}."
        )
    return known[value]
