"""Tables, a summary and a picture of the measurements of `speed.py`.

python benchmarks/report.py benchmarks/results/speed-<date>.json
"""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from peers import CHECKPOINT, LENGTHS, LIMIT, NOT_PEERS, OURS, PEERS, TORCH, Shape

CHOSEN, COMPARED = slice(0, None, 2), slice(1, None, 2)  # rounds


class Case(NamedTuple):
    """A cell at a shape, and measurements by library and quantity (`forward`, `train`)."""

    cell: str
    shape: Shape
    rows: dict

    @classmethod
    def read(cls, case: dict) -> "Case":
        """From an entry of the JSON."""
        *sizes, image = case["shape"]
        return cls(case["cell"], Shape(*sizes, tuple(image)), case["rows"])

    def ratios(self, name: str, quantity: str, rounds: slice = slice(None)) -> np.ndarray | None:
        """Quartiles of the time of a library over ours, both from the same round."""
        if quantity not in self.rows.get(name, {}):
            return None
        times = [self.rows[n][quantity]["seconds"][rounds] for n in (name, OURS)]
        return np.percentile(np.divide(*times), [25, 50, 75])

    def ratio(self, name: str, quantity: str, rounds: slice = slice(None)) -> float | None:
        """The median of the same ratio."""
        quartiles = self.ratios(name, quantity, rounds)
        return None if quartiles is None else float(quartiles[1])

    def value(self, name: str, key: str) -> float | None:
        """The median of `compile_seconds`, or `temp_bytes`, of a training step."""
        values = self.rows.get(name, {}).get("train", {}).get(key)
        return None if values in (None, []) else float(np.median(values))

    @property
    def jax_peers(self) -> list[str]:
        return [name for name in self.rows if name not in NOT_PEERS]

    def fastest(self, quantity: str) -> str | None:
        """The JAX peer with the smallest median of paired ratios, in one half of the rounds.

        `CHOSEN` and `COMPARED` are the halves. If one half did both, the smallest of several noisy
        numbers would win.
        """
        median = lambda name: self.ratio(name, quantity, CHOSEN)
        return min(self.jax_peers, key=median, default=None)


def table(case: Case) -> str:
    """All numbers of a case."""
    columns = "forward ms", "ratio [quartiles]", "train ms", "ratio [quartiles]"
    head = "{:<23}{:>11}{:>21}{:>11}{:>21}".format("", *columns)
    lines = [f"{case.cell}, {case.shape}", f"{head}{'compile s':>11}{'temp MB':>9}"]
    for name, row in case.rows.items():
        line = f"{name:<23}"
        for quantity in ("forward", "train"):
            quartiles = case.ratios(name, quantity)
            if quartiles is None:
                line += f"{'-':>11}{'':>21}"
                continue
            low, middle, high = quartiles
            line += f"{1e3 * np.median(row[quantity]['seconds']):>11.2f}"
            line += f"{f'{middle:.2f} [{low:.2f}, {high:.2f}]' if name != OURS else '':>21}"
        seconds, size = case.value(name, "compile_seconds"), case.value(name, "temp_bytes")
        line += f"{'-' if seconds is None else f'{seconds:.2f}':>11}"
        lines.append(line + f"{'-' if size is None else f'{size / 1e6:.1f}':>9}")
    return "\n".join(lines) + "\n"


Pick = Callable[[Case], tuple[float | None, str | None]]


def speed(quantity: str, other: str | None = None) -> Pick:
    """How many times faster we are than `other`, or by default than the fastest JAX peer."""

    def pick(case: Case):
        if other is not None:
            return case.ratio(other, quantity), other
        name = case.fastest(quantity)
        return case.ratio(name, quantity, COMPARED) if name else None, name

    return pick


def share(key: str, ours: str, of: Callable[[Case], str | None]) -> Pick:
    """Our compile time or temporary memory, divided by the value of a peer."""

    def pick(case: Case):
        name, mine = of(case), case.value(ours, key)
        theirs = case.value(name, key) if name else None
        return mine / theirs if mine and theirs else None, name

    return pick


def leanest(case: Case) -> str | None:
    return min(case.jax_peers, key=lambda name: case.value(name, "temp_bytes"), default=None)


