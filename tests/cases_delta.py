"""The delta rule and the mLSTM, with their oracles: see `cases`."""

import oracles_delta as oracles
from case import row

import eqx_rnn


def core(name, oracle, cell_type, *sizes, **options):
    """A core with short keys, so that states stay small."""
    plain = {key: value for key, value in options.items() if key != "log_decays"}
    features = cell_type(*sizes, **plain).input_size
    return row(name, oracle, cell_type, *sizes, features=(features,), input_scale=0.5, **options)


DELTA = [
    core("delta-rule", oracles.delta_core, eqx_rnn.DeltaNetCoreCell, 2, 3, 2),
    core("delta-rule-scale", oracles.delta_core, eqx_rnn.DeltaNetCoreCell, 1, 2, 3, scale=1.0),
    core(
        "gated-delta-rule",
        oracles.gated_delta_core,
        eqx_rnn.GatedDeltaNetCoreCell,
        2,
        3,
        2,
        log_decays=(16, 18),
    ),
    core(
        "gated-delta-rule-channel",
        oracles.gated_delta_core,
        eqx_rnn.GatedDeltaNetCoreCell,
        2,
        3,
        2,
        decay="channel",
        scale=1.0,
        log_decays=(16, 22),
    ),
    row("delta-net", oracles.delta_net(False), eqx_rnn.DeltaNetCell, 3, 4, num_heads=2),
    row(
        "delta-net-options",
        oracles.delta_net(False),
        eqx_rnn.DeltaNetCell,
        3,
        2,
        key_size=3,
        window=2,
        negative_eigenvalues=True,
        key_eps=0.1,
        eps=0.1,
    ),
    row("gated-delta-net", oracles.delta_net(True), eqx_rnn.GatedDeltaNetCell, 3, 8, num_heads=2),
    row(
        "gated-delta-net-options",
        oracles.delta_net(True),
        eqx_rnn.GatedDeltaNetCell,
        3,
        2,
        key_size=3,
        window=1,
        negative_eigenvalues=True,
        key_eps=0.1,
        eps=0.1,
    ),
]

MLSTM = [
    core(
        "mlstm-core",
        oracles.mlstm_core,
        eqx_rnn.MLSTMCoreCell,
        2,
        3,
        2,
        log_decays=(16, 18),
    ),
    row("mlstm", oracles.mlstm, eqx_rnn.MLSTMCell, 3, 8, num_heads=2),
    row(
        "mlstm-options-no-bias",
        oracles.mlstm,
        eqx_rnn.MLSTMCell,
        3,
        6,
        num_heads=3,
        window=2,
        block_size=3,
        eps=0.1,
        use_bias=False,
    ),
]
