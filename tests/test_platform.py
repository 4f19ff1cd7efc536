"""The choices for accelerators, made on a CPU: they change no number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES

from eqx_rnn import RNN
from eqx_rnn._scan import run
from eqx_rnn._scan.platform import ACCELERATOR, CPU

BY_NAME = {case.name: case for case in CASES}


def unrolls(function, *arguments):
    """The steps per iteration of each loop of a program."""
    found = []

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "scan":
                found.append(equation.params["unroll"])
            for inner in jax.tree.leaves(
                equation.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")
            ):
                if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                    visit(getattr(inner, "jaxpr", inner))

    visit(jax.make_jaxpr(function)(*arguments).jaxpr)
    return set(found)


@pytest.mark.parametrize("name", ["lstm", "conv-lstm-1d", "lru", "zoneout-plain"])
def test_choices_for_accelerators(name, monkeypatch):
    case = BY_NAME[name]
    cell, xs = case.cell(), case.inputs(3, 11)
    lengths = jnp.array([11, 4, 0])

    def loss(xs, cell, **options):
        rnn = RNN(cell, check_lengths=False, **options)
        return jnp.sum(jnp.sin(rnn(xs, seq_lengths=lengths, key=jax.random.key(0))))

    of = lambda **options: lambda xs: loss(xs, cell, **options)
    expected, on_cpu = jax.value_and_grad(of())(xs), unrolls(of(), xs)
    monkeypatch.setattr(run, "current_platform", lambda: ACCELERATOR)
    for value, wanted in zip(jax.value_and_grad(of())(xs), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-10, atol=1e-12)
    if name != "lru":  # which has no loop of its own here
        assert CPU.unroll in on_cpu
        assert ACCELERATOR.unroll not in on_cpu
        assert ACCELERATOR.unroll in unrolls(of(), xs)
        assert 2 in unrolls(of(unroll=2), xs)
