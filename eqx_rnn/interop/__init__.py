"""Weights from and to other frameworks. None of the frameworks is imported.

This file lists the public functions.
"""

from .._public import publish as _publish
from .activations import keras2_hard_sigmoid as keras2_hard_sigmoid
from .equinox import from_equinox as from_equinox
from .equinox import to_equinox as to_equinox
from .flax import from_flax as from_flax
from .flax import to_flax as to_flax
from .haiku import from_haiku as from_haiku
from .haiku import to_haiku as to_haiku
from .keras import from_keras as from_keras
from .keras import to_keras as to_keras
from .onnx import from_onnx as from_onnx
from .onnx import to_onnx as to_onnx
from .torch import from_torch as from_torch
from .torch import to_torch as to_torch
from .torch_states import from_torch_state as from_torch_state
from .torch_states import torch_state as torch_state

_publish(dict(globals()), "eqx_rnn.interop")


def __dir__() -> list[str]:
    return sorted(
        name
        for name, value in globals().items()
        if getattr(value, "__module__", "") == __name__ and not name.startswith("_")
    )
