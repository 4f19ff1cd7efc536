"""Long runs in float32 are as close to float64 as a plain loop in float32."""

import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS, row, weights
from oracles_dynamics import antisymmetric_rnn

import eqx_rnn

STEPS = 2500
UNBOUNDED = "simple-residual-relu"  # its state overflows
VECTORS = [case for case in CELLS if len(case.features) == 1 and case.name != UNBOUNDED]
SLOW_STEPS = row("antisymmetric-rnn-default", antisymmetric_rnn, eqx_rnn.AntisymmetricRNNCell, 3, 4)


def in_dtype(fields, dtype):
    """Casts the arrays in the fields of a cell to a dtype. Python numbers do not change."""
    cast = lambda value: value.astype(dtype) if isinstance(value, np.ndarray) else value
    return types.SimpleNamespace(**{name: cast(value) for name, value in vars(fields).items()})


def plain_loop(case, cell, xs, dtype):
    """The paper's equations in NumPy, all in one dtype."""
    fields, xs = in_dtype(weights(cell), dtype), np.asarray(xs, dtype)
    sample = jax.ShapeDtypeStruct(case.features, jnp.float32)
    leaves = jax.tree.leaves(cell.initialize_carry(None, sample))
    carry, outputs = [np.asarray(leaf, dtype) for leaf in leaves], []
    for x in xs:
        carry, y = case.oracle(fields, carry, x)
        carry = [leaf.astype(dtype) for leaf in carry]
        outputs.append(y)
    return np.stack(outputs)


@pytest.mark.parametrize("case", [*VECTORS, SLOW_STEPS], ids=lambda case: case.name)
def test_as_near_as_a_plain_loop(case):
    """Compares quantiles of the errors. The maximum is random if a step amplifies differences."""
    cell = case.make(dtype=jnp.float32, key=jax.random.key(0))
    xs = case.inputs(STEPS, dtype=jnp.float32)
    exact = plain_loop(case, cell, xs, np.float64)
    ours = np.abs(eqx.filter_jit(eqx_rnn.RNN(cell))(xs) - exact)
    plain = np.abs(plain_loop(case, cell, xs, np.float32) - exact)
    for quantile in (0.5, 0.9, 0.99):
        assert np.quantile(ours, quantile) < 3 * np.quantile(plain, quantile)
