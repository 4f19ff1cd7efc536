"""How fast cells run over time, in eqx-rnn and in other libraries.

    pip install -e ".[bench]"  # any build of torch that runs on a CPU
    python benchmarks/speed.py --quick
    python benchmarks/speed.py --random 1  # 30 shapes that are drawn with this seed
    python benchmarks/speed.py --platform cuda --peers "flax nnx" torch

For each cell and shape, this measures the time of a forward pass and of a training step, compile
time and temporary memory. A training step computes the gradients of `sum(outputs ** 2)` with
respect to the weights, in float32. All libraries run in one process, in turns. A ratio is the
median over rounds of the time of a library divided by our time in the same round. Above 1, we are
faster. Random weights are drawn in the same way for every library. Each library gets its fastest
layout: time first, except for Keras, which supports batch first only. Haiku's Elman cell has a
ReLU, the others have a tanh. The row "products only" has only the arithmetic of the matrix
products, done as large products. It shows the speed of the hardware if no step had to wait for the
previous step.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import device
import jax
from distribution import distribution
from peers import OURS, PEERS, TORCH, Shape, num_cores
from report import Case, report, table
from shapes import IMAGES, KNOWN, NUMBER, QUICK_NUMBER, random_shapes
from timing import measure

CASES = {"LSTM": KNOWN, "GRU": KNOWN, "Elman": KNOWN, "ConvLSTM": IMAGES}
QUICK_CASES = {"LSTM": KNOWN[:1], "GRU": KNOWN[2:3], "ConvLSTM": ["10,4,3,16,16x16"]}
RANDOM_CELLS = ["LSTM", "GRU", "Elman"]
PACKAGES = ["jax", "jaxlib", "equinox", "flax", "dm-haiku", "keras", "torch", "numpy"]
SETTINGS = "MALLOC_", "GLIBC_", "XLA_", "JAX_", "OMP_", "GOMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few shapes, few rounds")
    parser.add_argument(
        "--random",
        type=int,
        metavar="SEED",
        help=f"{NUMBER} random shapes; {QUICK_NUMBER} if --quick",
    )
    parser.add_argument("--cells", nargs="+", choices=list(CASES), help="default: all")
    parser.add_argument(
        "--shapes",
        nargs="+",
        type=Shape.parse,
        metavar="T,B,I,H[,16x16]",
        help="steps, batch, input and hidden size, and the image size for a ConvLSTM",
    )
    parser.add_argument(
        "--peers", nargs="+", choices=list(PEERS), metavar="NAME", help=" | ".join(PEERS)
    )
    parser.add_argument("--rounds", type=int, help="default: 11, or 5 if --quick")
    parser.add_argument("--compiles", type=int, help="times to compile; default: 3, or 1")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    device.add_option(parser)
    args = parser.parse_args()
    args.rounds = args.rounds or (5 if args.quick else 11)
    args.compiles = args.compiles or (1 if args.quick or args.random is not None else 3)
    return args


def cases(args: argparse.Namespace) -> list[tuple[str, Shape]]:
    """The chosen cells and shapes. Shapes with an image are for a ConvLSTM only."""
    table = QUICK_CASES if args.quick else CASES
    if args.random is not None:
        shapes = random_shapes(args.random, QUICK_NUMBER if args.quick else NUMBER)
        return [(cell, shape) for shape in shapes for cell in args.cells or RANDOM_CELLS]
    return [
        (cell, shape)
        for cell in args.cells or table
        for shape in args.shapes or map(Shape.parse, table.get(cell, KNOWN[:1]))
        if bool(shape.image) == (cell == "ConvLSTM")
    ]


def installed(names: list[str]) -> list[str]:
    """The libraries that are installed; ours comes first."""
    found = [OURS]
    for name, peer in PEERS.items():
        if name == OURS or name not in names:
            continue
        if importlib.util.find_spec(peer.package) is None:
            print(f"{name} is left out: `{peer.package}` is not installed.")
        elif name == TORCH and not device.has_torch():
            print(f"{name} is left out: this build of torch does not run on the GPU.")
        else:
            found.append(name)
    return found


def environment() -> dict:
    """The machine, versions and settings of a measurement."""
    versions = {}
    for package in ["eqx-rnn", *PACKAGES]:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **versions},
        "device": device.name(),
        "cores": num_cores(),
        "load_before": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "settings": {k: v for k, v in sorted(os.environ.items()) if k.startswith(SETTINGS)},
    }


def main() -> None:
    args = parse()
    start = time.perf_counter()
    device.use(args.platform)
    jax.config.update("jax_enable_compilation_cache", False)
    results = {
        **environment(),
        "rounds": args.rounds,
        "quick": args.quick,
        "random": args.random,
        "cases": [],
    }
    names = installed(args.peers or list(PEERS))
    args.out.mkdir(parents=True, exist_ok=True)
    kind = "" if args.platform == "cpu" else f"-{args.platform}"
    kind += "" if args.random is None else f"-random-{args.random}"
    path = args.out / f"speed{kind}-{results['date'][:10]}{'-quick' if args.quick else ''}.json"
    if args.quick:
        print("Quick: few shapes and rounds. The numbers are rough.")
    if (results["load_before"] or [0])[0] > 0.5:
        print(
            f"Other programs use this machine (load {results['load_before'][0]:.1f}), which slows "
            "torch down most."
        )
    print(
        f"{results['device']}, {results['cores']} cores; "
        f"settings: {results['settings'] or 'none'}\n"
    )

    for cell, shape in cases(args):
        chosen = [name for name in names if cell in PEERS[name].cells]
        rows = measure(cell, shape, chosen, args.rounds, args.compiles)
        results["cases"].append({"cell": cell, "shape": shape, "rows": rows})
        path.write_text(json.dumps(results))
        print(table(Case(cell, shape, rows)), flush=True)
    report(path)
    if args.random is not None:
        print(distribution([Case.read(case) for case in results["cases"]]))
    print(f"{path.with_suffix('')}.json, .png; {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
