"""Every cell, with its oracle. All suites run over this table; a new cell is one more row."""

import jax
import oracles
import oracles_dynamics
import oracles_gated
import oracles_wrappers
from case import Case as Case
from case import row
from case import weights as weights
from cases_linear import LINEAR
from cases_lmu import LMU
from plain_cell import PlainCell

import eqx_rnn

CELLS = [
    row("simple", oracles.simple, eqx_rnn.SimpleCell, 3, 4),
    row("simple-no-bias", oracles.simple, eqx_rnn.SimpleCell, 3, 4, use_bias=False),
    row(
        "simple-residual-relu",
        oracles.simple_residual_relu,
        eqx_rnn.SimpleCell,
        3,
        4,
        residual=True,
        activation=jax.nn.relu,
    ),
    row("lstm", oracles.lstm, eqx_rnn.LSTMCell, 3, 4),
    row("lstm-no-bias", oracles.lstm, eqx_rnn.LSTMCell, 3, 4, use_bias=False),
    row("lstm-proj", oracles.lstm, eqx_rnn.LSTMCell, 3, 4, proj_size=2),
    row(
        "lstm-hard-relu",
        oracles.lstm_other_activations,
        eqx_rnn.LSTMCell,
        3,
        4,
        gate_activation=jax.nn.hard_sigmoid,
        activation=jax.nn.relu,
    ),
    row(
        "lstm-softmax-gates",
        oracles.lstm_softmax_gates,
        eqx_rnn.LSTMCell,
        3,
        4,
        gate_activation=jax.nn.softmax,
    ),
    row("gru", oracles.gru, eqx_rnn.GRUCell, 3, 4),
    row("gru-no-bias", oracles.gru, eqx_rnn.GRUCell, 3, 4, use_bias=False),
    row("gru-reset-before", oracles.gru_reset_before, eqx_rnn.GRUCell, 3, 4, reset_after=False),
    row("mgu", oracles.mgu, eqx_rnn.MGUCell, 3, 4),
    row("mgu-no-reset", oracles.mgu_no_reset, eqx_rnn.MGUCell, 3, 4, reset_gate=False),
    row("conv-lstm-1d", oracles.conv_lstm, eqx_rnn.ConvLSTMCell, 2, 3, (3,), features=(5, 2)),
    row(
        "conv-lstm-2d",
        oracles.conv_lstm,
        eqx_rnn.ConvLSTMCell,
        2,
        3,
        (3, 2),
        strides=(2, 1),
        padding=((1, 0), (2, 1)),
        dilation=(1, 2),
        features=(5, 4, 2),
    ),
    row(
        "conv-lstm-3d",
        oracles.conv_lstm,
        eqx_rnn.ConvLSTMCell,
        2,
        2,
        2,
        num_spatial_dims=3,
        padding="VALID",
        use_bias=False,
        features=(3, 3, 4, 2),
    ),
    row(
        "conv-gru-1d", oracles.conv_gru, eqx_rnn.ConvGRUCell, 2, 3, (2,), strides=2, features=(6, 2)
    ),
    row(
        "conv-gru-2d-reset-before",
        oracles.conv_gru,
        eqx_rnn.ConvGRUCell,
        2,
        3,
        (3, 3),
        reset_after=False,
        features=(3, 4, 2),
    ),
    row("layer-norm-lstm", oracles_gated.layer_norm_lstm, eqx_rnn.LayerNormLSTMCell, 3, 4),
    row(
        "layer-norm-lstm-no-bias",
        oracles_gated.layer_norm_lstm,
        eqx_rnn.LayerNormLSTMCell,
        3,
        4,
        use_bias=False,
        eps=0.1,
    ),
    row("layer-norm-gru", oracles_gated.layer_norm_gru, eqx_rnn.LayerNormGRUCell, 3, 4, eps=0.1),
    row("peephole-lstm", oracles_gated.peephole_lstm, eqx_rnn.PeepholeLSTMCell, 3, 4),
    row("ind-rnn", oracles_gated.ind_rnn, eqx_rnn.IndRNNCell, 3, 4),
    row("ugrnn", oracles_gated.ugrnn, eqx_rnn.UGRNNCell, 3, 4),
    row("janet", oracles_gated.janet, eqx_rnn.JANETCell, 3, 4),
    row("minimal-rnn", oracles_dynamics.minimal_rnn, eqx_rnn.MinimalRNNCell, 3, 4),
    row(
        "antisymmetric-rnn-no-bias",
        oracles_dynamics.antisymmetric_rnn,
        eqx_rnn.AntisymmetricRNNCell,
        3,
        4,
        epsilon=0.5,
        gamma=0.2,
        use_bias=False,
    ),
    row(
        "antisymmetric-rnn-gated",
        oracles_dynamics.antisymmetric_rnn,
        eqx_rnn.AntisymmetricRNNCell,
        3,
        4,
        gated=True,
        epsilon=0.5,
        gamma=0.2,
    ),
    row("cornn", oracles_dynamics.cornn, eqx_rnn.CoRNNCell, 3, 4, dt=0.3),
    row("lem", oracles_dynamics.lem, eqx_rnn.LEMCell, 3, 4, dt=0.7),
    row("slstm", oracles_dynamics.slstm, eqx_rnn.SLSTMCell, 3, 4, num_heads=2),
    row(
        "slstm-exp-no-bias",
        oracles_dynamics.slstm,
        eqx_rnn.SLSTMCell,
        3,
        4,
        forget_gate="exp",
        use_bias=False,
    ),
    row("ctrnn", oracles_dynamics.ctrnn, eqx_rnn.CTRNNCell, 3, 4, tau=(25.0, 30.0, 60.0, 90.0)),
    row(
        "ctrnn-current-trained-tau",
        oracles_dynamics.ctrnn_current,
        eqx_rnn.CTRNNCell,
        3,
        4,
        dt=0.3,
        tau=1,
        train_tau=True,
        state="current",
        use_bias=False,
    ),
    *LMU,
]

