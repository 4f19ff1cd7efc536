"""Draws the chart of README: the time of a training step, relative to eqx-rnn.

    python benchmarks/chart.py benchmarks/results/speed-<date>.json

One group of bars per cell, all at the shape of `SHAPE`: eqx-rnn, the fastest other JAX library and
PyTorch. Lines show the quartiles.
"""

import argparse
import json
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from peers import OURS, TORCH
from report import Case

SHAPE = (100, 32, 128, 256)  # steps, batch, input and hidden size
CELLS = ["LSTM", "GRU", "Elman"]
COLOURS = {OURS: "#1b7f79", TORCH: "#c8c8c8"}
OTHER_COLOUR = "#8fb3b0"
NAMES = {TORCH: "PyTorch", "flax nnx": "Flax nnx", "flax linen": "Flax", "haiku": "Haiku"}
NAMES |= {"keras": "Keras on JAX"}
OUT = Path(__file__).parent.parent / "docs" / "speed.svg"


def draw(results: dict) -> Figure:
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    axes = figure.subplots()
    cases = [Case.read(case) for case in results["cases"]]
    for k, cell in enumerate(CELLS):
        case = next(c for c in cases if c.cell == cell and tuple(c.shape[:4]) == SHAPE)
        for row, name in enumerate([OURS, case.fastest("train"), TORCH]):
            low, middle, high = case.ratios(name, "train")
            y = 4 * k + row
            axes.barh(y, middle, height=0.85, color=COLOURS.get(name, OTHER_COLOUR))
            if name != OURS:
                axes.plot([low, high], [y, y], color="#333333", linewidth=1)
            label = f"{middle:.2f}  {NAMES.get(name, name)}"
            axes.text(max(middle, high) + 0.03, y, label, va="center", fontsize=9)
    axes.set_yticks([4 * k + 1 for k in range(len(CELLS))], CELLS, fontsize=10, weight="bold")
    axes.set(xlim=(0, 1.9), xticks=[0, 0.5, 1, 1.5], ylim=(4 * len(CELLS) - 1.4, -0.6))
    axes.set_title("Time of a training step, relative to eqx-rnn (shorter is faster)", fontsize=11)
    steps, batch, inputs, hidden = SHAPE
    axes.set_xlabel(
        f"{steps} steps, batch {batch}, {inputs} inputs, {hidden} hidden units; float32, "
        f"{results['cores']} cores of an {results['cpu']}, {results['date'][:10]}",
        fontsize=8,
        color="#666666",
    )
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="a JSON file of `speed.py`")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    matplotlib.rcParams["svg.hashsalt"] = "eqx-rnn"  # the same file from the same numbers
    figure = draw(json.loads(args.results.read_text()))
    figure.savefig(args.out, facecolor="white", metadata={"Date": None})


if __name__ == "__main__":
    main()
