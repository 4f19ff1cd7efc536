"""The pages of the site: the reference, the gallery, the navigation and the links.

These checks read files only. `mkdocs build --strict` checks the built site.
"""

import importlib
import pathlib
import re
import sys

import pytest

import eqx_rnn

DOCS = pathlib.Path(__file__).parent.parent / "docs"
HOOKS = DOCS / "hooks"
PAGES = sorted(DOCS.rglob("*.md"))
# Pages that `docs/hooks/site_pages.py` makes from files outside `docs`.
MADE = [
    "start.md",
    "contributing.md",
    "changelog.md",
    "examples/quickstart.md",
    "examples/policy.md",
]
MADE += [f"examples/{path.stem}.md" for path in (DOCS.parent / "notebooks").glob("*.ipynb")]
MODULES = {"initializers", "interop"}


def load(name):
    """A module of `docs/hooks`."""
    sys.path.insert(0, str(HOOKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(HOOKS))


def slugs(text):
    """The anchors of the headings of a page."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    bare = [re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings]
    entries = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", heading) for heading in bare} | set(entries)


def test_every_public_name_has_one_entry():
    names = [f"eqx_rnn.{name}" for name in dir(eqx_rnn) if name[0] != "_" and name not in MODULES]
    names += [f"eqx_rnn.interop.{name}" for name in dir(eqx_rnn.interop)]
    names += ["eqx_rnn.initializers.draw_carry"]
    text = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    assert sorted(re.findall(r"^::: (\S+)$", text, re.MULTILINE)) == sorted(names)


def test_every_entry_has_an_example():
    """Entries in a row share the examples that follow them."""
    for page in (DOCS / "api").glob("*.md"):
        groups = re.split(r"((?:^::: \S+\n+)+)", page.read_text(), flags=re.MULTILINE)
        for entries, text in zip(groups[1::2], groups[2::2], strict=True):
            assert text.startswith("**Example:** "), entries
            code = "".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
            for name in re.findall(r"(\w+)$", entries, re.MULTILINE):
                assert re.search(rf"\b{name}\b", code), name


def test_overview_of_the_reference_names_every_entry():
    for page in (DOCS / "api").glob("*.md"):
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE):
            link = f"[`{name.rpartition('.')[2]}`]({page.name}#{name})"
            assert link in (DOCS / "api" / "index.md").read_text()


def test_gallery_is_that_of_the_docstrings():
    """If this fails, run `python docs/hooks/gallery.py`."""
    gallery = load("gallery")
    for path, text in gallery.pages().items():
        assert path.read_text() == text, path


def test_gallery_has_every_cell():
    contracts = {"ChunkCell", "FactoredCell", "LinearCell", "SequentialCell", "StackedCell"}
    cells = {name for name in dir(eqx_rnn) if name.endswith("Cell")} - contracts
    assert set(load("gallery").PAGE_OF) == cells


def test_diagrams_are_those_of_the_script():
    """If this fails, run `python docs/hooks/diagrams.py` and `python docs/hooks/gallery.py`."""
    diagrams = load("diagrams")
    for cell, diagram in diagrams.DIAGRAMS.items():
        assert (DOCS / "gallery" / f"{cell}.svg").read_text() == diagrams.draw(*diagram)


def test_navigation_lists_every_page():
    navigation = (DOCS.parent / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    listed = re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == sorted([*MADE, *(str(page.relative_to(DOCS)) for page in PAGES)])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page):
    code = r"^```.*?^```|`[^`\n]*`"
    text = re.sub(code, "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for address in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = address.partition("#")
        if file.startswith("https://"):
            continue
        target = (page.parent / file).resolve() if file else page
        if target.is_relative_to(DOCS) and str(target.relative_to(DOCS)) in MADE:
            continue
        assert target.is_file(), address
        assert not anchor or anchor in slugs(target.read_text()), address


@pytest.mark.parametrize(
    ("equation", "latex"),
    [
        ("h' = (1 - z) n + z h", r"h' &= (1 - z) \, n + z \, h"),
        ("y = S'^T (scale q)", r"y &= {S'}^{\top} \, (\mathrm{scale} \, q)"),
        ("m' = max(log f + m, log i)", r"m' &= \max(\log f + m, \log i)"),
        ("k, v = sqrt(1 - a^2) W_ih x", r"k, v &= \sqrt{1 - a^{2}} \, W_{ih} \, x"),
        ("d = x[t - 1] - b_hn    a note", r"d &= x_{t - 1} - b_{hn} && \text{a note}"),
    ],
)
def test_equations_become_latex(equation, latex):
    assert load("latex").to_latex(equation).splitlines()[1] == latex
