"""The forms of a product of rows with a weight, and how much the chosen form loses.

    python benchmarks/products.py [--number 200] [--seed 0]

For random sizes, in float32 on the CPU of this machine, this measures all forms of the product in
three places: alone, followed by a sum with another product, and in a loop in which each product
waits for the last one. In a loop, the weight may be stored either way, because the engine can make
a transposed copy before the loop; elsewhere it is stored as `(out, in)`. The forms run in turns. A
loss is the median time of the chosen form divided by that of the fastest form. The fastest of
several noisy numbers is too fast, so the losses are upper bounds. The sizes where the loss exceeds
10 % are listed.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import device
import jax
import jax.numpy as jnp
import numpy as np
from timing import Program, calls_per_sample, run_in_turns

from eqx_rnn._kernels import forms

STEPS = 10  # of the loop
FORMS = {
    ("rows", 0): forms.rows_first,
    ("columns", 0): forms.columns_first,
    ("rows", 1): forms.rows_first,
    ("weight", 1): forms.weight_first,
}
PLACES = ["alone", "sum", "loop"]


class Sizes(NamedTuple):
    rows: int
    columns: int
    results: int


def random_sizes(seed: int, number: int) -> list[Sizes]:
    """Hidden sizes of 16 to 2,048, 1 to 512 rows; the products of a step and of its gradient."""
    generator = np.random.default_rng(seed)
    found: list[Sizes] = []
    while len(found) < number:
        hidden = round(np.exp(generator.uniform(np.log(16), np.log(2048))))
        rows = round(np.exp(generator.uniform(0, np.log(512))))
        gates = int(generator.choice([1, 3, 4])) * hidden
        sizes = (hidden, gates) if generator.random() < 0.6 else (gates, hidden)
        if rows * hidden * gates <= 3e8:
            found.append(Sizes(rows, *sizes))
    return found


def program(place: str, form: Callable, sizes: Sizes) -> Callable:
    """A function of rows, two weights of the same shape, and a form's view of them."""

    def again(y: jax.Array) -> jax.Array:
        """An array with as many columns as the rows, from the result."""
        copies = -(-sizes.columns // sizes.results)
        return jnp.concatenate(copies * [y], axis=-1)[..., : sizes.columns]

    def run(rows: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
        if place == "alone":
            return form(rows, first)
        if place == "sum":
            return jnp.tanh(form(rows, first) + form(jnp.tanh(rows), second))
        step = lambda rows, _: (0.5 * rows + again(jnp.tanh(form(rows, first))), None)
        return jax.lax.scan(step, rows, None, length=STEPS)[0]

    return run


def measure(place: str, sizes: Sizes, rounds: int) -> dict[tuple[str, int], float]:
    """The median seconds of each form."""
    generator = np.random.default_rng(0)
    new = lambda *shape: jnp.asarray(generator.standard_normal(shape, np.float32))
    rows = new(sizes.rows, sizes.columns)
    weights = [new(sizes.columns, sizes.results) / sizes.columns**0.5 for _ in range(2)]
    programs = {}
    for (name, axis), form in FORMS.items():
        if axis == 0 and place != "loop":
            continue
        stored = [weight.T if axis else weight for weight in weights]
        bound = functools.partial(form, axis=axis, precision=None)
        compiled = jax.jit(program(place, bound, sizes)).lower(rows, *stored).compile()
        run = functools.partial(_run, compiled, (rows, *stored))
        run()
        programs[name, axis] = Program(run, None, None)
    calls = {key: calls_per_sample(program.run, 0.005) for key, program in programs.items()}
    seconds = run_in_turns(programs, calls, rounds, pause=0.001)
    return {key: float(np.median(values)) for key, values in seconds.items()}


def _run(compiled: Any, args: tuple) -> None:
    jax.block_until_ready(compiled(*args))


def choice(place: str, sizes: Sizes) -> tuple[str, int]:
    """The form that the library takes."""
    rows = jax.ShapeDtypeStruct((sizes.rows, sizes.columns), jnp.float32)
    weight = jax.ShapeDtypeStruct((sizes.results, sizes.columns), jnp.float32)
    axis = forms.best_axis(rows, weight, 1) if place == "loop" else 1
    stored = weight if axis else jax.ShapeDtypeStruct(weight.shape[::-1], jnp.float32)
    form = forms.fastest_form(rows, stored, axis)
    return next(key for key, value in FORMS.items() if value is form and key[1] == axis)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=200, help="sizes per place")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    device.use("cpu")
    print(device.describe())
    for place in PLACES:
        losses = []
        for sizes in random_sizes(args.seed, args.number):
            seconds = measure(place, sizes, args.rounds)
            chosen = choice(place, sizes)
            losses.append((seconds[chosen] / min(seconds.values()), sizes, chosen, seconds))
        ratios = np.array([loss for loss, *_ in losses])
        plain = [seconds[chosen] / seconds["rows", 1] for _, _, chosen, seconds in losses]
        shares = ", ".join(f"{q} %: {np.percentile(ratios, q):.2f}" for q in (50, 90, 95, 100))
        print(
            f"\n{place}: chosen / fastest: geometric mean {np.exp(np.log(ratios).mean()):.3f}, "
            f"quantiles {shares}\n  chosen / `rows @ weight.T`: geometric mean "
            f"{np.exp(np.log(plain).mean()):.3f}"
        )
        for loss, sizes, chosen, seconds in sorted(losses, key=lambda entry: -entry[0]):
            if loss > 1.1:
                times = ", ".join(f"{n}{a} {1e6 * s:.1f}" for (n, a), s in seconds.items())
                print(f"  {loss:.2f}  {sizes}  {chosen[0]}{chosen[1]}  [µs: {times}]")


if __name__ == "__main__":
    main()
