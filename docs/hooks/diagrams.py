# ruff: noqa: RUF001 - the labels are letters of the papers
"""Draws the diagrams of the site as SVG files: `python docs/hooks/diagrams.py`.

A diagram is a dict of nodes and a list of wires. A node `(x, y, label)` is an input or an output
if its name starts with `<` or `>`, a circle if its label is one sign, and a box otherwise. A wire
is a text of names and points: `a b` is a straight line, `a - b` first goes sideways, and `a | b`
first goes up or down. A point such as `3,1.5` is a corner, and with a dot, `3,1.5.`, a branch;
with a `!`, an arrow ends there.
Colours follow the colour scheme of the reader.
"""

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "gallery"
UNIT = 66  # pixels per unit
STYLE = """
  svg { color: #24292f; --fill: #d5efec; }
  @media (prefers-color-scheme: dark) { svg { color: #e3e8ee; --fill: #1d4a46; } }
  text { fill: currentColor; font: 15px system-ui, sans-serif; text-anchor: middle; }
  .end { font: italic 17px Georgia, serif; }
  .wire { fill: none; stroke: currentColor; stroke-width: 1.5; }
  .box, .sign { fill: var(--fill); stroke: currentColor; stroke-width: 1.2; }
  .head, .dot { fill: currentColor; }
"""


def lstm(joined: str) -> tuple[dict, list[str]]:
    """The diagram of an LSTM, whose gates read `joined`."""
    nodes = {
        "<c": (0, 0, "c"), "<h": (0, 2.3, "h"), "<x": (0, 3.7, "x"), "join": (1.2, 3, joined),
        "f": (2.4, 2, "σ f"), "i": (3.4, 2, "σ i"), "g": (4.4, 2, "tanh g"), "o": (5.6, 2, "σ o"),
        "keep": (2.4, 0, "×"), "write": (4.4, 1, "×"), "add": (4.4, 0, "+"),
        "tanh": (6.6, 1, "tanh"), "read": (6.6, 2, "×"), ">c'": (8, 0, "c'"), ">h'": (8, 2, "h'"),
    }  # fmt: skip
    wires = [
        "<c keep", "keep add", "add >c'", "<h - join", "<x - join",
        "join 2.4,3. f", "2.4,3 3.4,3. i", "3.4,3 4.4,3. g", "4.4,3 - o", "f keep", "i | write",
        "g write", "write add", "6.6,0. tanh", "tanh read", "o read", "read >h'",
    ]  # fmt: skip
    return nodes, wires


MATRIX = {
    "<S": (0, 0, "S"), "<x": (0, 2, "x"), "add": (5, 0, "+"), "read": (6.6, 1, "S'ᵀ q"),
    "norm": (7.9, 1, "norm"), "out": (9, 1, "W out"), ">y": (10.1, 1, "y"), ">S'": (10.1, 0, "S'"),
}  # fmt: skip
READ = ["add >S'", "6.6,0. read", "read norm", "norm out", "out >y"]

STEPS = range(4)

