"""Functions that `jax.export` serializes, run here and in a process without eqx_rnn."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS, INNER
from helpers import EXACT, assert_close
from jax import export

import eqx_rnn
import eqx_rnn._export

KEY = jax.random.key(0)
LSTM = next(case for case in INNER if case.name == "lstm")


def named_tuples(tree):
    """The types of all `NamedTuple`s in a PyTree."""
    if not isinstance(tree, tuple):
        return set()
    own = {type(tree)} if hasattr(tree, "_fields") else set()
    return own.union(*map(named_tuples, tree))


def carries():
    """One of every structure in the table of cases, and the masks of dropout."""
    yield from (case.carry(case.cell(), 2) for case in CELLS)
    dropout = eqx_rnn.RecurrentDropout(LSTM.cell(), 0.2, 0.3)
    yield dropout.initialize_carry(KEY, LSTM.inputs(2))


# Of each type in the package: one carry that holds it.
CARRIES = {kind: carry for carry in carries() for kind in named_tuples(carry)}


def test_every_carry_is_registered():
    assert set(CARRIES) == set(eqx_rnn._export.CARRIES)


@pytest.mark.parametrize("kind", CARRIES, ids=lambda kind: kind.__name__)
def test_carries_go_in_and_out(kind):
    carry = CARRIES[kind]
    double = lambda carry: jax.tree.map(lambda leaf: leaf + leaf, carry)
    exported = export.export(jax.jit(double))(carry)
    data = exported.serialize()
    assert f"eqx_rnn.{kind.__name__}".encode() in data
    assert_close(export.deserialize(data).call(carry), double(carry))


# A process that finds no eqx_rnn runs three functions, the last one with a carry of its own.
ELSEWHERE = """
import sys
from typing import Any, NamedTuple

sys.modules["eqx_rnn"] = None

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
folder = sys.argv[1]
xs, hidden, cell = (np.load(f"{folder}/{name}.npy") for name in ("xs", "hidden", "cell"))


def load(name):
    with open(f"{folder}/{name}.bin", "rb") as file:
        return jax.export.deserialize(bytearray(file.read()))


np.save(f"{folder}/outputs.npy", load("rnn").call(xs))
np.save(f"{folder}/leaves.npy", np.stack(load("flat").call([hidden, cell], xs[:, 0])))

try:
    load("step")
except Exception as error:
    assert "eqx_rnn.LSTMCarry" in str(error), error
else:
    raise RuntimeError("it runs without the registration")


class Carry(NamedTuple):
    hidden: Any
    cell: Any


jax.export.register_namedtuple_serialization(Carry, serialized_name="eqx_rnn.LSTMCarry")
carry, output = load("step").call(Carry(hidden, cell), xs[:, 0])
if type(carry) is not Carry:
    raise TypeError(carry)
np.save(f"{folder}/step.npy", np.stack([*carry, output]))
"""


def test_a_process_without_eqx_rnn(tmp_path):
    """An RNN and a step as functions of arrays, and a step with a carry that it registers."""
    cell, xs = LSTM.cell(), LSTM.inputs(2, 5)
    rnn, carry = eqx_rnn.RNN(cell), LSTM.carry(cell, 2)
    leaves, tree = jax.tree.flatten(carry)
    step = jax.jit(lambda carry, x: cell(carry, x))
    flat = jax.jit(lambda leaves, x: jax.tree.leaves(cell(tree.unflatten(leaves), x)))
    functions = {
        "rnn": export.export(jax.jit(lambda xs: rnn(xs)))(xs),
        "flat": export.export(flat)(leaves, xs[:, 0]),
        "step": export.export(step)(carry, xs[:, 0]),
    }
    for name, exported in functions.items():
        (tmp_path / f"{name}.bin").write_bytes(exported.serialize())
    for name, array in {"xs": xs, **carry._asdict()}.items():
        np.save(tmp_path / f"{name}.npy", array)
    command = [sys.executable, "-I", "-c", ELSEWHERE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), rnn(xs), **EXACT)
    expected = jnp.stack(jax.tree.leaves(cell(carry, xs[:, 0])))
    np.testing.assert_allclose(np.load(tmp_path / "leaves.npy"), expected, **EXACT)
    np.testing.assert_allclose(np.load(tmp_path / "step.npy"), expected, **EXACT)


def test_a_name_that_is_taken_does_not_stop_the_import():
    """A process may register a carry of its own, and import eqx_rnn later."""
    script = """
import typing, jax
class Carry(typing.NamedTuple):
    hidden: typing.Any
    cell: typing.Any
jax.export.register_namedtuple_serialization(Carry, serialized_name="eqx_rnn.LSTMCarry")
import eqx_rnn
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
