"""Several layers and two directions, with dropout, relative to other libraries.

    python benchmarks/stacks.py [--seed 1] [--number 12]

Stacks of two and three LSTM layers and two bidirectional layers, with a dropout rate of 0.3 between
layers, at random shapes, in float32 on the CPU of this machine. All run in training mode with the
same key in each call. A ratio is the median over rounds of the time of a library divided by ours in
the same round. Above 1, we are faster. The fastest JAX library of a shape is chosen in one half of
the rounds and compared in the other half.
"""

import argparse
import functools
import gc
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import device
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from peers import OURS, TORCH, Model, Shape, TorchModel, draw, num_cores
from report import CHOSEN, COMPARED
from shapes import random_shapes
from timing import build, calls_per_sample, run_in_turns

import eqx_rnn

RATE = 0.3
NUMBER = 12


class Kind(NamedTuple):
    layers: int
    is_bidirectional: bool = False

    def __str__(self) -> str:
        return f"{self.layers} layers{', bidirectional' if self.is_bidirectional else ''}"


KINDS = [Kind(2), Kind(3), Kind(2, is_bidirectional=True)]


def ours(kind: Kind, shape: Shape, x: np.ndarray) -> Model:
    sizes = eqx_rnn.LSTMCell, shape.input, shape.hidden
    options: Any = dict(dropout=RATE, time_major=True, key=jr.key(0))
    both = kind.is_bidirectional
    stack = eqx_rnn.Stacked.create(*sizes, num_layers=kind.layers, bidirectional=both, **options)
    weights, static = eqx.partition(stack, eqx.is_array)
    apply = lambda weights, x: eqx.combine(weights, static)(x, key=jr.key(1))
    return Model(apply, weights, (jnp.asarray(x),))


def linen(kind: Kind, shape: Shape, x: np.ndarray) -> Model:
    import flax.linen as nn

    class Layers(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            rnn = lambda: nn.RNN(nn.OptimizedLSTMCell(shape.hidden), time_major=True)
            for k in range(kind.layers):
                if kind.is_bidirectional:
                    x = nn.Bidirectional(rnn(), rnn(), time_major=True)(x)
                else:
                    x = rnn()(x)
                if k < kind.layers - 1:
                    x = nn.Dropout(RATE, deterministic=False)(x)
            return x

    layers = Layers()
    weights = jax.eval_shape(layers.init, {"params": jr.key(0), "dropout": jr.key(1)}, x)
    apply = lambda weights, x: layers.apply(weights, x, rngs={"dropout": jr.key(1)})
    return Model(apply, draw(weights, shape), (jnp.asarray(x),))


def nnx(kind: Kind, shape: Shape, x: np.ndarray) -> Model:
    from flax import nnx

    def make() -> list:
        rngs, size, layers = nnx.Rngs(0), shape.input, []
        for k in range(kind.layers):
            cell = lambda size=size: nnx.OptimizedLSTMCell(size, shape.hidden, rngs=rngs)
            rnn = lambda cell=cell: nnx.RNN(cell(), time_major=True, rngs=False)
            layers.append(
                nnx.Bidirectional(rnn(), rnn(), time_major=True) if kind.is_bidirectional else rnn()
            )
            size = shape.hidden * (1 + kind.is_bidirectional)
            if k < kind.layers - 1:
                layers.append(nnx.Dropout(RATE))
        return nnx.List(layers)

    graph, weights = nnx.split(nnx.eval_shape(make))

    def apply(weights: Any, x: jax.Array) -> jax.Array:
        for layer in nnx.merge(graph, weights):
            x = layer(x, rngs=nnx.Rngs(1))
        return x

    return Model(apply, draw(weights, shape), (jnp.asarray(x),))


def keras(kind: Kind, shape: Shape, x: np.ndarray) -> Model:
    import keras

    model = keras.Sequential()
    for k in range(kind.layers):
        options = {"return_sequences": True, "recurrent_initializer": "zeros"}
        layer = keras.layers.LSTM(shape.hidden, **options)
        model.add(keras.layers.Bidirectional(layer) if kind.is_bidirectional else layer)
        if k < kind.layers - 1:
            model.add(keras.layers.Dropout(RATE))
    x = jnp.asarray(x.swapaxes(0, 1))
    model.build(x.shape)
    weights = draw([v.value for v in model.trainable_variables], shape)
    rest = [v.value for v in model.non_trainable_variables]
    apply = lambda weights, x: model.stateless_call(weights, rest, x, training=True)[0]
    return Model(apply, weights, (x,), batch_major=True)


def torch(kind: Kind, shape: Shape, x: np.ndarray) -> TorchModel:
    import torch

    torch.set_num_threads(num_cores())
    options = dict(dropout=RATE, bidirectional=kind.is_bidirectional)
    module = torch.nn.LSTM(shape.input, shape.hidden, num_layers=kind.layers, **options)
    return TorchModel(module, torch.from_numpy(x))


PEERS: dict[str, tuple[str, Callable]] = {
    OURS: ("eqx_rnn", ours),
    "flax linen": ("flax", linen),
    "flax nnx": ("flax", nnx),
    "keras": ("keras", keras),
    TORCH: ("torch", torch),
}


def measure(kind: Kind, shape: Shape, names: list[str], rounds: int) -> dict:
    """Seconds by round, for each library and quantity."""
    x, programs, sizes = shape.random_inputs(), {}, {}
    for name in names:
        model = PEERS[name][1](kind, shape, x)
        for quantity, program in build(model):
            programs[name, quantity] = program
            result = program.run()
            if quantity == "forward":
                sizes[name] = int(np.prod(result.shape))
    wanted = shape.steps * shape.batch * shape.hidden * (1 + kind.is_bidirectional)
    if set(sizes.values()) != {wanted}:
        raise ValueError(f"The libraries return {sizes} numbers, wanted {wanted}.")
    calls = {key: calls_per_sample(program.run) for key, program in programs.items()}
    seconds = run_in_turns(programs, calls, rounds)
    del programs
    gc.collect()
    jax.clear_caches()
    return seconds


def ratio(seconds: dict, name: str, quantity: str, rounds: slice = slice(None)) -> float:
    times = [seconds[n, quantity][rounds] for n in (name, OURS)]
    return float(np.median(np.divide(*times)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=NUMBER, help="of shapes")
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    device.use("cpu")
    print(device.describe())
    names = [n for n, (package, _) in PEERS.items() if importlib.util.find_spec(package)]
    jax_peers = [name for name in names if name not in (OURS, TORCH)]
    found: dict[str, list[float]] = {}
    for k, shape in enumerate(random_shapes(args.seed, args.number)):
        kind = KINDS[k % len(KINDS)]
        seconds = measure(kind, shape, names, args.rounds)
        line = f"{kind!s:<24} {shape!s:<28}"
        for quantity in ("train", "forward"):
            chosen = functools.partial(ratio, seconds, quantity=quantity, rounds=CHOSEN)
            best = min(jax_peers, key=chosen)
            ratios = {f"{quantity}, fastest JAX": ratio(seconds, best, quantity, COMPARED)}
            if TORCH in names:
                ratios[f"{quantity}, torch"] = ratio(seconds, TORCH, quantity)
            for label, value in ratios.items():
                found.setdefault(label, []).append(value)
                line += f"  {label} {value:.2f}"
            line += f" ({best})"
        print(line, flush=True)
    for label, values in found.items():
        mean = np.exp(np.mean(np.log(values)))
        print(f"{label:<22} mean {mean:.2f}, 5 % {np.percentile(values, 5):.2f}, {min(values):.2f}")


if __name__ == "__main__":
    main()
