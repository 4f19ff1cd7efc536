"""The cost of wrappers: a training step of an LSTM in a wrapper, relative to the bare cell.

    python benchmarks/wrappers.py

A training step computes the gradients of `sum(outputs ** 2)` with respect to the weights, in
float32, on the CPU of this machine, in training mode with the same key. All programs run in one
process, by turns. A ratio is the median over rounds of the time of the wrapped cell divided by that
of the bare cell in the same round; quartiles follow.
"""

import argparse
import gc

import device
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from peers import Shape
from shapes import KNOWN
from timing import Program, calls_per_sample, run_in_turns

import eqx_rnn

BARE = "bare"
WRAPPERS = {
    BARE: lambda cell: cell,
    "Zoneout": lambda cell: eqx_rnn.Zoneout(cell, eqx_rnn.LSTMCarry(0.05, 0.5)),
    "RecurrentDropout": lambda cell: eqx_rnn.RecurrentDropout(cell, 0.3, 0.3),
    "DropConnect": lambda cell: eqx_rnn.DropConnect(cell, 0.5),
    "LearnedCarry": eqx_rnn.LearnedCarry,
    "Residual": eqx_rnn.Residual,
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shapes",
        nargs="+",
        type=Shape.parse,
        default=[*map(Shape.parse, [KNOWN[0], KNOWN[4]])],
        metavar="T,B,I,H",
        help="steps, batch, input and hidden size",
    )
    parser.add_argument("--wrappers", nargs="+", choices=list(WRAPPERS)[1:], help="default: all")
    parser.add_argument("--rounds", type=int, default=21)
    return parser.parse_args()


def program(name: str, shape: Shape) -> Program:
    """A compiled training step."""
    x = shape.random_inputs()
    cell = WRAPPERS[name](eqx_rnn.LSTMCell(shape.input, shape.hidden, key=jax.random.key(0)))
    weights, static = eqx.partition(eqx_rnn.RNN(cell, time_major=True), eqx.is_inexact_array)

    def loss(weights, x, key):
        return jnp.sum(eqx.combine(weights, static)(x, key=key) ** 2)

    arguments = weights, x, jax.random.key(1)
    compiled = jax.jit(jax.value_and_grad(loss)).lower(*arguments).compile()
    return Program(lambda: jax.block_until_ready(compiled(*arguments)), None, None)


def measure(names: list[str], shape: Shape, rounds: int) -> dict[str, np.ndarray]:
    """Seconds per training step, by round."""
    programs = {name: program(name, shape) for name in names}
    calls = {}
    for name, compiled in programs.items():
        gradients = jax.tree.leaves(compiled.run()[1])
        if not all(np.isfinite(g).all() and g.any() for g in gradients):
            raise ValueError(f"{name}: a gradient is zero or not finite")
        calls[name] = calls_per_sample(compiled.run)
    seconds = run_in_turns(programs, calls, rounds)
    del programs
    gc.collect()
    jax.clear_caches()
    return {name: np.array(values) for name, values in seconds.items()}


def table(shape: Shape, seconds: dict[str, np.ndarray]) -> str:
    lines = [
        f"LSTM ({', '.join(map(str, shape[:4]))})",
        f"{'':18}{'ms':>9}{'ratio':>8}   quartiles",
    ]
    for name, values in seconds.items():
        low, ratio, high = np.quantile(values / seconds[BARE], [0.25, 0.5, 0.75])
        ms = 1000 * np.median(values)
        lines.append(f"{name:18}{ms:9.2f}{ratio:8.2f}   {low:.2f} to {high:.2f}")
    return "\n".join(lines) + "\n"


def main() -> None:
    args = parse()
    device.use("cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    print(f"{device.describe()}\n")
    names = [BARE, *(args.wrappers or list(WRAPPERS)[1:])]
    for shape in args.shapes:
        wide = shape._replace(input=shape.hidden)  # as many inputs as hidden units
        plain = [name for name in names if name != "Residual"]
        print(table(shape, measure(plain, shape, args.rounds)), flush=True)
        if "Residual" in names:
            print(table(wide, measure([BARE, "Residual"], wide, args.rounds)), flush=True)


if __name__ == "__main__":
    main()
