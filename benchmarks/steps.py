"""One step of a cell and a user's own loop, relative to `eqx.nn` or to equations written by hand.

    python benchmarks/steps.py [--quick]

The time of a cell of this library, divided by the time of `eqx.nn` (LSTM and GRU, with `jax.vmap`
over the batch) or of the same equations written by hand for one row, with `W @ x` and `jax.vmap`
(other cells). Below 1, we are faster. Measured inside `jax.jit`: a step, and a `jax.lax.scan` of 20
steps that calls the cell. "vmap" calls the cell for each row, within `jax.vmap`. The ratios are
medians over rounds of ratios of the same round, in float32 on the CPU of this machine. The last
table shows the time of a call outside `jax.jit`, and of a step through `eqx.filter_jit`.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import device
import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
import numpy as np
from timing import Program, calls_per_sample, run_in_turns

import eqx_rnn

HIDDEN = [32, 75, 128, 333, 512, 1024]
BATCHES = [0, 1, 3, 8, 21, 64]  # 0 is a step without a batch axis
STEPS = 20
sigmoid = jax.nn.sigmoid


def simple(cell: eqx_rnn.SimpleCell, h: Any, x: Any) -> tuple[Any, Any]:
    h = jnp.tanh(cell.weight_ih @ x + cell.bias + cell.weight_hh @ h)
    return h, h


def mgu(cell: eqx_rnn.MGUCell, h: Any, x: Any) -> tuple[Any, Any]:
    f_x, n_x = jnp.split(cell.weight_ih @ x + cell.bias, 2)
    f_h, n_h = jnp.split(cell.weight_hh @ h, 2)
    f = sigmoid(f_x + f_h)
    h = (1 - f) * jnp.tanh(n_x + f * (n_h + cell.bias_n)) + f * h
    return h, h


def peephole(cell: eqx_rnn.PeepholeLSTMCell, carry: Any, x: Any) -> tuple[Any, Any]:
    h, c = carry
    i, f, g, o = jnp.split(cell.weight_ih @ x + cell.bias + cell.weight_hh @ h, 4)
    p_i, p_f, p_o = jnp.split(cell.weight_ph, 3)
    i, f = sigmoid(i + p_i * c), sigmoid(f + p_f * c)
    c = f * c + i * jnp.tanh(g)
    h = sigmoid(o + p_o * c) * jnp.tanh(c)
    return (h, c), h


def eqx_nn(cell: Any, carry: Any, x: Any) -> tuple[Any, Any]:
    carry = cell(x, carry)
    return carry, jax.tree.leaves(carry)[0]


PEERS: dict[str, tuple[Callable, Callable, Callable]] = {
    "LSTM": (eqx_rnn.LSTMCell, eqx.nn.LSTMCell, eqx_nn),
    "GRU": (eqx_rnn.GRUCell, eqx.nn.GRUCell, eqx_nn),
    "Elman": (
        functools.partial(eqx_rnn.SimpleCell, activation=jnp.tanh),
        eqx_rnn.SimpleCell,
        simple,
    ),
    "MGU": (eqx_rnn.MGUCell, eqx_rnn.MGUCell, mgu),
    "Peephole": (eqx_rnn.PeepholeLSTMCell, eqx_rnn.PeepholeLSTMCell, peephole),
}


def compiled(function: Callable, cell: Any, *args: Any) -> Program:
    weights, static = eqx.partition(cell, eqx.is_array)
    jitted = jax.jit(lambda weights, *args: function(eqx.combine(weights, static), *args))
    program = jitted.lower(weights, *args).compile()
    return Program(lambda: jax.block_until_ready(program(weights, *args)), None, None)


def loop(step: Callable) -> Callable:
    return lambda cell, carry, xs: lax.scan(functools.partial(step, cell), carry, xs)


def measure(name: str, hidden: int, batch: int, rounds: int) -> dict[str, float]:
    """Medians of our time over theirs, for a step and a loop."""
    make, make_peer, peer_step = PEERS[name]
    ours, peer = (
        make(hidden, hidden, key=jax.random.key(0)),
        make_peer(hidden, hidden, key=jax.random.key(0)),
    )
    shape = (batch, hidden) if batch else (hidden,)
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
    carry = ours.initialize_carry(None, x)
    peer_carry = tuple(carry) if isinstance(carry, tuple) else carry
    step: Callable = lambda cell, carry, x: cell(carry, x)
    mapped = lambda step: jax.vmap(step, in_axes=(None, 0, 0)) if batch else step
    programs = {}
    for place, wrap, inputs in (
        ("step", lambda step: step, x),
        ("loop", loop, jnp.stack(STEPS * [x])),
    ):
        programs[place, "peer"] = compiled(wrap(mapped(peer_step)), peer, peer_carry, inputs)
        programs[place, "ours"] = compiled(wrap(step), ours, carry, inputs)
        if batch:
            programs[place, "vmap"] = compiled(wrap(mapped(step)), ours, carry, inputs)
    for program in programs.values():
        program.run()
    calls = {key: calls_per_sample(program.run, 0.01) for key, program in programs.items()}
    seconds = run_in_turns(programs, calls, rounds, pause=0.001)
    return {
        f"{place}, {who}": float(np.median(np.divide(values, seconds[place, "peer"])))
        for (place, who), values in seconds.items()
        if who != "peer"
    }


def overhead() -> None:
    """The time of a call that computes almost nothing."""
    x = jnp.ones((1, 8), jnp.float32)
    print("\nOverhead per call, µs (hidden size 8, batch 1)")
    for name, (make, make_peer, _) in list(PEERS.items())[:2]:
        cell, peer = make(8, 8, key=jax.random.key(0)), make_peer(8, 8, key=jax.random.key(0))
        carry = cell.initialize_carry(None, x)
        row = jax.tree.map(lambda a: a[0], tuple(carry) if isinstance(carry, tuple) else carry)
        jitted, jitted_peer = eqx.filter_jit(lambda c, s, x: c(s, x)), eqx.filter_jit(eqx_nn)
        rnn = eqx_rnn.RNN(cell)
        calls = {
            "cell(carry, x)": lambda cell=cell, carry=carry: cell(carry, x),
            "eqx.nn cell, one row": lambda peer=peer, row=row: eqx_nn(peer, row, x[0]),
            "rnn(x), 5 steps": lambda rnn=rnn: rnn(jnp.broadcast_to(x[:, None], (1, 5, 8))),
            "filter_jit(cell)(carry, x)": lambda j=jitted, c=cell, s=carry: j(c, s, x),
            "filter_jit(eqx.nn cell)": lambda j=jitted_peer, p=peer, r=row: j(p, r, x[0]),
        }
        for label, call in calls.items():
            call()
            times = []
            for _ in range(200):
                start = time.perf_counter()
                jax.block_until_ready(call())
                times.append(time.perf_counter() - start)
            print(f"  {name:<5} {label:<28} {1e6 * np.median(times):8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few sizes")
    parser.add_argument("--cells", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=11)
    args = parser.parse_args()
    device.use("cpu")
    print(device.describe())
    for name in args.cells:
        found: dict[str, list[tuple[float, int, int]]] = {}
        for hidden in HIDDEN[1::3] if args.quick else HIDDEN:
            for batch in BATCHES[::2] if args.quick else BATCHES:
                for key, ratio in measure(name, hidden, batch, args.rounds).items():
                    found.setdefault(key, []).append((ratio, hidden, batch))
        for key, entries in found.items():
            mean = np.exp(np.mean([np.log(ratio) for ratio, *_ in entries]))
            worst = "; ".join(f"{r:.2f} at {h}, {b}" for r, h, b in sorted(entries)[:-4:-1])
            print(f"{name:<9}{key:<11} geometric mean {mean:.2f}, worst (hidden, batch): {worst}")
    overhead()


if __name__ == "__main__":
    main()
