"""The cells that `RNN` runs in chunks, with their oracles: see `cases`."""

import jax.numpy as jnp
import numpy as np
import oracles_linear as oracles
from case import row
from cases_attention import ATTENTION
from cases_delta import DELTA, MLSTM
from cases_lmu import LEGENDRE
from cases_mamba import MAMBA
from cases_rwkv import RWKV

import eqx_rnn


def identity(x):
    return x


LINEAR = [
    row("min-gru", oracles.min_gru(oracles.positive), eqx_rnn.MinGRUCell, 3, 4),
    row(
        "min-gru-first-form-no-bias",
        oracles.min_gru(identity),
        eqx_rnn.MinGRUCell,
        3,
        4,
        activation=identity,
        use_bias=False,
    ),
    row("min-lstm", oracles.min_lstm, eqx_rnn.MinLSTMCell, 3, 4),
    row("gilr", oracles.gilr, eqx_rnn.GILRCell, 3, 4),
    row("hgrn", oracles.hgrn, eqx_rnn.HGRNCell, 3, 4, lower_bound=0.2),
    row("qrnn", oracles.qrnn, eqx_rnn.QRNNCell, 3, 4),
    row(
        "qrnn-window-3-no-gate",
        oracles.qrnn,
        eqx_rnn.QRNNCell,
        3,
        4,
        window=3,
        output_gate=False,
    ),
    row("sru", oracles.sru(identity), eqx_rnn.SRUCell, 3, 4),
    row(
        "sru-same-size-tanh",
        oracles.sru(np.tanh),
        eqx_rnn.SRUCell,
        3,
        3,
        scale=1.7,
        activation=jnp.tanh,
    ),
    row("sru2", oracles.sru(identity), eqx_rnn.SRU2Cell, 3, 4),
    row(
        "sru2-same-size-no-bias",
        oracles.sru(np.tanh),
        eqx_rnn.SRU2Cell,
        3,
        3,
        activation=jnp.tanh,
        use_bias=False,
    ),
    row("rg-lru", oracles.rg_lru, eqx_rnn.RGLRUCell, 4, num_heads=2, features=(4,)),
    row("hawk", oracles.hawk, eqx_rnn.HawkCell, 3, 4, num_heads=2, window=3),
    row("lru", oracles.lru, eqx_rnn.LRUCell, 3, 4),
    row("s4d", oracles.s4d, eqx_rnn.S4DCell, 3, 4),
    row("s5", oracles.s5, eqx_rnn.S5Cell, 3, 4),
    row(
        "s5-bilinear-full",
        oracles.s5,
        eqx_rnn.S5Cell,
        3,
        4,
        num_blocks=2,
        discretization="bilinear",
        conjugate_symmetry=False,
        clip_eigenvalues=True,
    ),
    row("lin-oss", oracles.lin_oss, eqx_rnn.LinOSSCell, 3, 4),
    row("lin-oss-imex", oracles.lin_oss, eqx_rnn.LinOSSCell, 3, 4, scheme="imex"),
    *(MAMBA + ATTENTION + DELTA + MLSTM + RWKV + LEGENDRE),
]

# For tests of chunks that compile much: one cell per verb of `time`.
FEW_NAMES = [
    *("min-gru", "qrnn-window-3-no-gate", "sru2", "hawk", "lru", "lin-oss"),
    *("selective-ssm", "gated-delta-rule", "mlstm-core", "rwkv4-core"),
]
FEW_LINEAR = [case for case in LINEAR if case.name in FEW_NAMES]
