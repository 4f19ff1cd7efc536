"""Comparison with torch's modules: same weights and inputs, same numbers and gradients."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import EXACT, assert_close, random_like

import eqx_rnn
from eqx_rnn import interop

torch = pytest.importorskip("torch", reason="torch is not installed: no comparison with it")

CELLS = {"LSTM": eqx_rnn.LSTMCell, "GRU": eqx_rnn.GRUCell, "RNN": eqx_rnn.SimpleCell}
SIZE, HIDDEN, BATCH, TIME = 3, 4, 3, 5
LENGTHS = np.array([3, 1, 5])


def gradients_by_cell(module):
    """Torch's gradients, one list per cell: layer by layer, forward before backward."""
    suffixes = ["", "_reverse"] if module.bidirectional else [""]
    cells = []
    for k in range(module.num_layers):
        for suffix in suffixes:
            names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
            names += ["weight_hr"] if getattr(module, "proj_size", 0) else []
            cells.append([getattr(module, f"{name}_l{k}{suffix}").grad.numpy() for name in names])
    return cells


def our_cells(stacked):
    layers = stacked.layers
    if isinstance(layers[0], eqx_rnn.RNN):
        return [layer.cell for layer in layers]
    return [rnn.cell for layer in layers for rnn in (layer.forward_rnn, layer.backward_rnn)]


@pytest.mark.parametrize(
    ("kind", "num_layers", "bidirectional", "proj_size", "lengths"),
    [
        ("LSTM", 2, False, 2, None),
        ("LSTM", 2, True, 2, LENGTHS),
        ("LSTM", 3, True, None, LENGTHS),
        ("GRU", 2, True, None, LENGTHS),
        ("GRU", 3, False, None, None),
        ("RNN", 2, True, None, None),
        ("RNN", 3, False, None, LENGTHS),
    ],
)
def test_outputs_states_and_gradients(kind, num_layers, bidirectional, proj_size, lengths):
    torch.manual_seed(0)
    options = {} if proj_size is None else {"proj_size": proj_size}
    shape = {"num_layers": num_layers, "bidirectional": bidirectional}
    module = getattr(torch.nn, kind)(
        SIZE, HIDDEN, batch_first=True, dtype=torch.float64, **shape, **options
    )
    stacked = interop.from_torch(module.state_dict())
    create = functools.partial(eqx_rnn.Stacked.create, CELLS[kind], SIZE, HIDDEN, dtype=float)
    created = eqx.filter_eval_shape(create, key=jax.random.key(0), **shape, **options)
    assert jax.tree.structure(stacked) == jax.tree.structure(created)

    number = num_layers * (1 + bidirectional)
    sizes = [proj_size or HIDDEN, HIDDEN] if kind == "LSTM" else [HIDDEN]
    shapes = [(BATCH, TIME, SIZE), *((number, BATCH, size) for size in sizes)]
    xs, *states = random_like([jax.ShapeDtypeStruct(shape, float) for shape in shapes], 1)
    weights = random_like(jax.eval_shape(stacked, xs), 2)

    def loss(args):
        stacked, xs, start = args
        result = stacked(xs, initial_carry=start, seq_lengths=lengths, return_carry=True)
        ends = sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(result[0]))
        return ends + jnp.sum(weights * jnp.sin(result[1])), result

    carry = interop.from_torch_state(*states, bidirectional=bidirectional)
    run = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))
    (_, (final, ys)), gradients = run((stacked, xs, carry))

    x, *start = (torch.tensor(np.asarray(a), requires_grad=True) for a in (xs, *states))
    packed = x
    if lengths is not None:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
    outputs, ends = module(packed, tuple(start) if kind == "LSTM" else start[0])
    if lengths is not None:
        outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, True)
    ends = ends if kind == "LSTM" else (ends,)
    ends_loss = sum(end.sin().sum() for end in ends)
    (ends_loss + (torch.tensor(np.asarray(weights)) * outputs.sin()).sum()).backward()

    as_ours = lambda states: interop.from_torch_state(*states, bidirectional=bidirectional)
    assert_close(ys, jnp.asarray(outputs.detach().numpy()))
    assert_close(final, as_ours(ends))
    assert_close(gradients[1], jnp.asarray(x.grad.numpy()))
    assert_close(gradients[2], as_ours([s.grad for s in start]))
    for cell, arrays in zip(our_cells(gradients[0]), gradients_by_cell(module), strict=True):
        ih, hh, bias, other, *rest = arrays
        np.testing.assert_allclose(cell.weight_ih, ih, **EXACT)
        np.testing.assert_allclose(cell.weight_hh, hh, **EXACT)
        np.testing.assert_allclose(cell.bias, bias, **EXACT)
        if kind == "GRU":
            np.testing.assert_allclose(cell.bias_n, other[2 * HIDDEN :], **EXACT)
        for projection in rest:
            np.testing.assert_allclose(cell.weight_hr, projection, **EXACT)
