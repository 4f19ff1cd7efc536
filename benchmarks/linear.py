"""Linear recurrences over long sequences, relative to other ways to run them.

    pip install -e . && pip install memax discretax
    python benchmarks/linear.py --quick
    python benchmarks/linear.py --steps 1024 4096 --batch 1 8 --width 64 128

Float32, time first, on the CPU of this machine, or on its GPU with `--platform cuda`. The programs
are those of `matrix.py`, and:

- `scan`: h' = a h + b, with real a and b given for every step and feature, alone.
- `LRU`: the layer, with as many states as features.
- `minGRU`: the layer.

A training step computes the gradients of `sum(outputs ** 2)` with respect to weights and inputs. A
ratio is the median over rounds of the time of a competitor divided by ours in the same round. Above
1, we are faster. "one pass" reads and writes arrays of the sizes that the recurrence needs, once,
without a recurrence. "products only" has the matrix products of the layer, as large products.
`whole` is our own cell with one chunk for all steps. memax and discretax need Python 3.12.
"""

import argparse
import functools
import importlib.util
import itertools
from collections.abc import Callable
from typing import Any

import device
import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
import jax.random as jr
import linear_peers
import matrix
import numpy as np
from peers import Model
from timing import Program, calls_per_sample, jax_program, run_in_turns

import eqx_rnn

OURS = "eqx-rnn"
Build = Callable[[int, int, int], Model]


def arrays(steps: int, batch: int, width: int, number: int = 1) -> list[jax.Array]:
    keys = jr.split(jr.key(0), number)
    return [jr.normal(k, (steps, batch, width)) for k in keys]


class Given(eqx_rnn.LinearCell):
    """h' = a h + b with the inputs (a, b), which are joined."""

    num_feature_dims = 1

    def coefficients(self, inputs: jax.Array) -> eqx_rnn.Linear:
        return eqx_rnn.Linear(*jnp.split(inputs, 2, axis=-1))


def layer(make: Callable, steps: int, batch: int, width: int, **options: Any) -> Model:
    cell = make(width, width, key=jr.key(1))
    rnn = eqx_rnn.RNN(cell, time_major=True, **options)
    weights, static = eqx.partition(rnn, eqx.is_array)
    apply = lambda weights, x: eqx.combine(weights, static)(x)
    return Model(apply, weights, tuple(arrays(steps, batch, width)))


def given(steps: int, batch: int, width: int) -> tuple[jax.Array, jax.Array]:
    a, b = arrays(steps, batch, width, 2)
    return jax.nn.sigmoid(a), b


def ours_scan(*sizes: int) -> Model:
    rnn = eqx_rnn.RNN(Given(), time_major=True)
    return Model(lambda _, ab: rnn(ab), (), (jnp.concatenate(given(*sizes), -1),))


def plain_scan(*sizes: int) -> Model:
    def apply(_: Any, a: jax.Array, b: jax.Array) -> jax.Array:
        step = lambda h, ab: 2 * (ab[0] * h + ab[1],)
        return lax.scan(step, jnp.zeros_like(b[0]), (a, b))[1]

    return Model(apply, (), given(*sizes))


def associative_scan(*sizes: int) -> Model:
    combine = lambda x, y: (x[0] * y[0], y[0] * x[1] + y[1])
    apply = lambda _, a, b: lax.associative_scan(combine, (a, b))[1]
    return Model(apply, (), given(*sizes))


def one_pass(*sizes: int) -> Model:
    """Reads a and b and writes one array. In training, it writes four arrays."""

    def train(_: Any, a: jax.Array, b: jax.Array) -> Any:
        h = lax.optimization_barrier(a * b + b)
        d = lax.optimization_barrier(2 * h * a)
        return d * h, d * a

    return Model(lambda _, a, b: a * b + b, (), given(*sizes), train=train)


def whole(make: Callable, steps: int, batch: int, width: int) -> Model:
    return layer(make, steps, batch, width, chunk_size=steps)


def products_only(rows_in: int, rows_out: int, steps: int, batch: int, width: int) -> Model:
    """The products of the layer: `rows_in` matrices before the scan and, if `rows_out` is not 0, as
    many after it.
    """

    def apply(weights: Any, x: jax.Array) -> jax.Array:
        u = eqx_rnn.project(weights[0], x)
        return eqx_rnn.project(weights[1], u) if rows_out else u

    keys = jr.split(jr.key(2))
    weights = [jr.normal(keys[0], (rows_in * width, width)) / width]
    if rows_out:
        weights.append(jr.normal(keys[1], (width, rows_in * width)) / width)
    return Model(apply, weights, tuple(arrays(steps, batch, width)))


