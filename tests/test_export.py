"""Functions that `jax.export` serializes, run here and in a process without eqx_rnn."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, INNER
from helpers import EXACT, assert_close
from jax import export

import eqx_rnn

KEY = jax.random.key(0)
LSTM = next(case for case in INNER if case.name == "lstm")
BY_NAME = {case.name: case for case in CASES}


def named_tuples(tree):
    """The types of all `NamedTuple`s in a PyTree."""
    if not isinstance(tree, tuple):
        return set()
    own = {type(tree)} if hasattr(tree, "_fields") else set()
    return own.union(*map(named_tuples, tree))


def carries():
    """One carry of each cell in the table of cases, and one with the masks of dropout."""
    yield from (case.carry(case.cell(), 2) for case in CASES)
    dropout = eqx_rnn.RecurrentDropout(LSTM.cell(), 0.2, 0.3)
    yield dropout.initialize_carry(KEY, LSTM.inputs(2))


# For each type of carry in the package, one carry that holds it.
CARRIES = {kind: carry for carry in carries() for kind in named_tuples(carry)}


def test_every_carry_is_tested():
    public = {getattr(eqx_rnn, name) for name in dir(eqx_rnn) if name.endswith(("Carry", "Masks"))}
    public = {kind for kind in public if issubclass(kind, tuple)}
    assert public <= set(CARRIES) <= {getattr(eqx_rnn, name) for name in dir(eqx_rnn)}


@pytest.mark.parametrize("kind", sorted(CARRIES, key=str), ids=lambda kind: kind.__name__)
def test_carries_go_in_and_out(kind):
    carry = CARRIES[kind]
    double = lambda carry: jax.tree.map(lambda leaf: leaf + leaf, carry)
    exported = export.export(jax.jit(double))(carry)
    data = exported.serialize()
    assert f"eqx_rnn.{kind.__name__}".encode() in data
    assert_close(export.deserialize(data).call(carry), double(carry))


# A process without eqx_rnn runs three functions, the last one with a carry type of its own.
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
    """It runs an RNN and a step as functions of arrays, and a step with a carry it registers."""
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


LENGTHS = np.array([3, 1])
MASK = np.array([[1, 1, 0, 1], [0, 1, 1, 0]], bool)
RESETS = np.array([[1, 0, 0, 1], [0, 0, 1, 0]], bool)


def layers():
    """One layer of each kind and with each option, all with `check_lengths=False`."""
    make = lambda case, **options: eqx_rnn.RNN(case.cell(), check_lengths=False, **options)
    gru, slstm, conv = (BY_NAME[name] for name in ("gru", "slstm", "conv-lstm-1d"))
    yield "lstm", make(BY_NAME["lstm"]), BY_NAME["lstm"]
    yield "checkpoint", make(gru, checkpoint=True, reverse=True), gru
    yield "chunks", make(gru, checkpoint=3, unroll=2), gru
    yield "truncate", make(gru, truncate=3), gru
    yield "slstm", make(slstm, keep_order=True, reverse=True), slstm
    yield "conv", make(conv), conv
    plain = INNER[-1]
    yield "plain", make(plain, checkpoint=2), plain
    wide = eqx_rnn.RNN(eqx_rnn.LSTMCell(4, 4, key=KEY), check_lengths=False)
    stacked = eqx_rnn.Stacked([make(gru), wide], norms=[eqx.nn.LayerNorm(4)])
    yield "stacked", stacked, gru
    backward = eqx_rnn.RNN(gru.cell(seed=1), check_lengths=False)
    yield "bidirectional", eqx_rnn.Bidirectional(make(gru), backward), gru


LAYERS = {name: pair for name, *pair in layers()}


@pytest.mark.parametrize(
    ("name", "dims"),
    [(name, "b, t") for name in LAYERS]
    + [("lstm", "b, 4"), ("lstm", "2, t"), ("checkpoint", "2, 4")],
)
def test_symbolic_sizes(name, dims):
    """Outputs and gradients with lengths, masks and resets, after a round trip."""
    layer, case = LAYERS[name]
    arrays, static = eqx.partition(layer, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten(arrays)

    def run(leaves, xs, lengths, mask, resets):
        def loss(leaves):
            layer = eqx.combine(tree.unflatten(leaves), static)
            ys = layer(xs, seq_lengths=lengths, resets=resets)
            _, masked = layer(xs, mask=mask, return_carry=True)
            return jnp.sum(jnp.sin(ys)) + jnp.sum(masked**2), (ys, masked)

        return jax.value_and_grad(loss, has_aux=True)(leaves)

    xs = case.inputs(2, 4)
    args = leaves, xs, LENGTHS, MASK, RESETS
    batch, time = export.symbolic_shape(dims)
    like = lambda a, *shape: jax.ShapeDtypeStruct(shape, a.dtype)
    structs = (
        jax.tree.map(lambda a: like(a, *a.shape), leaves),
        like(xs, batch, time, *case.features),
        like(LENGTHS, batch),
        like(MASK, batch, time),
        like(RESETS, batch, time),
    )
    exported = export.export(jax.jit(run))(*structs)
    assert_close(export.deserialize(exported.serialize()).call(*args), jax.jit(run)(*args))


def test_lengths_that_are_checked_cannot_be_exported():
    """The error names the option. Without the check, the layer clips lengths to the time axis."""
    case = BY_NAME["gru"]
    xs = case.inputs(2, 4)
    checked = jax.jit(lambda xs, lengths: eqx_rnn.RNN(case.cell())(xs, seq_lengths=lengths))
    with pytest.raises(ValueError, match=r"RNN: `seq_lengths` cannot be .*`check_lengths=False`"):
        export.export(checked)(xs, LENGTHS)
    rnn = eqx_rnn.RNN(case.cell(), check_lengths=False)
    outside, inside = np.array([9, -2], np.int8), np.array([4, 0])
    assert_close(rnn(xs, seq_lengths=outside), rnn(xs, seq_lengths=inside))
    make = eqx_rnn.Stacked.create
    sizes = dict(num_layers=2, bidirectional=True, check_lengths=False)
    stacked = make(eqx_rnn.GRUCell, 3, 4, **sizes, key=KEY)
    assert not stacked.check_lengths
    assert_close(stacked(xs, seq_lengths=outside), stacked(xs, seq_lengths=inside))
    flip = lambda lengths: eqx_rnn.flip_sequences(xs, lengths, check_lengths=False)
    assert_close(flip(outside), flip(inside))
    with pytest.raises(eqx.EquinoxRuntimeError, match="must be between 0 and 4"):
        eqx_rnn.RNN(case.cell())(xs, seq_lengths=outside)


def test_symbolic_space():
    """The size of images may be symbolic for a convolution that keeps it."""
    case = BY_NAME["conv-lstm-1d"]
    rnn, xs = eqx_rnn.RNN(case.cell()), case.inputs(2, 4)
    run = lambda xs: jax.grad(lambda xs: jnp.sum(jnp.sin(rnn(xs))))(xs)
    struct = jax.ShapeDtypeStruct((*export.symbolic_shape("b, t, w"), xs.shape[-1]), xs.dtype)
    assert_close(export.export(jax.jit(run))(struct).call(xs), run(xs))


def test_the_derivative_of_an_exported_function():
    case = BY_NAME["gru"]
    rnn, xs = eqx_rnn.RNN(case.cell()), case.inputs(2, 5)
    batch, time = export.symbolic_shape("b, t")
    struct = jax.ShapeDtypeStruct((batch, time, 3), xs.dtype)
    data = export.export(jax.jit(lambda xs: rnn(xs)))(struct).serialize(vjp_order=1)
    loss = lambda run: lambda xs: jnp.sum(jnp.sin(run(xs)))
    assert_close(jax.grad(loss(export.deserialize(data).call))(xs), jax.grad(loss(rnn))(xs))