DIAGRAMS = {
    "RNN": (
        {
            "<h": (0, 1, "h"), ">h'": (6.8, 1, "h'"),
            **{f"cell{t}": (1.3 + 1.4 * t, 1, "cell") for t in STEPS},
            **{f"<x{t}": (1.3 + 1.4 * t, 2, f"x[{t}]") for t in STEPS},
            **{f">y{t}": (1.3 + 1.4 * t, 0, f"y[{t}]") for t in STEPS},
        },
        [
            "<h cell0", "cell0 cell1", "cell1 cell2", "cell2 cell3", "cell3 >h'",
            *(f"<x{t} cell{t}" for t in STEPS), *(f"cell{t} >y{t}" for t in STEPS),
        ],
    ),
    "SimpleCell": (
        {
            "<x": (0, 0, "x"), "<h": (0, 1, "h"), "W": (1.3, 0, "W ih"), "U": (1.3, 1, "W hh"),
            "add": (2.6, 0.5, "+"), "tanh": (3.7, 0.5, "tanh"), ">h'": (5, 0.5, "h'"),
        },
        ["<x W", "<h U", "W - add", "U - add", "add tanh", "tanh >h'"],
    ),
    "LSTMCell": lstm("W x + U h + b"),
    "ConvLSTMCell": lstm("W∗x + U∗h + b"),
    "GRUCell": (
        {
            "<h": (0, 0, "h"), "<x": (0, 3, "x"), "r": (1.6, 1.6, "σ r"), "U": (2.9, 0.8, "W hn"),
            "reset": (2.9, 1.6, "×"), "n": (4.1, 1.6, "tanh n"), "z": (5.3, 2.3, "σ z"),
            "mix": (6.9, 1.6, "(1 − z) n + z h"), ">h'": (8.6, 1.6, "h'"),
        },
        [
            "<h 1.6,0. r", "1.6,0 2.9,0. U", "U reset", "r reset", "reset n", "n mix",
            "2.9,0 5.3,0. z", "5.3,0 - mix", "<x 1.6,3. r", "1.6,3 4.1,3. n", "4.1,3 - z",
            "z - mix", "mix >h'",
        ],
    ),
    "SLSTMCell": (
        {
            "<c": (0, 0, "c"), "<n": (0, 1, "n"), "<m": (0, 2.3, "m"), "<h": (0, 3.7, "h"),
            "<x": (0, 5.1, "x"), "join": (1.2, 4.4, "W x + U h + b"), "f": (2.4, 3.4, "σ f"),
            "i": (3.4, 3.4, "exp i"), "z": (4.6, 3.4, "tanh z"), "o": (7, 3.4, "σ o"),
            "scale": (2.9, 2.3, "stabilise by m'"), "keep": (2.4, 0, "×"), "keep n": (2.4, 1, "×"),
            "add": (4.6, 0, "+"), "add n": (3.4, 1, "+"), "write": (4.6, 1.6, "×"),
            "divide": (6, 1.6, "÷"), "read": (7, 1.6, "×"), ">c'": (8.3, 0, "c'"),
            ">n'": (8.3, 1, "n'"), ">m'": (8.3, 2.3, "m'"), ">h'": (8.3, 1.6, "h'"),
        },
        [
            "<c keep", "keep add", "add >c'", "<n 1.8,1 keep_n", "keep_n add_n", "add_n >n'",
            "2.4,2.1 keep_n", "keep_n keep", "3.4,2.1 add_n", "3.4,1.6. write", "z write",
            "write add", "6,0. divide", "5.3,1. | divide", "divide read", "o read", "read >h'",
            "<m scale", "scale >m'", "f 2.4,2.53!", "i 3.4,2.53!", "<h - join",
            "<x - join", "join 2.4,4.4. f", "2.4,4.4 3.4,4.4. i", "3.4,4.4 4.6,4.4. z",
            "4.6,4.4 - o",
        ],
    ),
    "LRUCell": (
        {
            "<h": (0, 0, "h"), "<x": (0, 1, "x"), "decay": (1.6, 0, "λ h"),
            "B": (1.6, 1, "exp(γ) B x"), "add": (3.2, 0, "+"), "C": (4.3, 1, "Re(C h')"),
            "sum": (5.7, 1, "+"), "D": (3.2, 1.8, "D x"), ">h'": (7, 0, "h'"), ">y": (7, 1, "y"),
        },
        [
            "<h decay", "decay add", "<x 0.5,1. B", "B - add", "add >h'", "4.3,0. C", "C sum",
            "sum >y", "0.5,1 | D", "D - sum",
        ],
    ),
    "MinGRUCell": (
        {
            "<h": (0, 0, "h"), "<x": (0, 1.5, "x"), "z": (1.8, 1, "σ z"), "n": (1.8, 2, "g n"),
            "mix": (3.9, 1, "h + z (n − h)"), ">h'": (5.7, 1, "h'"),
        },
        ["<x 0.8,1.5. | z", "0.8,1.5 | n", "<h - mix", "z mix", "n - mix", "mix >h'"],
    ),
    "MambaCell": (
        {
            "<x": (0, 1, "x"), "in": (1.1, 1, "W in"), "conv": (2.5, 0, "conv, SiLU"),
            "select": (4, 1, "time step, B, C"), "ssm": (5.8, 0, "selective SSM"),
            "<h": (4, -0.9, "h"), ">h'": (7.3, -0.9, "h'"), "gate": (4, 2, "SiLU z"),
            "mul": (7.3, 0, "×"), "out": (8.4, 0, "W out"), ">y": (9.6, 0, "y"),
        },
        [
            "<x in", "in | conv", "in | gate", "conv 4,0. select", "4,0 ssm", "select - ssm",
            "<h 5.5,-0.9 5.5,-0.23!", "6.1,-0.23 6.1,-0.9 >h'", "ssm mul", "gate - mul", "mul out",
            "out >y",
        ],
    ),
    "GLACell": (
        MATRIX
        | {
            "in": (1.2, 2, "W in"), "decay": (3.2, 0, "×"), "g": (3.2, 1, "exp g"),
            "kv": (5, 1, "k vᵀ"), "gate": (7.9, 2, "SiLU o"), "norm": (7.9, 1, "norm, ×"),
        },
        [
            *READ, "<S decay", "decay add", "g decay", "kv add", "<x in", "in 3.2,2. g",
            "3.2,2 5,2. kv", "5,2 6.6,2. read", "6.6,2 gate", "gate norm",
        ],
    ),
    "DeltaNetCell": (
        MATRIX
        | {
            "in": (1.2, 2, "W in, conv"), "old": (2.7, 1, "Sᵀ k"), "new": (3.8, 1, "v −"),
            "kv": (5, 1, "β k ( )ᵀ"),
        },
        [
            *READ, "<S 2.7,0. old", "2.7,0 add", "old new", "new kv", "kv add", "<x in",
            "in 2.7,2. old", "2.7,2 3.8,2. new", "3.8,2 5,2. kv", "5,2 - read",
        ],
    ),
}  # fmt: skip