def step_scan(make: Callable, steps: int, batch: int, width: int) -> Model:
    """A user's own `lax.scan` of the cell."""
    cell = make(width, width, key=jr.key(1))
    weights, static = eqx.partition(cell, eqx.is_array)

    def apply(weights: Any, x: jax.Array) -> jax.Array:
        cell = eqx.combine(weights, static)
        return lax.scan(lambda h, x: cell(h, x), cell.initialize_carry(None, x[0]), x)[1]

    return Model(apply, weights, tuple(arrays(steps, batch, width)))


LRU, MIN_GRU = eqx_rnn.LRUCell, eqx_rnn.MinGRUCell
PROGRAMS: dict[str, dict[str, tuple[str, Build]]] = {
    "scan": {
        OURS: ("eqx_rnn", ours_scan),
        "plain lax.scan": ("jax", plain_scan),
        "associative_scan": ("jax", associative_scan),
        "one pass": ("jax", one_pass),
    },
    "LRU": {
        OURS: ("eqx_rnn", functools.partial(layer, LRU)),
        "whole": ("eqx_rnn", functools.partial(whole, LRU)),
        "own lax.scan": ("jax", functools.partial(step_scan, LRU)),
        "memax": ("memax", linear_peers.memax_lru),
        "discretax": ("discretax", linear_peers.discretax_lru),
        "products only": ("jax", functools.partial(products_only, 2, 1)),
    },
    "minGRU": {
        OURS: ("eqx_rnn", functools.partial(layer, MIN_GRU)),
        "whole": ("eqx_rnn", functools.partial(whole, MIN_GRU)),
        "own lax.scan": ("jax", functools.partial(step_scan, MIN_GRU)),
        "products only": ("jax", functools.partial(products_only, 2, 0)),
    },
    "S6": {
        OURS: ("eqx_rnn", matrix.ours_s6),
        "step scan": ("jax", matrix.s6_scan),
        "associative_scan": ("jax", matrix.s6_associative),
    },
    "SSD": {
        OURS: ("eqx_rnn", matrix.ours_ssd),
        "step scan": ("jax", matrix.ssd_scan),
    },
    "DeltaNet": {
        OURS: ("eqx_rnn", matrix.ours_delta),
        "own lax.scan": ("jax", matrix.delta_scan),
        "discretax": ("discretax", linear_peers.discretax_delta),
        "memax": ("memax", linear_peers.memax_delta),
    },
}


def programs_of(model: Model) -> dict[str, Program]:
    def loss(both: Any) -> jax.Array:
        weights, inputs = both
        return jnp.sum(model.apply(weights, *inputs) ** 2)

    def train(weights: Any, *inputs: Any) -> Any:
        return jax.grad(loss)((weights, inputs))

    functions = {"forward": model.apply, "train": model.train or train}
    return {quantity: jax_program(function, model) for quantity, function in functions.items()}


def measure(program: str, sizes: tuple[int, int, int], rounds: int) -> None:
    found, calls = {}, {}
    for name, (package, make) in PROGRAMS[program].items():
        if importlib.util.find_spec(package) is None:
            continue
        for quantity, compiled in programs_of(make(*sizes)).items():
            found[name, quantity] = compiled
            calls[name, quantity] = calls_per_sample(compiled.run)
    seconds = run_in_turns(found, calls, rounds)
    steps, batch, width = sizes
    print(f"\n{program}, T={steps} B={batch} width={width}")
    print(f"{'':<18}{'forward':>16}{'train':>18}{'temp MB':>18}{'compile s':>15}")
    for name in dict.fromkeys(name for name, _ in found):
        line = f"{name:<18}"
        for quantity in ("forward", "train"):
            own, ref = seconds[name, quantity], seconds[OURS, quantity]
            ratio = np.median(np.divide(own, ref))
            line += f"{1e3 * np.median(own):9.2f} ms{ratio:6.2f}"
        for of, unit in (("temp_bytes", 1e6), ("compile_seconds", 1)):
            values = [getattr(found[name, q], of) / unit for q in ("forward", "train")]
            line += f"{values[0]:9.1f}{values[1]:7.1f}"
        print(line, flush=True)
    jax.clear_caches()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one size and few rounds")
    parser.add_argument("--programs", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS))
    parser.add_argument("--steps", nargs="+", type=int, default=[1024, 4096, 16384])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--width", nargs="+", type=int, default=[64, 128, 512])
    parser.add_argument("--rounds", type=int, help="default: 9, or 3 if --quick")
    parser.add_argument(
        "--most", type=int, default=2**25, help="skip sizes whose steps x batch x width is larger"
    )
    device.add_option(parser)
    args = parser.parse_args()
    device.use(args.platform)
    print(device.describe())
    sizes = [(1024, 8, 64)] if args.quick else itertools.product(args.steps, args.batch, args.width)
    for steps, batch, width in sizes:
        if steps * batch * width <= args.most:
            for program in args.programs:
                measure(program, (steps, batch, width), args.rounds or (3 if args.quick else 9))


if __name__ == "__main__":
    main()
