"""Writes the pages of the gallery from the docstrings of the cells: `python docs/hooks/gallery.py`.

The docstrings are the source of the equations, shapes and papers. `families.py` holds the order of
the cells and when to use each of them. The pages are committed; a test compares them with this.
"""

import inspect
import os
import re
from pathlib import Path

from families import FAMILIES, PAPERS
from latex import to_latex

FOLDER = Path(__file__).parent.parent / "gallery"
API = {
    **{name: "gated_cells" for name in ("simple", "gated", "dynamics", "convolutional")},
    **{name: "linear_recurrences" for name in ("real_states", "state_spaces")},
    "matrix": "matrix_memories",
}
PAGE_OF = {cell: page for page, (_, _, cells) in FAMILIES.items() for cell in cells}
START = """# Cell gallery

A card per cell: its equations, shapes, order of gates and source. [Cells](../cells.md) has the \
options that all cells share, and [Which cell do I need?](../cells.md#which-cell-do-i-need) helps \
to choose.

In all equations, `x` is the input of a step, letters without a prime are the state before the \
step, and letters with a prime are the state after it. Products of vectors are elementwise."""


def pages() -> dict[Path, str]:
    """The text of every page of the gallery."""
    import eqx_rnn

    docs = {cell: inspect.cleandoc(getattr(eqx_rnn, cell).__doc__) for cell in PAGE_OF}
    start, result = [START], {}
    for page, (title, introduction, cells) in FAMILIES.items():
        start += [f"## {title}", introduction]
        start.append('<div class="grid cards" markdown>')
        start.append("\n\n".join(_card(page, cell, docs[cell]) for cell in cells))
        start.append("</div>")
        texts = [f"# {title}", introduction]
        for cell, when in cells.items():
            texts += _section(page, cell, docs[cell], when)
        result[FOLDER / f"{page}.md"] = "\n\n".join(texts) + "\n"
    return {FOLDER / "index.md": "\n\n".join(start) + "\n"} | result


def _card(page: str, cell: str, doc: str) -> str:
    summary = doc.partition("\n\n")[0].replace("\n", " ")
    return f"- **[{cell}]({page}.md#{cell.lower()})**\n\n    {summary}"


def _section(page: str, cell: str, doc: str, when: str) -> list[str]:
    blocks = re.split(r"\n{2,}", doc)
    texts = [f"## {cell}", _prose(blocks[0])]
    diagram = FOLDER / f"{cell}.svg"
    if diagram.exists():
        texts.append(f"![A step of {cell} with its default options, as a diagram.]({cell}.svg)")
    told = False
    for block in blocks[1:]:
        if block.startswith("**") and not told:
            told = True
            texts.append(f"**When to use it:** {when}.")
        if block.startswith("    "):
            is_code = "RNN(" in block
            text = inspect.cleandoc(block) if is_code else to_latex(block)
            texts.append(f"```{'text' if is_code else 'math'}\n{text}\n```")
        else:
            texts.append(_prose(block))
    link = f"../api/{API[page]}.md#eqx_rnn.{cell}"
    return [*texts, f"[Signature and options of `{cell}`]({link})"]


def _prose(text: str) -> str:
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"arXiv:(\d{4}\.\d{4,5})(v\d)?", _arxiv, text)
    for title, address in PAPERS.items():
        text = text.replace(f'"{title}"', f'["{title}"]({address})')
    return re.sub(r"\[`(\w+)`\]\[eqx_rnn\.\w+\]", _reference, text)


def _arxiv(match: re.Match) -> str:
    number = match[1] + (match[2] or "")
    return f"[arXiv:{number}](https://arxiv.org/abs/{number})"


def _reference(match: re.Match) -> str:
    cell = match[1]
    if cell in PAGE_OF:
        return f"[`{cell}`]({PAGE_OF[cell]}.md#{cell.lower()})"
    return f"[`{cell}`](../api/wrappers.md#eqx_rnn.{cell})"


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    for path, text in pages().items():
        path.write_text(text)
