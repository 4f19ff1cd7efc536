"""Times models: compiles them one by one, then runs them by turns."""

import gc
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from peers import KERNEL, LIMIT, PEERS, TORCH, Model, Shape, TorchModel

SAMPLE_SECONDS = 0.05  # a sample is one call, or as many calls as fill this time
# After a sample, because threads of the last program may still spin. Those of torch do so longest.
PAUSE_SECONDS = 0.02
PAUSE_SECONDS_AFTER_TORCH = 0.3


class Program(NamedTuple):
    """A function that returns when its work is done; `None` where torch does not compile."""

    run: Callable[[], Any]
    compile_seconds: float | None
    temp_bytes: int | None


def measure(cell: str, shape: Shape, names: list[str], rounds: int, compiles: int) -> dict:
    """Rows of `{quantity: {seconds, compile_seconds, temp_bytes}}` by library, `seconds` by round.

    Compile time includes tracing and lowering, with empty caches.
    """
    x = shape.random_inputs()
    models = {name: PEERS[name].build(PEERS[name].cells[cell], shape, x) for name in names}
    programs: dict[tuple[str, str], Program] = {}
    compile_seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(compiles):
        for name, model in models.items():
            for quantity, program in build(model):
                programs[name, quantity] = program
                compile_seconds.setdefault((name, quantity), []).append(program.compile_seconds)

    calls = {}
    for (name, quantity), program in programs.items():
        check(name, cell, shape, models[name], quantity, program.run())
        calls[name, quantity] = calls_per_sample(program.run)
    seconds = run_in_turns(programs, calls, rounds)
    rows: dict = {name: {} for name in names}
    for (name, quantity), program in programs.items():
        rows[name][quantity] = {
            "seconds": seconds[name, quantity],
            "calls_per_sample": calls[name, quantity],
            "compile_seconds": [s for s in compile_seconds[name, quantity] if s is not None],
            "temp_bytes": program.temp_bytes,
        }
    del models, programs, model, program
    gc.collect()
    jax.clear_caches()
    return rows


def run_in_turns(programs: dict, calls: dict, rounds: int, pause: float = PAUSE_SECONDS) -> dict:
    """Seconds per call, by round. The order of the programs rotates, and reverses at times."""
    seconds: dict = {key: [] for key in programs}
    names = list(programs)
    gc.collect()
    gc.disable()
    for k in range(rounds):
        first = k * len(names) // rounds
        order = names[first:] + names[:first]
        for key in reversed(order) if k % 4 > 1 else order:
            seconds[key].append(seconds_per_call(programs[key].run, calls[key]))
            time.sleep(PAUSE_SECONDS_AFTER_TORCH if TORCH in key else pause)
    gc.enable()
    return seconds


def calls_per_sample(run: Callable[[], Any], seconds: float = SAMPLE_SECONDS) -> int:
    return math.ceil(seconds / seconds_per_call(run, 1))


def seconds_per_call(run: Callable[[], Any], calls: int) -> float:
    if calls > 1:
        run()  # the caches still hold data of another program, which slows short calls down
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def build(model: Model | TorchModel) -> list[tuple[str, Program]]:
    """The programs of a model, by quantity."""
    if isinstance(model, TorchModel):
        forward, train = torch_forward, torch_train
        return [
            ("forward", Program(lambda: forward(*model), None, None)),
            ("train", Program(lambda: train(*model), None, None)),
        ]
    loss = lambda weights, *inputs: jnp.sum(model.apply(weights, *inputs) ** 2)
    functions = {"forward": model.apply, "train": model.train or jax.value_and_grad(loss)}
    return [(q, jax_program(functions[q], model)) for q in model.quantities]


def jax_program(function: Callable, model: Model) -> Program:
    leaves, tree = jax.tree.flatten(model.weights)
    jax.clear_caches()
    start = time.perf_counter()
    jitted = jax.jit(lambda leaves, *inputs: function(tree.unflatten(leaves), *inputs))
    compiled = jitted.lower(leaves, *model.inputs).compile()
    compile_seconds = time.perf_counter() - start
    run = lambda: jax.block_until_ready(compiled(leaves, *model.inputs))
    return Program(run, compile_seconds, compiled.memory_analysis().temp_size_in_bytes)


def torch_forward(module: Any, inputs: Any) -> Any:
    import torch

    with torch.no_grad():
        outputs = module(inputs)[0]
    wait_for(outputs)
    return outputs


def torch_train(module: Any, inputs: Any) -> tuple[Any, list[Any]]:
    module.zero_grad(set_to_none=True)
    loss = module(inputs)[0].square().sum()
    loss.backward()
    wait_for(loss)
    return loss, [p.grad for p in module.parameters()]


def wait_for(outputs: Any) -> None:
    """Returns when a GPU has finished."""
    if outputs.is_cuda:
        import torch

        torch.cuda.synchronize()


def check(
    name: str, cell: str, shape: Shape, model: Model | TorchModel, quantity: str, result: Any
) -> None:
    """Checks that a library returns all steps and trains all weights of all gates."""
    if name == LIMIT:
        return
    if quantity == "forward":
        wanted = list(shape.outputs)
        if isinstance(model, Model) and model.batch_major:
            wanted[:2] = wanted[1::-1]
        if list(result.shape) != wanted:
            raise ValueError(f"{name}: outputs are {result.shape}, wanted {wanted}")
        return
    gradients = [np.asarray(g.cpu() if name == TORCH else g) for g in jax.tree.leaves(result[1])]
    gates = int(PEERS[LIMIT].cells[cell]) * shape.hidden
    weights = (shape.input + shape.hidden) * KERNEL ** len(shape.image) * gates
    if not 0 <= sum(g.size for g in gradients) - weights <= 2 * gates:
        raise ValueError(f"{name}: {sum(g.size for g in gradients)} gradients, wanted {weights}")
    if not all(np.isfinite(g).all() and g.any() for g in gradients):
        raise ValueError(f"{name}: a gradient is zero or not finite")
