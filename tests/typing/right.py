"""User code that type checkers accept. `assert_type` says what they infer. Nothing runs this."""

from typing import Any, assert_type

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray

import eqx_rnn
from eqx_rnn import (
    RNN,
    AbstractLayer,
    Bidirectional,
    GRUCell,
    LSTMCarry,
    LSTMCell,
    RNNCellBase,
    Stacked,
    StackedCell,
    interop,
)

key = jax.random.key(0)
x = jnp.ones((2, 5, 3))
lengths = np.array([3, 5])

# A layer knows the type of its cell, and a cell that of its carry.
cell = LSTMCell(3, 4, use_bias=False, dtype=jnp.float32, key=key)
rnn = RNN(cell, reverse=True, checkpoint=4)
assert_type(rnn, RNN[LSTMCell])
assert_type(rnn.cell, LSTMCell)
assert_type(rnn.cell.hidden_size, int)
assert_type(rnn.output_size, int)

# The type of a call follows from `return_carry`.
assert_type(rnn(x), Array)
assert_type(rnn(x, return_carry=False, seq_lengths=lengths), Array)
carry, outputs = rnn(x, return_carry=True, mask=np.ones((2, 5), bool), key=key)
assert_type(carry, LSTMCarry)
assert_type(outputs, Array)
hidden = carry.hidden + outputs[:, -1]
every, outputs = rnn(x, initial_carry=carry, resets=jnp.zeros((2, 5), bool), return_carry="all")
assert_type(every, LSTMCarry)
first = rnn.initialize_carry(None, jax.ShapeDtypeStruct((2, 3), jnp.float32))
rest = rnn(np.ones((2, 5, 3)), initial_carry=first)


def run(rnn: RNN[GRUCell], with_carry: bool) -> Array:
    result = rnn(x, return_carry=with_carry)
    return result[1] if isinstance(result, tuple) else result


# Other layers.
both = Bidirectional(RNN(GRUCell(3, 4, key=key)), RNN(GRUCell(3, 4, key=key)), merge=jnp.add)
(ahead, back), outputs = both(x, seq_lengths=lengths, return_carry=True)
assert_type(outputs, Array)
assert_type(both(x), Array)
stacked = Stacked.create(LSTMCell, 3, 4, num_layers=2, dropout=0.1, proj_size=2, key=key)
assert_type(stacked, Stacked)
assert_type(stacked(x, key=key), Array)
carries, outputs = stacked(x, key=key, return_carry=True)
assert_type(carries, tuple[Any, ...])
assert_type(stacked.as_cell(), StackedCell)
assert_type(stacked.num_layers + stacked.output_size, int)
steps = StackedCell([layer.cell for layer in stacked.layers])
_, outputs = RNN(steps)(x, return_carry=True)
assert_type(outputs, Array)


class Dense(AbstractLayer):
    linear: eqx.nn.Linear

    @property
    def num_feature_dims(self) -> int:
        return 1

    @property
    def time_major(self) -> bool:
        return False

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> tuple[()]:
        return ()

    def __call__(self, inputs: Any, *, return_carry: bool | str = False, **options: Any) -> Any:
        outputs = jnp.vectorize(self.linear, signature="(n)->(m)")(inputs)
        return ((), outputs) if return_carry else outputs


mixed = Stacked([rnn, Dense(eqx.nn.Linear(4, 3, key=key)), both], residual=False)
sequential = eqx.nn.Sequential([rnn, both])


class Model(eqx.Module):
    rnn: RNN[LSTMCell]
    head: eqx.nn.Linear

    def __init__(self, key: PRNGKeyArray):
        self.rnn = RNN(LSTMCell(3, 4, key=key))
        self.head = eqx.nn.Linear(self.rnn.output_size, 1, key=key)

    def __call__(self, x: Float[Array, "batch time 3"], lengths: Array) -> Array:
        outputs = self.rnn(x, seq_lengths=lengths)
        return jax.vmap(self.head)(eqx_rnn.last_valid(outputs, seq_lengths=lengths))


# Cells that users write.
class Own(RNNCellBase):
    weight: Array

    @property
    def num_feature_dims(self) -> int:
        return 1

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> Array:
        return jnp.zeros((*sample_input.shape[:-1], 4))

    def __call__(
        self, carry: Array, inputs: Any, *, key: PRNGKeyArray | None = None
    ) -> tuple[Array, dict[str, Array]]:
        return carry, {"hidden": inputs @ self.weight}


own_carry, own_outputs = RNN(Own(jnp.ones((3, 4))))(x, return_carry=True)
assert_type(own_carry, Array)

# Sequences.
inputs, sizes = eqx_rnn.pad_sequences([x[0], np.ones((3, 3))], length=7, padding_value=-1.0)
assert_type(inputs, Array)
mask = eqx_rnn.lengths_to_mask(sizes, inputs.shape[1])
flipped = eqx_rnn.flip_sequences(inputs, sizes)
last = eqx_rnn.last_valid({"a": inputs}, mask=mask, time_major=False)

# Wrappers keep what is inside reachable.
assert_type(eqx_rnn.Zoneout(cell, 0.1).cell, RNNCellBase)
assert_type(RNN(eqx_rnn.Residual(GRUCell(3, 3, key=key)))(x), Array)

# Weights of other frameworks.
assert_type(interop.from_torch({"weight_ih_l0": np.ones((4, 3))}), Stacked)
one = interop.from_torch({"weight_ih": np.ones((4, 3))}, cell=True)
assert_type(one.hidden_size, int)