# The inner cells of wrappers. They are as wide as their inputs, which a wrapper may add to outputs.
INNER = [
    row("lstm", oracles.lstm, eqx_rnn.LSTMCell, 3, 3),
    row("gru", oracles.gru, eqx_rnn.GRUCell, 3, 3),
    row("conv-lstm", oracles.conv_lstm, eqx_rnn.ConvLSTMCell, 2, 2, (3,), features=(4, 2)),
    row("plain", oracles_wrappers.plain, PlainCell, 3, 3),
]


def zoneout(cell, **_):
    two_leaves = isinstance(cell, eqx_rnn.LSTMCell | eqx_rnn.ConvLSTMCell)
    rate = eqx_rnn.LSTMCarry(0.1, 0.4) if two_leaves else 0.3
    return eqx_rnn.Zoneout(cell, rate, inference=True)


# Wrappers at inference. `test_wrappers.py` tests their random draws in training.
WRAPPERS = {
    "zoneout": (zoneout, oracles_wrappers.zoneout),
    "dropout": (
        lambda cell, **_: eqx_rnn.RecurrentDropout(cell, 0.2, 0.3, inference=True),
        oracles_wrappers.recurrent_dropout,
    ),
    "drop-connect": (
        lambda cell, **_: eqx_rnn.DropConnect(cell, 0.3, inference=True),
        oracles_wrappers.inner,
    ),
    "residual": (lambda cell, **_: eqx_rnn.Residual(cell), oracles_wrappers.residual),
    "learned-carry": (eqx_rnn.LearnedCarry, oracles_wrappers.inner),
}


def wrapped(name: str, inner: Case) -> Case:
    wrap, oracle = WRAPPERS[name]

    def make(**options):
        sample = jax.ShapeDtypeStruct(inner.features, options.get("dtype", float))
        return wrap(inner.make(**options), sample_input=sample, key=options["key"])

    return Case(f"{name}-{inner.name}", make, oracle(inner.oracle), inner.features)


WRAPPED = [wrapped(name, inner) for name in WRAPPERS for inner in INNER]

CASES = CELLS + LINEAR + WRAPPED
# For derivatives: most cells, each wrapper and each inner cell, but not each pair.
MAIN_CASES = (
    [case for case in CELLS if not case.name.endswith("-no-bias")]
    + [case for case in LINEAR if case.name in ("sru2", "hawk", "lru", "gla-core", "mlstm")]
    + [case for k, case in enumerate(WRAPPED) if k % len(INNER) == k // len(INNER) % len(INNER)]
)
# For tests that compile much, and for quick tests: one case per class.
FEW_CASES, EACH_CLASS = (
    list({type(case.cell()): case for case in reversed(cases)}.values())[::-1]
    for cases in (MAIN_CASES, CASES)
)