def draw(nodes: dict, wires: list[str]) -> str:
    """The text of an SVG file."""
    lines, shapes = [], []
    for wire in wires:
        lines += _wire(wire, nodes)
    for name, (x, y, label) in nodes.items():
        shapes += _node(name, x * UNIT, y * UNIT, label)
    xs, ys = ([node[k] for node in nodes.values()] for k in (0, 1))
    left, top = (min(xs) - 0.4) * UNIT, (min(ys) - 0.5) * UNIT
    width, height = (max(xs) - min(xs) + 0.8) * UNIT, (max(ys) - min(ys) + 1) * UNIT
    box = f"{left:.0f} {top:.0f} {width:.0f} {height:.0f}"
    size = f'width="{width:.0f}" height="{height:.0f}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" {size}>'
    return "\n".join([start, f"<style>{STYLE}</style>", *lines, *shapes, "</svg>\n"])


def _half(name: str, nodes: dict) -> tuple[float, float]:
    """Half the width and height of a node."""
    label = nodes[name][2]
    if name[0] in "<>":
        return 14, 14
    return (13, 13) if len(label) == 1 else (max(22, 4.2 * len(label) + 8), 15)


def _direction(start: tuple, end: tuple) -> tuple[int, int]:
    return tuple((b > a) - (b < a) for a, b in zip(start, end, strict=True))


def _wire(text: str, nodes: dict) -> list[str]:
    points, end, turn, result = [], "", "", []
    for word in text.split():
        if word in "-|":
            turn = word
            continue
        end = word.replace("_", " ") if word.replace("_", " ") in nodes else ""
        x, y = nodes[end][:2] if end else map(float, word.rstrip(".!").split(","))
        if word.endswith(".") and not end:
            result.append(f'<circle class="dot" cx="{x * UNIT:.0f}" cy="{y * UNIT:.0f}" r="3.5"/>')
        if turn:
            points.append((x, points[-1][1]) if turn == "-" else (points[-1][0], y))
            turn = ""
        points.append((x, y))
    points = [(x * UNIT, y * UNIT) for x, y in points]
    if text[0] == "<":
        across, along = _direction(*points[:2])
        points[0] = points[0][0] + 13 * across, points[0][1] + 13 * along  # not through the letter
    across, along = _direction(*points[-2:])
    x1, y1 = points[-1]
    has_head = end or text.endswith("!")
    if has_head:
        half = _half(end, nodes) if end else (0, 0)
        x1, y1 = x1 - across * half[0], y1 - along * half[1]
        points[-1] = x1, y1
    path = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    if has_head:
        a, b = x1 - 8 * across, y1 - 8 * along
        corners = [(x1, y1), (a + 4 * along, b + 4 * across), (a - 4 * along, b - 4 * across)]
        head = " ".join(f"{x:.0f},{y:.0f}" for x, y in corners)
        result.append(f'<polygon class="head" points="{head}"/>')
    return [f'<polyline class="wire" points="{path}"/>', *result]


def _node(name: str, x: float, y: float, label: str) -> list[str]:
    half = _half(name, {name: (x, y, label)})
    label = escape(label.replace("'", "′"))
    text = f'<text x="{x:.0f}" y="{y + 5:.0f}">{label}</text>'
    if name[0] in "<>":
        return [text.replace("<text", '<text class="end"')]
    if half[0] == 13:
        return [f'<circle class="sign" cx="{x:.0f}" cy="{y:.0f}" r="13"/>', text]
    corner = f'x="{x - half[0]:.0f}" y="{y - half[1]:.0f}"'
    size = f'width="{2 * half[0]:.0f}" height="{2 * half[1]:.0f}"'
    return [f'<rect class="box" {corner} {size} rx="5"/>', text]


if __name__ == "__main__":
    for cell, (nodes, wires) in DIAGRAMS.items():
        (FOLDER / f"{cell}.svg").write_text(draw(nodes, wires))
