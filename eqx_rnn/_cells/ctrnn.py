from collections.abc import Sequence
from typing import Literal, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._base.cells import FactoredCell
from .._checks.options import check_number, check_time_constants
from .._kernels.products import affine, along, project
from .base import CellOptions, Hidden, NonlinearCell, StateCell, VectorCell


class CTRNNCell(StateCell, NonlinearCell, VectorCell, FactoredCell):
    """Continuous-time RNN of leaky units, as in models of neural circuits, by Euler's method.

        alpha = dt / tau
        h' = h + alpha (f(W_ih x + b + W_hh h) - h)             state="rate"
        h' = h + alpha (W_ih x + b + W_hh f(h) - h)             state="current"

    where `f` stands for `activation`. With `"rate"` the state holds the units' firing rates, and
    the output is `h'`: `tau dr/dt = -r + f(W_ih x + b + W_hh r)`. With `"current"` it holds their
    currents, and the output is `f(h')`, their rates: `tau dv/dt = -v + W_ih x + b + W_hh f(v)`.

    **Shapes:** inputs `(*batch, input_size)`; carry and outputs `(*batch, hidden_size)`.

    **Source:** the state is a current in K. Funahashi, Y. Nakamura, "Approximation of dynamical
    systems by continuous time recurrent neural networks", Neural Networks 6 (1993), and in H. F.
    Song, G. R. Yang, X.-J. Wang, "Training excitatory-inhibitory recurrent neural networks for
    cognitive tasks", PLoS Computational Biology 12 (2016), whose noise and signs of weights are
    left out; its `dt` and `tau`, in milliseconds, are the defaults. It is a rate in G. R. Yang,
    X.-J. Wang, "Artificial neural networks for neuroscientists: a primer", Neuron 107 (2020).
    """

    weight_ih: Float[Array, "{self.hidden_size} {self.input_size}"]
    weight_hh: Float[Array, "{self.hidden_size} {self.hidden_size}"]
    bias: Float[Array, "{self.hidden_size}"] | None
    log_tau: Float[Array, "{self.hidden_size}"] | None
    dt: float = eqx.field(static=True)
    fixed_tau: float | tuple[float, ...] | None = eqx.field(static=True)
    state: Literal["rate", "current"] = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float | int = 20.0,
        tau: float | int | Sequence[float | int] | np.ndarray | jax.Array = 100.0,
        train_tau: bool = False,
        state: Literal["rate", "current"] = "rate",
        **options: Unpack[CellOptions],
    ):
        """**Arguments:** those of every cell, and

        - `dt`: the time of one step, in the unit of `tau`.
        - `tau`: the time constant of the units, one number or one per unit, at least `dt`.
        - `train_tau`: whether the time constants are trained, one per unit, starting from `tau`.
            The parameters are their logarithms, so the time constants stay positive, but they
            may fall below `dt`. If false, they are not arrays, so no optimiser changes them.
        - `state`: the meaning of the carry: the rates of the units, or their currents.
        """
        draw = self._setup(input_size, hidden_size, options)
        ih, hh, b = draw.keys(3)
        self.weight_ih = draw.weight(ih, 1)
        self.weight_hh = draw.recurrent_weight(hh, 1)
        self.bias = draw.bias(b, 1)
        self.dt, self.state = check_number("CTRNNCell", "dt", dt), state
        taus = check_time_constants("CTRNNCell", tau, hidden_size, self.dt)
        self.fixed_tau = self.log_tau = None
        if train_tau:
            self.log_tau = jnp.asarray(np.broadcast_to(np.log(taus), (hidden_size,)), draw.dtype)
        else:
            self.fixed_tau = tuple(taus.tolist()) if taus.ndim else float(taus)

    @property
    def tau(self) -> Float[Array, ""] | Float[Array, "{self.hidden_size}"]:
        """The time constants, in the unit of `dt`."""
        if self.log_tau is None:
            return jnp.asarray(self.fixed_tau, self.weight_hh.dtype)
        return jnp.exp(self.log_tau)

    def project_input(self, inputs: Float[Array, "*batch {self.input_size}"]) -> Hidden:
        return affine(self.weight_ih, inputs, self.bias)

    def project_hidden(self, carry: Hidden) -> Hidden:
        return project(self.weight_hh, self.read_out(carry))

    def update(
        self, carry: Hidden, gates: Hidden, *, key: PRNGKeyArray | None = None
    ) -> tuple[Hidden, Hidden]:
        target = self.activation(gates) if self.state == "rate" else gates
        hidden = carry + along(self.dt / self.tau, carry) * (target - carry)
        return hidden, self.read_out(hidden)

    def read_out(self, carry: Hidden) -> Hidden:
        return carry if self.state == "rate" else self.activation(carry)
