"""Comparison with torchrecurrent: same weights and inputs, same numbers and gradients.

The steps of its cells follow the papers, for all cells in this file. Other details differ:

- Each cell has two biases, which are added.
- The rows of its UGRNN are n, g.
- `beta` of its JANET is trained, but the paper fixes it. It is float32, so the tests use a number
  that float32 represents exactly.
- Its IndRNN has tanh by default and draws `u` from a normal distribution. The paper has ReLU and a
  uniform distribution.
- It has no layer normalisation.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_like

import eqx_rnn

torch = pytest.importorskip("torch", reason="comes with the extra `bench`")
theirs = pytest.importorskip("torchrecurrent", reason="comes with the extra `bench`")

PAIRS = {
    "peephole-lstm": (eqx_rnn.PeepholeLSTMCell, theirs.PeepholeLSTMCell, {}, {}),
    "ind-rnn": (eqx_rnn.IndRNNCell, theirs.IndRNNCell, {}, {"nonlinearity": "relu"}),
    "ugrnn": (eqx_rnn.UGRNNCell, theirs.UGRNNCell, {}, {}),
    "janet": (eqx_rnn.JANETCell, theirs.JANETCell, {"beta": 0.625}, {"beta": 0.625}),
}


def to_torch(cell):
    """Our parameters with the names and order of torchrecurrent. Our bias is in two parts."""
    rows = np.arange(cell.weight_ih.shape[0])
    if isinstance(cell, eqx_rnn.UGRNNCell):
        rows = np.roll(rows, cell.hidden_size)
    vector = isinstance(cell, eqx_rnn.IndRNNCell)
    named = {
        "weight_ih": cell.weight_ih[rows],
        "vector_u" if vector else "weight_hh": cell.weight_hh[rows],
    }
    if isinstance(cell, eqx_rnn.PeepholeLSTMCell):
        named["weight_ph"] = cell.weight_ph
    if cell.use_bias:
        apart = random_like(cell.bias, seed=7)
        named["bias_ih"] = cell.bias[rows] / 3 + apart
        named["bias_hh"] = cell.bias[rows] * 2 / 3 - apart
    return named


@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("name", PAIRS)
def test_same_numbers_and_gradients(name, use_bias):
    make, make_torch, options, torch_options = PAIRS[name]
    make_cell = lambda: make(3, 5, use_bias=use_bias, **options, key=jax.random.key(0))
    cell = random_like(eqx.filter_eval_shape(make_cell), seed=0, scale=0.5)
    xs = random_like(jax.ShapeDtypeStruct((2, 4, 3), jnp.float64), seed=1)
    shape = jax.eval_shape(lambda: cell.initialize_carry(None, xs[:, 0]))
    carry = random_like(shape, seed=2)
    seen = random_like(jax.ShapeDtypeStruct((2, 4, 5), jnp.float64), seed=3)
    seen_last = random_like(shape, seed=4)

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def ours(args):
        cell, xs, carry = args
        last, ys = eqx_rnn.RNN(cell)(xs, initial_carry=carry, return_carry=True)
        terms = jax.tree.map(jnp.vdot, (seen, seen_last), (ys, last))
        return sum(jax.tree.leaves(terms)), (ys, last)

    (_, results), gradients = ours((cell, xs, carry))

    tensor = lambda a: torch.tensor(np.asarray(a))
    named, pull = jax.vjp(to_torch, cell)
    biases = {"bias": use_bias, "recurrent_bias": use_bias}
    module = make_torch(3, 5, **biases, **torch_options, dtype=torch.float64)
    parameters = {n: p for n, p in module.named_parameters() if n != "beta"}
    assert parameters.keys() == named.keys()
    module.load_state_dict({n: tensor(a) for n, a in named.items()}, strict=False)
    given = [tensor(a).requires_grad_() for a in (xs, *jax.tree.leaves(carry))]
    x, *state = given
    outputs = []
    for t in range(4):
        if name == "janet":  # h and c are the same
            state = [module(x[:, t], (*state, *state))[0]]
        elif name == "peephole-lstm":
            state = list(module(x[:, t], tuple(state)))
        else:
            state = [module(x[:, t], state[0])]
        outputs.append(state[0])
    results_torch = [torch.stack(outputs, 1), *state]
    weights = map(tensor, (seen, *jax.tree.leaves(seen_last)))
    sum((w * r).sum() for w, r in zip(weights, results_torch, strict=True)).backward()

    (of_cell,) = pull({n: jnp.asarray(p.grad.numpy()) for n, p in parameters.items()})
    expected = *(r.detach() for r in results_torch), *jax.tree.leaves(of_cell)
    expected = *expected, *(a.grad for a in given)
    got = jax.tree.leaves((results, gradients))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, np.asarray(b), rtol=1e-11, atol=1e-11)
