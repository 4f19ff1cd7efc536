"""RWKV, with its oracles: see `cases`."""

import oracles_rwkv as oracles
from case import row

import eqx_rnn

RWKV = [
    row("rwkv4-core", oracles.rwkv4_core, eqx_rnn.RWKV4CoreCell, 4, features=(8,)),
    row("rwkv4", oracles.rwkv4, eqx_rnn.RWKV4Cell, 3, 4),
    row(
        "rwkv6-core",
        oracles.rwkv6_core,
        eqx_rnn.RWKV6CoreCell,
        2,
        3,
        2,
        features=(22,),
        log_decays=(16, 22),
    ),
    row("rwkv6", oracles.rwkv6, eqx_rnn.RWKV6Cell, 3, 4),
    row(
        "rwkv6-two-heads",
        oracles.rwkv6,
        eqx_rnn.RWKV6Cell,
        3,
        8,
        num_heads=2,
        key_size=3,
        rank=2,
        decay_rank=5,
        layer=1,
        num_layers=3,
    ),
    row(
        "rwkv7-core",
        oracles.rwkv7_core,
        eqx_rnn.RWKV7CoreCell,
        2,
        3,
        2,
        features=(34,),
        log_decays=(16, 22),
        input_scale=0.5,
    ),
    row("rwkv7", oracles.rwkv7, eqx_rnn.RWKV7Cell, 3, 8, num_heads=2),
    row(
        "rwkv7-middle-layer",
        oracles.rwkv7,
        eqx_rnn.RWKV7Cell,
        11,
        8,
        features=(11,),
        num_heads=2,
        key_size=3,
        takes_value=True,
        returns_value=True,
        ranks=(2, 3, 1, 4),
        eps=1e-2,
    ),
]
