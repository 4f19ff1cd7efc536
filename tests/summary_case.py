"""What the tests of `summary` share."""

import equinox as eqx
import jax
import jax.numpy as jnp

from eqx_rnn import GRUCell, LSTMCell

KEY = jax.random.key(0)
F32 = dict(dtype=jnp.float32, key=KEY)


def struct(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def linear(inputs, outputs):
    return eqx.nn.Linear(inputs, outputs, **F32)


def row(table, path):
    (found,) = (row for row in table.rows if row.path == path)
    return found


def numbers(table, path):
    found = row(table, path)
    return found.parameters, found.multiply_adds


LSTM = LSTMCell(10, 32, **F32)
GRU = GRUCell(10, 16, **F32)
LSTM_NUMBERS = 4 * 32 * (10 + 32) + 4 * 32, 4 * 32 * (10 + 32)
GRU_NUMBERS = 3 * 16 * (10 + 16) + 4 * 16, 3 * 16 * (10 + 16)
