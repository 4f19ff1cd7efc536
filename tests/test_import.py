"""`import eqx_rnn` prepares no checks, loads no converters, and shows public names only."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

import eqx_rnn

# Counts the functions for which a run-time check is built, and the modules that are compiled.
CODE = """
import sys
import beartype, jaxtyping

counts = dict.fromkeys(("beartype", "jaxtyped"), 0)


def count(name, decorate):
    def decorator(*args, **kwargs):
        if args and callable(args[0]) and kwargs.get("typechecker", decorate) is not None:
            counts[name] += 1
        made = decorate(*args, **kwargs)
        is_decorator = name == "beartype" and not (args and callable(args[0]))
        return count(name, made) if is_decorator else made

    return decorator


beartype.beartype = count("beartype", beartype.beartype)
jaxtyping.jaxtyped = count("jaxtyped", jaxtyping.jaxtyped)


def is_none(when):
    if any(counts.values()):
        raise SystemExit(f"{counts} checks after {when}")


import eqx_rnn

is_none("import")
dir(eqx_rnn)
if [name for name in sys.modules if name.startswith("eqx_rnn.interop")]:
    raise SystemExit("interop is loaded")
if any(name.startswith("_") for name in dir(eqx_rnn)):
    raise SystemExit(str(dir(eqx_rnn)))

import jax, jax.numpy as jnp

cell = eqx_rnn.LSTMCell(2, 3, key=jax.random.key(0))
is_none("construction")
cell.project_input(jnp.ones(2))
if counts["jaxtyped"] != (not jaxtyping.config.jaxtyping_disable):
    raise SystemExit(f"{counts} checks after the first call")
cell.project_input(jnp.ones((5, 2)))
if counts["jaxtyped"] > 1:
    raise SystemExit("a check is built twice")
if not callable(eqx_rnn.interop.from_torch) or "eqx_rnn.interop" not in sys.modules:
    raise SystemExit("interop is not found")
"""


@pytest.mark.parametrize("disabled", ["0", "1"])
def test_nothing_is_built_before_it_is_used(disabled):
    environment = {**os.environ, "JAXTYPING_DISABLE": disabled, "PYTHONPATH": ":".join(sys.path)}
    run = [sys.executable, "-c", CODE]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names():
    names = dir(eqx_rnn)
    assert names == sorted(set(names))
    assert {"RNN", "LSTMCell", "LSTMCarry", "flip_sequences", "initializers", "interop"} <= {*names}
    modules = {"initializers", "interop"}
    assert {getattr(eqx_rnn, name).__module__ for name in {*names} - modules} == {"eqx_rnn"}


def test_public_names_of_interop():
    names = dir(eqx_rnn.interop)
    assert {"from_torch", "to_onnx", "torch_state", "keras2_hard_sigmoid"} <= {*names}
    values = [getattr(eqx_rnn.interop, name) for name in names]
    assert all(callable(value) and value.__module__ == "eqx_rnn.interop" for value in values)


def test_star():
    namespace = {}
    exec("from eqx_rnn import *", namespace)
    assert {*namespace} - {"__builtins__", "interop"} == {*dir(eqx_rnn)} - {"interop"}


def test_version_and_unknown_names():
    assert eqx_rnn.__version__ == version("eqx-rnn")
    with pytest.raises(AttributeError, match="'eqx_rnn' has no attribute 'LTSMCell'"):
        eqx_rnn.LTSMCell  # noqa: B018
