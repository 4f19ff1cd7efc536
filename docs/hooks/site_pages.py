"""The hook of mkdocs: equations as MathML, and pages from files outside `docs`.

Nothing is loaded from a network: equations are converted when the site is built, and the browser
draws MathML by itself. The page of a notebook shows the outputs that are stored in it.
"""

import ast
import base64
import html
import json
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent.parent
START = "Train a network", "Carry the state yourself", "Which do I need?"  # sections of README
REPOSITORY_FILES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
EXAMPLES = {
    **{
        f"examples/{name}.md": f"notebooks/{name}.ipynb"
        for name in (
            "characters",
            "digits",
            "from_pytorch",
            "lengths",
            "long_memory",
            "memory_policy",
            "moving_digits",
            "own_cell",
            "pronounce",
            "sunspots",
        )
    },
    "examples/quickstart.md": "notebooks/quickstart.py",
    "examples/policy.md": "notebooks/policy.py",
}
SHIM = "https://unpkg.com/iframe-worker/shim"
MATH = re.compile(r'<(div|span) class="arithmatex">(?:\\\[|\\\()(.*?)(?:\\\]|\\\))</\1>', re.DOTALL)
LETTERS = re.compile(r'<mrow>((?:<mi mathvariant="normal">[^<]*</mi>)+)</mrow>')
NOTEBOOK_LINK = re.compile(r"\]\(\.\./((?:\.\./)*)notebooks/(\w+)\.(?:ipynb|py)\)")
TABLE_CELL = re.compile(r"<td>.*?</td>", re.DOTALL)
BREAKS = re.compile(r"(?<=\w\w)[(_](?=[\w\[])|\.(?=[a-z])")  # where code in a table may wrap


@event_priority(100)
def on_files(files, config):
    """Adds the pages that stand outside `docs`."""
    files.append(File.generated(config, "start.md", content=_start()))
    for page, source in REPOSITORY_FILES.items():
        text = _local_links((ROOT / source).read_text())
        files.append(File.generated(config, page, content=text))
    for page, source in EXAMPLES.items():
        path = ROOT / source
        pictures = {}
        text = _notebook(path, pictures) if path.suffix == ".ipynb" else _script(path)
        files.append(File.generated(config, page, content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"examples/{name}", content=content))
    return files


def on_page_markdown(text, page, config, files):
    """Links to a notebook lead to its page."""
    return NOTEBOOK_LINK.sub(r"](\1examples/\2.md)", text)


def on_page_content(text, page, config, files):
    """Replaces the equations of a page by MathML, and lets code in tables wrap."""
    text = TABLE_CELL.sub(lambda cell: re.sub(r"(?<=<code>)[^<]*", _wrapping, cell[0]), text)
    return MATH.sub(_mathml, text)


def on_post_page(output, page, config):
    """Replaces the one script that the theme would load from another server."""
    return output.replace(SHIM, "../" * page.url.count("/") + "javascripts/file_worker.js")


def on_post_template(output_content, template_name, config):
    """As `on_post_page`, for pages of the theme."""
    return output_content.replace(SHIM, "/javascripts/file_worker.js")


def _wrapping(code):
    return BREAKS.sub(r"\g<0><wbr>", code[0])


def _mathml(match):
    is_block = match[1] == "div"
    latex = html.unescape(match[2]).strip().replace("{aligned}", "{align*}")
    result = convert(latex, display="block" if is_block else "inline")
    # One identifier per word. Letter by letter, browsers would draw `tanh` like a product.
    result = LETTERS.sub(lambda run: f"<mi>{re.sub('<[^>]*>', '', run[1])}</mi>", result)
    result = result.replace("\\_", "_").replace("<mi>&#x02032;</mi>", "<mo>&#x02032;</mo>")
    return f'<div class="equation">{result}</div>' if is_block else result


def _start():
    """The first steps, which README has, too."""
    sections = re.split(r"^## ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    by_title = {text.partition("\n")[0]: f"## {text}" for text in sections}
    texts = [by_title[title] for title in START]
    rest = "\nNext: [Sequences](guide.md) explains batch axes, `jax.vmap`, lengths and masks.\n"
    return "# Getting started\n\n" + _local_links("".join(texts)) + rest


def _local_links(text):
    """Links of a file in the root of the repository, as links of a page of the site."""
    for page, source in (REPOSITORY_FILES | EXAMPLES).items():
        text = text.replace(f"]({source}", f"]({page}")
    text = text.replace("](docs/", "](")
    outside = r"\[([^]]*)\]\((?:README\.md|tests|benchmarks|eqx_rnn|notebooks|\.ci)[^)]*\)"
    return re.sub(outside, r"\1", text)


def _script(path):
    """A page with the docstring and the code of a program."""
    text = path.read_text()
    title = ast.get_docstring(ast.parse(text)).partition("\n")[0]
    name = path.relative_to(ROOT)
    return f"# {path.name}\n\n{title}\n\n```python title={str(name)!r}\n{text}```\n"


def _notebook(path, pictures):
    """A page with the cells of a notebook and their stored outputs."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source.replace("](../docs/", "](../"))
        else:
            parts.append(f"```python\n{source}\n```")
            parts += [_output(output, pictures, path.stem) for output in cell["outputs"]]
    return "\n\n".join(parts) + f"\n\nThe file is `{path.relative_to(ROOT)}`.\n"


def _output(output, pictures, stem):
    data = output.get("data", {})
    if "image/png" in data:
        name = f"{stem}_{len(pictures)}.png"
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return f"![The figure that this cell draws.]({name})"
    text = "".join(output.get("text", data.get("text/plain", [])))
    return f"```{{.text .output}}\n{text.rstrip()}\n```"
