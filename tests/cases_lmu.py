"""Legendre memory units, with their oracles: see `cases`."""

import oracles_lmu as oracles
from case import row

import eqx_rnn

LMU = [  # on the factored engine
    row("lmu", oracles.lmu, eqx_rnn.LMUCell, 3, 4, order=5, theta=6.0),
    row("lmu-no-bias", oracles.lmu, eqx_rnn.LMUCell, 3, 4, order=2, theta=20, use_bias=False),
]

LEGENDRE = [  # in chunks, step by step
    row(
        "legendre-memory", oracles.legendre_memory, eqx_rnn.LegendreMemoryCell, 3, order=4, theta=7
    ),
]
