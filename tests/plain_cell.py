"""A user's cell that is not a `FactoredCell`."""

import equinox as eqx
import jax
import jax.numpy as jnp

import eqx_rnn
from eqx_rnn.initializers import draw_carry


class PlainCell(eqx_rnn.RNNCellBase):
    """h' = tanh(W x + U h) cos(h), y = h' - h."""

    weight_ih: jax.Array
    weight_hh: jax.Array
    carry_init: object = eqx.field(static=True)

    def __init__(
        self, input_size, hidden_size, *, carry_init=jax.nn.initializers.zeros, dtype=None, key
    ):
        draw = jax.nn.initializers.normal(0.5)
        keys = jax.random.split(key)
        self.weight_ih = draw(keys[0], (hidden_size, input_size), dtype or float)
        self.weight_hh = draw(keys[1], (hidden_size, hidden_size), dtype or float)
        self.carry_init = carry_init

    @property
    def num_feature_dims(self):
        return 1

    def initialize_carry(self, key, sample_input):
        (hidden,) = draw_carry(self, self.carry_init, key, sample_input, self.weight_hh.shape[:1])
        return hidden

    def __call__(self, carry, inputs, *, key=None):
        products = inputs @ self.weight_ih.T + carry @ self.weight_hh.T
        hidden = jnp.tanh(products) * jnp.cos(carry)
        return hidden, hidden - carry

    def read_out(self, carry):
        return None  # the outputs depend on the old carry, too
