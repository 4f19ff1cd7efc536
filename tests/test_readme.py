"""All code in README and docs runs, page by page and in order.

The blocks of a page share one namespace. A line `print(...)  # text` must print the text. The
comment `<!-- needs: package -->` in front of a block says that it runs only with that package. It
may name several packages.
"""

import functools
import importlib.util
import pathlib
import re
import warnings
from typing import NamedTuple

import jax
import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
OTHER_PAGES = sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(
    r"(?:^<!-- needs: ([\w ]+) -->\n)?^```python\n(.*?)^```", re.DOTALL | re.MULTILINE
)
PRINTED = re.compile(r"^print\(.*\)  # (.*)$", re.MULTILINE)


class Block(NamedTuple):
    line: int
    package: str  # or several, with spaces; empty if the block needs no further package
    code: str


@functools.cache
def blocks(page):
    text = page.read_text()
    return [
        Block(text.count("\n", 0, match.start(2)), match[1] or "", match[2])
        for match in BLOCK.finditer(text)
    ]


def run(page, package):
    """Runs the blocks that need no package or this package. Returns the namespace."""
    printed, namespace = [], {}
    namespace["print"] = lambda *values: printed.append(" ".join(map(str, values)))
    with warnings.catch_warnings(), jax.enable_x64(False):
        if package:
            warnings.simplefilter("ignore")  # those of other libraries
        for block in blocks(page):
            if block.package in ("", package):
                code = "\n" * block.line + block.code  # so that errors show the page's lines
                exec(compile(code, str(page), "exec"), namespace)
                assert printed == PRINTED.findall(block.code)
                printed.clear()
    return namespace


RUNS = [
    pytest.param(page, package, id=" ".join([str(page.relative_to(ROOT)), package]).strip())
    for page in OTHER_PAGES
    for package in sorted({block.package for block in blocks(page)})
]


@pytest.mark.pages
@pytest.mark.parametrize(("page", "package"), RUNS)
def test_code_runs(page, package):
    for name in package.split():
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"some code in {page.relative_to(ROOT)} needs {name}")
    run(page, package)


def test_readme_runs_and_trains():
    namespace = run(README, "")
    assert float(namespace["loss"]) < 0.5 * float(namespace["y"].var())


def test_every_block_is_found():
    """The test would miss a fence that is indented or has options."""
    for page in [README, *OTHER_PAGES]:
        fences = re.findall(r"^\s*```\s*py", page.read_text(), re.MULTILINE)
        assert len(fences) == len(blocks(page)), page


@pytest.mark.parametrize("page", [README, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """`mkdocs build --strict` checks the links of `docs`."""
    for file, anchor in re.findall(r"\]\(([^):#]+)(?:#([^)]*))?\)", page.read_text()):
        text = (ROOT / file).read_bytes()
        headings = re.findall(r"^#+ (.*)$", text.decode(), re.MULTILINE) if anchor else []
        assert anchor in ["", *(heading.lower().replace(" ", "-") for heading in headings)]
