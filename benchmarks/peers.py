"""The libraries that are measured, and how each of them runs a recurrent layer.

To add a library, write a function that builds a `Model`, and an entry of `PEERS`.
"""

import inspect
import os
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ["KERAS_BACKEND"] = "jax"

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import eqx_rnn

KERNEL = 3  # size of convolution kernels along every axis


class Shape(NamedTuple):
    """Sizes of a problem; `image` is empty except for convolutional cells."""

    steps: int
    batch: int
    input: int
    hidden: int
    image: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """From `steps,batch,input,hidden` or `steps,batch,input,hidden,16x16`."""
        sizes, images = text.split(",")[:4], text.split(",")[4:]
        return cls(*map(int, sizes), *(tuple(map(int, i.split("x"))) for i in images))

    def __str__(self) -> str:
        image = "x".join(map(str, self.image))
        sizes = f"T={self.steps} B={self.batch} {self.input}→{self.hidden}"
        return f"{sizes} {image}" if image else sizes

    @property
    def outputs(self) -> tuple[int, ...]:
        """The shape of the outputs of all steps, time first."""
        return (self.steps, self.batch, *self.image, self.hidden)

    def random_inputs(self) -> np.ndarray:
        """`(time, batch, *image, input)`, the same for every library."""
        shape = (*self.outputs[:-1], self.input)
        return np.random.default_rng(0).standard_normal(shape, np.float32)


class Model(NamedTuple):
    """A layer in JAX: `apply(weights, *inputs)` returns the outputs of all steps.

    - `train`: the work of a training step, if it is not the loss of `apply` and its gradients.
    - `quantities`: which of `forward` and `train` are measured.
    """

    apply: Callable
    weights: Any
    inputs: tuple[Any, ...]
    batch_major: bool = False
    train: Callable | None = None
    quantities: tuple[str, ...] = ("forward", "train")


class TorchModel(NamedTuple):
    """A layer in torch."""

    module: Any
    inputs: Any


class Peer(NamedTuple):
    """A library: the package, the function that builds its layer, its name for each cell."""

    package: str
    build: Callable[[str, Shape, np.ndarray], Model | TorchModel]
    cells: dict[str, str]


def draw(weights: Any, shape: Shape) -> Any:
    """Replaces shapes by arrays, uniform within ±1/√(hidden size) for every library."""
    generator = np.random.default_rng(1)
    bound = shape.hidden**-0.5 / KERNEL ** len(shape.image)
    new = lambda w: jnp.asarray(generator.uniform(-bound, bound, w.shape).astype(np.float32))
    return jax.tree.map(new, weights)


