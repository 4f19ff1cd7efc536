"""User code with mistakes. A type checker reports each line with the mark, and no other line."""

import jax
import jax.numpy as jnp
import numpy as np

import eqx_rnn
from eqx_rnn import RNN, Bidirectional, GRUCell, LSTMCell, Stacked, interop

key = jax.random.key(0)
x = jnp.ones((2, 5, 3))
rnn = RNN(LSTMCell(3, 4, key=key))

# Arguments of calls.
rnn(x, mask="no")  # error
rnn(x, seq_lengths=[3, 5])  # error
rnn(x, resets=True)  # error
rnn(x, lengths=np.array([3, 5]))  # error
rnn(x, return_carry="last")  # error
rnn([1.0, 2.0])  # error
rnn()  # error
rnn(x, None)  # error
rnn(x, key=0)  # error
rnn.initialize_carry(None, (2, 3))  # error
rnn.initialize_carry(x[:, 0])  # error
eqx_rnn.last_valid(x, lengths=np.array([3, 5]))  # error
eqx_rnn.last_valid(x, seq_lengths=[3, 5])  # error
eqx_rnn.pad_sequences([[1, 2], [3]])  # error
eqx_rnn.lengths_to_mask(np.array([3, 5]))  # error

# Options of constructors.
LSTMCell(3, 4)  # error
LSTMCell(3, 4, hidden=5, key=key)  # error
LSTMCell("3", 4, key=key)  # error
RNN(rnn)  # error
RNN(rnn.cell, batch_first=True)  # error
RNN(rnn.cell, checkpoint="yes")  # error
Bidirectional(rnn.cell, rnn.cell)  # error
Stacked(rnn)  # error
Stacked([rnn.cell])  # error
Stacked([rnn], dropout="no")  # error
Stacked.create(LSTMCell, 3, 4, num_layers=2)  # error
Stacked.create(LSTMCell, 3, 4, key=key)  # error

# Uses of results.
print(rnn(x).hidden)  # error
print(rnn(x, return_carry=True).shape)  # error
print(rnn(x, return_carry=True)[0].memory)  # error
print(Stacked([rnn])(x, return_carry=True).shape)  # error
print(rnn.cell.weights)  # error
print(interop.from_torch({}).cell)  # error


def run(layer: RNN[GRUCell]) -> None: ...


run(rnn)  # error
