"""Linear attention and its relatives, with their oracles: see `cases`."""

import oracles_attention as oracles
from case import row

import eqx_rnn


def identity(x):
    return x


def square(x):
    return x * x + 0.1


ATTENTION = [
    row(
        "gla-core",
        oracles.gla_core,
        eqx_rnn.GLACoreCell,
        2,
        3,
        2,
        features=(22,),
        log_decays=(16, 22),
    ),
    row(
        "gla-core-head",
        oracles.gla_core,
        eqx_rnn.GLACoreCell,
        2,
        3,
        2,
        decay="head",
        scale=0.7,
        features=(18,),
        log_decays=(16, 18),
    ),
    row("gla", oracles.gla, eqx_rnn.GLACell, 3, 8, num_heads=2, rank=3),
    row(
        "gla-head-no-bias",
        oracles.gla,
        eqx_rnn.GLACell,
        3,
        4,
        num_heads=2,
        key_size=3,
        decay="head",
        rank=2,
        temperature=2.0,
        eps=0.1,
        use_bias=False,
    ),
    row(
        "linear-attention-core",
        oracles.linear_attention_core(oracles.elu_plus_one),
        eqx_rnn.LinearAttentionCoreCell,
        2,
        3,
        2,
        features=(16,),
    ),
    row(
        "linear-attention-core-plain",
        oracles.linear_attention_core(identity),
        eqx_rnn.LinearAttentionCoreCell,
        2,
        3,
        2,
        feature_map=identity,
        normalize=False,
        features=(16,),
    ),
    row(
        "linear-attention",
        oracles.linear_attention(oracles.elu_plus_one),
        eqx_rnn.LinearAttentionCell,
        3,
        4,
        num_heads=2,
    ),
    row(
        "linear-attention-square-no-bias",
        oracles.linear_attention(square),
        eqx_rnn.LinearAttentionCell,
        3,
        4,
        num_heads=2,
        key_size=3,
        feature_map=square,
        scale=0.5,
        eps=0.1,
        use_bias=False,
    ),
    row(
        "retention-core", oracles.retention_core, eqx_rnn.RetentionCoreCell, 3, 2, 2, features=(18,)
    ),
    row(
        "retention-core-decays",
        oracles.retention_core,
        eqx_rnn.RetentionCoreCell,
        2,
        3,
        2,
        decays=(0.5, 0.9),
        scale=0.7,
        features=(16,),
    ),
    row("retention", oracles.retention, eqx_rnn.RetentionCell, 3, 4, num_heads=2, key_size=4),
    row(
        "retention-decays",
        oracles.retention,
        eqx_rnn.RetentionCell,
        3,
        4,
        num_heads=2,
        decays=(0.5, 0.9),
        eps=0.1,
    ),
    row(
        "hgrn2-core",
        oracles.hgrn2_core,
        eqx_rnn.HGRN2CoreCell,
        2,
        3,
        2,
        features=(16,),
        log_decays=(10, 16),
    ),
    row("hgrn2", oracles.hgrn2, eqx_rnn.HGRN2Cell, 3, 4, num_heads=2),
    row(
        "hgrn2-bound",
        oracles.hgrn2,
        eqx_rnn.HGRN2Cell,
        3,
        4,
        num_heads=2,
        key_size=3,
        lower_bound=0.2,
        eps=0.1,
    ),
]