BETTER_HIGH = {
    "training, fastest JAX peer / ours": speed("train"),
    "forward, fastest JAX peer / ours": speed("forward"),
    "training, torch / ours": speed("train", TORCH),
    "forward, torch / ours": speed("forward", TORCH),
    "training, products only / ours": speed("train", LIMIT),
    "forward, products only / ours": speed("forward", LIMIT),
}
BETTER_LOW = {
    "temporary memory, ours / leanest JAX peer": share("temp_bytes", OURS, leanest),
    "the same, with checkpoint": share("temp_bytes", CHECKPOINT, leanest),
    "compile time, ours / fastest trainer's": share(
        "compile_seconds", OURS, lambda case: case.fastest("train")
    ),
    "training, with lengths / without": speed("train", LENGTHS),
    "forward, with lengths / without": speed("forward", LENGTHS),
    "training, with checkpoint / without": speed("train", CHECKPOINT),
}


def summary(cases: list[Case]) -> str:
    """Geometric means over the shapes of each cell, and the worst case."""
    lines = []
    for cell in dict.fromkeys(case.cell for case in cases):
        mine = [case for case in cases if case.cell == cell]
        lines.append(f"{cell}, {len(mine)} shape{'s'[: len(mine) > 1]}: geometric mean, worst")
        for worst, picks in ((min, BETTER_HIGH), (max, BETTER_LOW)):
            for label, pick in picks.items():
                lines += summary_line(label, [(*pick(case), case.shape) for case in mine], worst)
    return "\n".join(lines) + "\n"


def summary_line(label: str, found: Iterable[tuple], worst: Callable) -> list[str]:
    found = [entry for entry in found if entry[0] is not None]
    if not found:
        return []
    mean = np.exp(np.mean([np.log(ratio) for ratio, *_ in found]))
    ratio, name, shape = worst(found, key=lambda entry: entry[0])
    return [f"  {label:<43}{mean:>6.2f}{ratio:>7.2f}  {shape}  {name}"]


COLOURS = {"flax": "#5b8db8", "haiku": "#8e7cc3", "equinox": "#e0a458", "keras": "#c95d63"}
COLOURS |= {"eqx_rnn": "#1b7f79", "torch": "#7d7d7d", "jax": "#d9d9d9"}
FURTHEST = 1.75  # end of the axis: longer bars are cut


def picture(cases: list[Case], path: Path, note: str) -> None:
    """Training speed relative to ours: one column per cell, one panel per shape."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    cells: dict[str, list[Case]] = {}
    for case in cases:
        cells.setdefault(case.cell, []).append(case)
    names = [name for name in PEERS if any(name in case.rows for case in cases)]
    height = max(map(len, cells.values()))
    size = (1.6 + 3.3 * len(cells), 1 + (0.5 + 0.17 * len(names)) * height)
    figure, axes = plt.subplots(
        height, len(cells), figsize=size, squeeze=False, layout="constrained"
    )
    for column, mine in zip(axes.T, cells.values(), strict=True):
        for ax in column[len(mine) :]:
            ax.set_axis_off()
        for ax, case in zip(column, mine, strict=False):
            panel(ax, case, [n for n in names if n in case.rows])
    figure.suptitle("Training speed relative to eqx-rnn (longer is faster)", fontweight="bold")
    figure.supxlabel(note, fontsize=8, color="#666666")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def panel(ax, case: Case, names: list[str]) -> None:
    for y, name in enumerate(names):
        low, middle, high = 1 / case.ratios(name, "train")[::-1]
        alpha = 0.55 if name in (LENGTHS, CHECKPOINT) else 1
        colour = COLOURS[PEERS[name].package]
        ax.barh(y, min(middle, FURTHEST), color=colour, alpha=alpha, height=0.72)
        if high < FURTHEST and name != OURS:
            ax.plot([low, high], [y, y], color="#222222", linewidth=1)
        label = f"{middle:.2f}" + (" ▸" if middle > FURTHEST else "")
        ax.text(FURTHEST + 0.06, y, label, va="center", fontsize=7.5)
    ax.axvline(1, color=COLOURS["eqx_rnn"], linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    ax.set(xlim=(0, FURTHEST), xticks=[0, 0.5, 1, 1.5], ylim=(len(names) - 0.4, -0.6))
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.tick_params(length=0, labelsize=8)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_title(f"{case.cell}  {case.shape}", fontsize=9, fontweight="bold", loc="left")


def report(path: Path) -> None:
    """Prints the summary of a JSON file and draws the picture beside it."""
    results = json.loads(path.read_text())
    cases = [Case.read(case) for case in results["cases"]]
    print(summary(cases))
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    note = f"{results['device']}, {results['cores']} cores, {results['date'][:10]}\n{versions}"
    picture(cases, path.with_suffix(".png"), note)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    for case in json.loads(file.read_text())["cases"]:
        print(table(Case.read(case)))
    report(file)
