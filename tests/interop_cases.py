"""All layers of other frameworks, and the activations that they name."""

import numpy as np
from interop_cases_jax import flax_cases, haiku_cases, nnx_cases
from interop_cases_keras import cudnn_cases, keras_cases
from interop_cases_torch import onnx_cases, torch_cases

from eqx_rnn.interop.activations import KERAS, ONNX

CASES = [
    *torch_cases(),
    *keras_cases(),
    *cudnn_cases(),
    *haiku_cases(),
    *flax_cases(),
    *nnx_cases(),
    *onnx_cases(),
]
NUMBERS = [case for case in CASES if case.run is not None]

# Names of activations, and where they are compared.
POINTS = np.linspace(-4, 4, 33)
NAMED_ACTIVATIONS = [
    *(("keras", name) for name in KERAS if name not in (None, "keras2_hard_sigmoid")),
    *(("onnx", name) for name in ONNX),
]
