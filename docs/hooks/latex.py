# ruff: noqa: RUF001 - a sign for transposition
"""Equations of docstrings as LaTeX.

A docstring writes equations as plain text, such as `h' = (1 - z) n + z h    comment`. Two or more
spaces separate a comment. `to_latex` turns such a block into one `aligned` environment.
"""

import re

GREEK = ["alpha", "beta", "gamma", "lambda", "theta", "nu", "epsilon", "phi", "Lambda"]
PROSE = ["and", "by", "or", "the", "angles", "rotated"]  # words of a sentence inside an equation
FUNCTIONS = ["exp", "log", "max", "tanh"]  # those that LaTeX knows
SYMBOLS = {"⊤": r"{\top}", "*": r"\ast ", ".": r"\cdot ", "...": r"\ldots ", "~": r"\sim "}
# A name may have subscripts, as `W_ih` and `W_w_low`, or is one word, as `key_size`.
SUBSCRIPTED = re.compile(r"([A-Za-z]|mix|sum|norm)((?:_[A-Za-z]+)+)")
TOKEN = re.compile(
    r"(?P<text>\"[^\"]*\")|(?P<name>[A-Za-z][A-Za-z_0-9]*)(?P<tilde>~?)(?P<prime>'?)"
    r"(?P<power>\^\w)?|(?P<number>\d+)|(?P<dots>\.\.\.)|(?P<space> +)|(?P<other>.)"
)


def to_latex(block: str) -> str:
    """The LaTeX of a block of equations, one per line."""
    rows = []
    for line in block.splitlines():
        if line.strip():
            equation, *comments = re.split(r"(?<!,) {2,}", line.strip())
            left, _, right = equation.partition(" = ")
            row = f"{_math(left)} &= {_math(right)}"
            note = " ".join(comments).replace("`", "").replace("_", r"\_")
            rows.append(row + (f" && \\text{{{note}}}" if note else ""))
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _math(text: str) -> str:
    text = re.sub(r"the step of an? (\w+) with (.*)", r'"step of \1"(\2)', text)
    text = re.sub(r"the RG-LRU's step with the input (\w)", r'"step of RGLRUCell"(\1)', text)
    text = re.sub(r",  +", ', " " ', text.replace("sum of ", "sum "))
    text = re.sub(r"\)\^T", ")^⊤", text)
    text, roots = _roots(text)
    tokens = list(TOKEN.finditer(text))
    pieces = [_piece(match, tokens, k) for k, match in enumerate(tokens)]
    result = re.sub(r" {2,}", " ", "".join(pieces)).strip()
    for mark, inner in roots.items():
        result = result.replace(rf"\mathrm{{{mark}}}", rf"\sqrt{{{_math(inner)}}}")
    result = re.sub(r"\s*\}\s*\\text\{\s*", " ", result)
    result = re.sub(r"(\w) / \((\w \+ \w)\)", r"\\frac{\1}{\2}", result)
    return re.sub(r"([A-Za-z]'?)\[([^][]*)\]", r"\1_{\2}", result)


def _roots(text: str) -> tuple[str, dict[str, str]]:
    """Replaces the square roots by names."""
    roots = {}
    while (start := text.find("sqrt(")) >= 0:
        depth, end = 1, start + 5
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        mark = f"ROOT{chr(65 + len(roots))}"
        roots[mark] = text[start + 5 : end - 1]
        text = text[:start] + mark + text[end:]
    return text, roots


def _piece(match: re.Match, tokens: list[re.Match], k: int) -> str:
    if match["text"]:
        return rf"\text{{{match['text'][1:-1]}}}"
    if match["name"]:
        symbol = _name(match["name"])
        symbol = rf"\tilde{{{symbol}}}" if match["tilde"] else symbol
        if match["power"]:
            power = r"\top" if match["power"] == "^T" else match["power"][1:]
            return f"{{{symbol}'}}^{{{power}}}" if match["prime"] else f"{symbol}^{{{power}}}"
        return symbol + match["prime"]
    if match["space"]:
        return r" \, " if _is_product(tokens[k - 1], tokens[k + 1]) else " "
    return SYMBOLS.get(match[0], match[0])


def _is_product(before: re.Match, after: re.Match) -> bool:
    """Whether a space between two tokens stands for a product."""
    if before["name"] in ("sum", *FUNCTIONS) or (before["name"] or "").startswith("sum_"):
        return False
    if after["name"] in PROSE:
        return False
    ends = (
        (before["name"] and before["name"] not in PROSE) or before["number"] or before[0] in ")]|⊤"
    )
    starts = after["name"] or after["number"] or after[0] in "([|"
    return bool(ends and starts)


def _name(name: str) -> str:
    if name in GREEK or name in FUNCTIONS:
        return f"\\{name}"
    if name in PROSE:
        return rf"\text{{ {name} }}"
    if name == "sum":
        return r"\sum"
    if len(name) == 1:
        return name
    if found := SUBSCRIPTED.fullmatch(name):
        base = _name(found[1])
        parts = [part for part in found[2].split("_") if part]
        if len(found[1]) > 1 or len(parts) > 1 or len(parts[0]) < 3 or parts[0] in ("low", "mix"):
            return f"{base}_{{{','.join(map(_index, parts))}}}"
        return f"{base}_{{{_index(parts[0])}}}"
    return rf"\mathrm{{{name}}}".replace("_", r"\_")


def _index(part: str) -> str:
    return part if len(part) < 3 else rf"\mathrm{{{part}}}"