def ours(name: str, shape: Shape, x: np.ndarray, lengths: bool = False, **options: Any) -> Model:
    kernel = {"kernel_size": (KERNEL,) * len(shape.image)} if shape.image else {}
    make = getattr(eqx_rnn, name)
    cell = eqx.filter_eval_shape(make, shape.input, shape.hidden, key=jr.key(0), **kernel)
    rnn = eqx_rnn.RNN(draw(cell, shape), time_major=True, **options)
    weights, static = eqx.partition(rnn, eqx.is_array)

    def apply(weights: Any, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        return eqx.combine(weights, static)(x, seq_lengths=lengths)

    steps = np.random.default_rng(2).integers(1, shape.steps + 1, shape.batch)
    inputs = jnp.asarray(x), jnp.asarray(steps)
    return Model(apply, weights, inputs if lengths else inputs[:1])


def ours_with_lengths(name: str, shape: Shape, x: np.ndarray) -> Model:
    return ours(name, shape, x, lengths=True)


def ours_with_checkpoint(name: str, shape: Shape, x: np.ndarray) -> Model:
    return ours(name, shape, x, checkpoint=True)._replace(quantities=("train",))


def linen(name: str, shape: Shape, x: np.ndarray) -> Model:
    import flax.linen as nn

    kernel = ((KERNEL,) * len(shape.image),) if shape.image else ()
    layer = nn.RNN(getattr(nn, name)(shape.hidden, *kernel), time_major=True)
    weights = draw(jax.eval_shape(layer.init, jr.key(0), x), shape)
    return Model(layer.apply, weights, (jnp.asarray(x),))


def nnx(name: str, shape: Shape, x: np.ndarray) -> Model:
    from flax import nnx

    def make() -> nnx.RNN:
        cell = getattr(nnx, name)(shape.input, shape.hidden, rngs=nnx.Rngs(0))
        return nnx.RNN(cell, time_major=True, rngs=False)

    graph, weights = nnx.split(nnx.eval_shape(make))
    apply = lambda weights, x: nnx.merge(graph, weights)(x, rngs=nnx.Rngs(0))
    return Model(apply, draw(weights, shape), (jnp.asarray(x),))


def haiku(name: str, shape: Shape, x: np.ndarray) -> Model:
    import haiku as hk

    def unroll(x: jax.Array) -> jax.Array:
        sizes = (shape.image, shape.hidden, KERNEL) if shape.image else (shape.hidden,)
        core = getattr(hk, name)(*sizes)
        return hk.dynamic_unroll(core, x, core.initial_state(shape.batch))[0]

    layer = hk.without_apply_rng(hk.transform(unroll))
    weights = draw(jax.eval_shape(layer.init, jr.key(0), x), shape)
    return Model(layer.apply, weights, (jnp.asarray(x),))


def eqx_nn(name: str, shape: Shape, x: np.ndarray) -> Model:
    make = getattr(eqx.nn, name)
    cell = eqx.filter_eval_shape(make, shape.input, shape.hidden, key=jr.key(0))
    weights, static = eqx.partition(draw(cell, shape), eqx.is_array)
    zeros = jnp.zeros(shape.hidden)
    state = (zeros, zeros) if name == "LSTMCell" else zeros

    def apply(weights: Any, x: jax.Array) -> jax.Array:
        cell = eqx.combine(weights, static)

        def step(state: Any, x: jax.Array):
            state = cell(x, state)
            return state, jax.tree.leaves(state)[0]

        return jax.vmap(lambda x: lax.scan(step, state, x)[1], in_axes=1, out_axes=1)(x)

    return Model(apply, weights, (jnp.asarray(x),))


def keras(name: str, shape: Shape, x: np.ndarray) -> Model:
    import keras

    options = {"kernel_size": KERNEL, "padding": "same"} if shape.image else {}
    options |= {"return_sequences": True, "recurrent_initializer": "zeros"}
    layer = getattr(keras.layers, name)(shape.hidden, **options)
    x = jnp.asarray(x.swapaxes(0, 1))
    layer.build(x.shape)
    weights = draw([v.value for v in layer.trainable_variables], shape)
    rest = [v.value for v in layer.non_trainable_variables]
    apply = lambda weights, x: layer.stateless_call(weights, rest, x)[0]
    return Model(apply, weights, (x,), batch_major=True)


def torch(name: str, shape: Shape, x: np.ndarray) -> TorchModel:
    import torch

    torch.set_num_threads(num_cores())
    torch.manual_seed(0)
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    layer = getattr(torch.nn, name)(shape.input, shape.hidden)
    return TorchModel(layer.to(device), torch.from_numpy(x).to(device))


def limit(gates: str, shape: Shape, x: np.ndarray) -> Model:
    """The products of all steps at once, as if no step had to wait for the previous step.

    A training step is the product, its transpose in the hidden state, and its transpose in the
    weights.
    """
    hidden = np.zeros(shape.outputs, np.float32)
    x = np.concatenate([x, hidden], axis=-1).reshape(-1, *shape.image, shape.input + shape.hidden)
    kernel = (KERNEL,) * len(shape.image)
    size = (*kernel, x.shape[-1], int(gates) * shape.hidden)
    w = draw(jax.ShapeDtypeStruct(size, x.dtype), shape)

    def product(w: jax.Array, x: jax.Array) -> jax.Array:
        if not kernel:
            return x @ w
        axes = lax.conv_dimension_numbers(x.shape, w.shape, ("NHWC", "HWIO", "NHWC"))
        return lax.conv_general_dilated(x, w, (1,) * len(kernel), "SAME", dimension_numbers=axes)

    def train(w: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
        y = product(w, x)
        part = w[..., shape.input :, :]
        to_hidden = jax.linear_transpose(lambda h: product(part, h), x[..., shape.input :])
        to_weights = jax.linear_transpose(lambda w: product(w, x), w)
        return *to_hidden(y), *to_weights(y)

    return Model(product, w, (jnp.asarray(x),), train=train)


def num_cores() -> int:
    """The number of cores that this process may use, as JAX counts them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


OURS = "eqx-rnn"
LENGTHS = "eqx-rnn + lengths"
CHECKPOINT = "eqx-rnn + checkpoint"
LIMIT = "products only"
TORCH = "torch"
NOT_PEERS = {OURS, LENGTHS, CHECKPOINT, LIMIT, TORCH}  # all other names are JAX peers

_NAMES = {"LSTM": "LSTMCell", "GRU": "GRUCell", "Elman": "SimpleCell", "ConvLSTM": "ConvLSTMCell"}
_VECTOR = {cell: name for cell, name in _NAMES.items() if cell != "ConvLSTM"}
_KERAS = {"LSTM": "LSTM", "GRU": "GRU", "Elman": "SimpleRNN", "ConvLSTM": "ConvLSTM2D"}
_HAIKU = {"LSTM": "LSTM", "GRU": "GRU", "Elman": "VanillaRNN", "ConvLSTM": "Conv2DLSTM"}
_GATES = {"LSTM": "4", "GRU": "3", "Elman": "1", "ConvLSTM": "4"}

PEERS = {
    OURS: Peer("eqx_rnn", ours, _NAMES),
    LENGTHS: Peer("eqx_rnn", ours_with_lengths, _NAMES),
    CHECKPOINT: Peer("eqx_rnn", ours_with_checkpoint, _NAMES),
    "flax linen": Peer("flax", linen, _NAMES),
    "flax linen optimized": Peer("flax", linen, {"LSTM": "OptimizedLSTMCell"}),
    "flax nnx": Peer("flax", nnx, _VECTOR | {"LSTM": "OptimizedLSTMCell"}),
    "haiku": Peer("haiku", haiku, _HAIKU),
    "eqx.nn": Peer("equinox", eqx_nn, {"LSTM": "LSTMCell", "GRU": "GRUCell"}),
    "keras": Peer("keras", keras, _KERAS),
    TORCH: Peer("torch", torch, {"LSTM": "LSTM", "GRU": "GRU", "Elman": "RNN"}),
    LIMIT: Peer("jax", limit, _GATES),
}
if "checkpoint" not in inspect.signature(eqx_rnn.RNN).parameters:
    del PEERS[CHECKPOINT]
