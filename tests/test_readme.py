"""The README's code runs, in its order."""

import pathlib
import re

import jax
import numpy as np

README = pathlib.Path(__file__).parent.parent / "README.md"


def blocks():
    return re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def test_code_runs_and_trains():
    namespace = {}
    with jax.enable_x64(False):
        for block in blocks():
            exec(compile(block, str(README), "exec"), namespace)
    assert float(namespace["loss"]) < 0.5 * float(np.var(namespace["y"]))
