"""pyright reports no errors in right user code, and each mistake in wrong user code."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parent / "typing"
PYRIGHT = shutil.which("pyright", path=pathlib.Path(sys.executable).parent) or shutil.which(
    "pyright"
)


@pytest.fixture(scope="module")
def errors():
    """The lines with errors, by the name of the file."""
    if PYRIGHT is None:
        pytest.skip("pyright is not installed")
    files = sorted(map(str, FOLDER.glob("*.py")))
    command = [PYRIGHT, "--outputjson", "--pythonpath", sys.executable, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=FOLDER)
    found = {pathlib.Path(file).name: {} for file in files}
    for diagnostic in json.loads(done.stdout)["generalDiagnostics"]:
        if diagnostic["severity"] == "error":
            line = diagnostic["range"]["start"]["line"] + 1
            found[pathlib.Path(diagnostic["file"]).name][line] = diagnostic["message"]
    return found


def test_right_code_has_no_errors(errors):
    assert errors["right.py"] == {}


def test_each_mistake_is_an_error(errors):
    lines = (FOLDER / "wrong.py").read_text().splitlines()
    marked = {k for k, line in enumerate(lines, start=1) if line.endswith("# error")}
    assert len(marked) > 20
    unmarked = {line: text for line, text in errors["wrong.py"].items() if line not in marked}
    assert unmarked == {}
    missed = {line: lines[line - 1] for line in marked - errors["wrong.py"].keys()}
    assert missed == {}
