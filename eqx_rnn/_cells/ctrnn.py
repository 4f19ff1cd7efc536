from collections.abc import Callable, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.nn.initializers as jinit
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._checks.messages import check_inputs
from .._functions.function import as_function
from ..initializers import (
    Initializer,
    check_number,
    check_options,
    draw_carry,
    gate_biases,
    gate_weights,
    split_key,
)
from .affine import affine, along

Hidden = Float[Array, "*batch {self.hidden_size}"]


class CTRNNCell(FactoredCell):
    """Continuous-time RNN of leaky units, as in models of neural circuits, by Euler's method.

        alpha = dt / tau
        h' = h + alpha (f(W_ih x + b + W_hh h) - h)             state="rate"
        h' = h + alpha (W_ih x + b + W_hh f(h) - h)             state="current"

    where `f` stands for `activation`. With `"rate"` the state is the units' firing rates, and the
    output is `h'`: `tau dr/dt = -r + f(W_ih x + b + W_hh r)`. With `"current"` it is what drives
    them, and the output, their rates, is `f(h')`: `tau dv/dt = -v + W_ih x + b + W_hh f(v)`.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** the state is a current in K. Funahashi, Y. Nakamura, "Approximation of dynamical
    systems by continuous time recurrent neural networks", Neural Networks 6 (1993), and in H. F.
    Song, G. R. Yang, X.-J. Wang, "Training excitatory-inhibitory recurrent neural networks for
    cognitive tasks", PLoS Computational Biology 12 (2016), whose noise and signs of weights are
    not here; `dt` and `tau` are by default those, in milliseconds. It is a rate in G. R. Yang,
    X.-J. Wang, "Artificial neural networks for neuroscientists: a primer", Neuron 107 (2020).
    """

    weight_ih: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "{self.hidden_size}"] | None
    log_tau: Float[Array, "{self.hidden_size}"] | None
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    fixed_tau: float | tuple[float, ...] | None = eqx.field(static=True)
    state: Literal["rate", "current"] = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    activation: Callable = eqx.field(converter=as_function)
    carry_init: Initializer = eqx.field(converter=as_function)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float | int = 20.0,
        tau: float | int | Sequence[float | int] | np.ndarray | jax.Array = 100.0,
        train_tau: bool = False,
        state: Literal["rate", "current"] = "rate",
        use_bias: bool = True,
        activation: Callable = jnp.tanh,
        weight_init: Initializer = jinit.lecun_normal(),
        recurrent_weight_init: Initializer = jinit.orthogonal(),
        bias_init: Initializer = jinit.zeros,
        carry_init: Initializer = jinit.zeros,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray | None = None,
    ):
        """**Arguments:**

        - `input_size`: how many features the inputs have.
        - `hidden_size`: how many units there are, and features the output has.
        - `dt`: the time of a step, in the unit of `tau`.
        - `tau`: the units' time constant, in any unit of time: one number, or one a unit. None is
            below `dt`.
        - `train_tau`: whether the time constants, one a unit, are parameters that start from
            `tau`; their logarithm is, so that they stay positive, though not above `dt`. If not,
            no array holds them, and so no optimiser changes them.
        - `state`: what the carry is: the units' rates, or their currents.
        - `use_bias`: whether there is a bias `b`.
        - `activation`: any function from an array to an array of the same shape. A module with
            parameters, such as `eqx.nn.PReLU()`, is trained with the cell.
        - `weight_init`, `recurrent_weight_init`, `bias_init`: as in `jax.nn.initializers`.
        - `carry_init`: likewise, for the state before the first step.
        - `dtype`: of the weights; JAX's default floating-point dtype if `None`.
        - `key`: a `jax.random.key` for the initial weights. (Keyword only, and
            never left out.)
        """
        dtype = check_options("CTRNNCell", dtype, input_size=input_size, hidden_size=hidden_size)
        dt = check_number("CTRNNCell", "dt", dt)
        taus = np.asarray(tau, float)
        if taus.shape not in ((), (hidden_size,)):
            raise ValueError(
                f"CTRNNCell: `tau` must be a number or {hidden_size} of them, one a unit, got an "
                f"array of shape {taus.shape}."
            )
        if not np.all((taus >= dt) & np.isfinite(taus)):
            raise ValueError(
                f"CTRNNCell: `tau` must be finite and no smaller than `dt`, which is {dt}, got "
                f"{tau!r:.60}. Give both in one unit of time, or take shorter steps."
            )
        ih_key, hh_key, bias_key = split_key("CTRNNCell", key, 3)
        self.weight_ih = gate_weights(weight_init, ih_key, 1, hidden_size, input_size, dtype)
        self.weight_hh = gate_weights(
            recurrent_weight_init, hh_key, 1, hidden_size, hidden_size, dtype
        )
        self.bias = gate_biases(bias_init, bias_key, 1, hidden_size, dtype) if use_bias else None
        if train_tau:
            self.log_tau = jnp.asarray(np.broadcast_to(np.log(taus), (hidden_size,)), dtype)
            self.fixed_tau = None
        else:
            self.log_tau = None
            self.fixed_tau = tuple(taus.tolist()) if taus.ndim else float(taus)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.dt = dt
        self.state = state
        self.use_bias = use_bias
        self.activation = activation
        self.carry_init = carry_init

    @property
    def tau(self) -> Float[Array, ""] | Float[Array, "{self.hidden_size}"]:
        """The time constants, in the unit of `dt`."""
        if self.log_tau is None:
            return jnp.asarray(self.fixed_tau, self.weight_hh.dtype)
        return jnp.exp(self.log_tau)

    @property
    def num_feature_dims(self) -> int:
        return 1

    def initialize_carry(self, key: PRNGKeyArray | None, sample_input: Any) -> Hidden:
        check_inputs(self, sample_input, (self.input_size,))
        (hidden,) = draw_carry(self, self.carry_init, key, sample_input, (self.hidden_size,))
        return hidden

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Hidden:
        return affine(self.weight_ih, inputs, self.bias)

    def project_hidden(self, carry: Hidden) -> Hidden:
        return self.read_out(carry) @ self.weight_hh.T

    def update(
        self, carry: Hidden, gates: Hidden, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        target = self.activation(gates) if self.state == "rate" else gates
        hidden = carry + along(self.dt / self.tau, carry) * (target - carry)
        return hidden, self.read_out(hidden)

    def read_out(self, carry: Hidden) -> Hidden:
        return carry if self.state == "rate" else self.activation(carry)
