"""Draws the chart of README: the speed of eqx-rnn relative to other libraries, at random shapes.

    python benchmarks/chart.py benchmarks/results/speed-random-<seed>-<date>.json

One dot per shape, one row per cell and library, a line at the geometric mean. The fastest other JAX
library of a shape is chosen in one half of the rounds and compared in the other half.
"""

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from peers import TORCH
from report import Case, speed

CELLS = ["LSTM", "GRU", "Elman"]
OTHERS = {"fastest other JAX library": None, "PyTorch": TORCH}
COLOURS = {"fastest other JAX library": "#1b7f79", "PyTorch": "#7d7d7d"}
TITLES = {"train": "Training step", "forward": "Forward pass"}
LIMITS = 0.4, 12.0  # dots outside are drawn at the edge
OUT = Path(__file__).parent.parent / "docs" / "speed.svg"


def draw(results: dict) -> Figure:
    cases = [Case.read(case) for case in results["cases"]]
    figure = Figure(figsize=(8.5, 3.6), layout="constrained")
    panels = figure.subplots(1, len(TITLES), sharey=True)
    jitter = np.random.default_rng(0)
    for axes, (quantity, title) in zip(panels, TITLES.items(), strict=True):
        labels = []
        for cell in CELLS:
            for label, other in OTHERS.items():
                y = len(labels)
                found = [speed(quantity, other)(c)[0] for c in cases if c.cell == cell]
                ratios = np.array([ratio for ratio in found if ratio is not None])
                places = y + jitter.uniform(-0.22, 0.22, len(ratios))
                colour = COLOURS[label]
                axes.scatter(np.clip(ratios, *LIMITS), places, s=12, color=colour, alpha=0.6, lw=0)
                mean = np.exp(np.log(ratios).mean())
                axes.plot([mean, mean], [y - 0.38, y + 0.38], color=colour, linewidth=2)
                axes.text(LIMITS[1] * 1.08, y, f"{mean:.2f}", va="center", fontsize=8)
                labels.append(f"{cell}, {label}")
        axes.axvline(1, color="#333333", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axes.set_xscale("log")
        axes.set(xlim=LIMITS, ylim=(len(labels) - 0.5, -0.5))
        axes.set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
        axes.set_xticks([], minor=True)
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.set_title(title, fontsize=10, weight="bold")
        axes.tick_params(length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    shapes = len({case.shape for case in cases})
    figure.suptitle("Time of other libraries / time of eqx-rnn (right of 1: eqx-rnn is faster)")
    figure.supxlabel(
        f"{shapes} random shapes per cell and their geometric mean; float32, {results['cores']} "
        f"cores of an {results['device']}, jax {results['versions']['jax']}, "
        f"{results['date'][:10]}",
        fontsize=8,
        color="#666666",
    )
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="a JSON file of `speed.py --random`")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    matplotlib.rcParams["svg.hashsalt"] = "eqx-rnn"  # the same file from the same numbers
    figure = draw(json.loads(args.results.read_text()))
    figure.savefig(args.out, facecolor="white", metadata={"Date": None})


if __name__ == "__main__":
    main()
