"""Names of arguments in other libraries."""

# Names in other libraries, and our names. The advice is the first of ours that the function has.
_MEANINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("in_features in_channels input_dim input_features in_size input_shape", ("input_size",)),
    (
        "units num_units features out_features hidden_features hidden_dim hidden_channels "
        "n_hidden num_hidden hidden filters out_channels out_size state_size output_size dim",
        ("hidden_size",),
    ),
    ("bias with_bias", ("use_bias",)),
    ("rng rngs prng_key seed random_key rng_key", ("key",)),
    ("param_dtype", ("dtype",)),
    ("activation_fn act nonlinearity", ("activation",)),
    ("gate_fn recurrent_activation recurrent_activation_fn", ("gate_activation",)),
    ("kernel_init kernel_initializer w_init weight_initializer", ("weight_init",)),
    (
        "recurrent_kernel_init recurrent_initializer recurrent_init",
        ("recurrent_weight_init",),
    ),
    ("bias_initializer b_init", ("bias_init",)),
    ("unit_forget_bias", ("forget_bias",)),
    ("projection_size projection_units proj_dim", ("proj_size",)),
    ("initial_state_init state_init hidden_init", ("carry_init",)),
    ("n_layers layers_num depth", ("num_layers",)),
    ("batch_first", ("time_major",)),
    ("go_backwards backward backwards is_reverse", ("reverse",)),
    ("return_sequences return_state return_states return_final_state", ("return_carry",)),
    (
        "initial_state initial_states init_state init_carry initial_hidden carry state states "
        "hidden h h0 h_0 hx hidden_state",
        ("initial_carry", "carry"),
    ),
    (
        "lengths length sequence_length sequence_lengths seq_length seq_lens seq_len lens",
        ("seq_lengths",),
    ),
    ("masks padding_mask attention_mask segmentation_mask valid", ("mask",)),
    ("reset dones done is_first starts", ("resets",)),
    ("x xs input inp inputs sequence sequences", ("inputs", "sample_input")),
    ("input_shape sample_inputs shape sample example_input", ("sample_input",)),
    ("remat use_remat checkpointing", ("checkpoint",)),
    ("tbptt truncation truncate_gradient", ("truncate",)),
    ("merge_mode merge_fn", ("merge",)),
    ("forward forward_layer forward_cell fwd", ("forward_rnn",)),
    ("backward backward_layer backward_cell bwd", ("backward_rnn",)),
    ("kernel_shape kernel kernel_sizes", ("kernel_size",)),
    ("stride window_strides", ("strides",)),
    ("dilation_rate kernel_dilation rhs_dilation dilations", ("dilation", "dilation_rate")),
    ("pad", ("padding",)),
    ("ndim num_spatial_axes rank", ("num_spatial_dims",)),
    ("p prob rate dropout_rate", ("rate", "dropout", "input_rate")),
    ("recurrent_dropout recurrent_rate", ("hidden_rate",)),
    ("epsilon layer_norm_eps", ("eps", "epsilon")),
    ("n_heads heads", ("num_heads",)),
    ("cell layer", ("cell", "layers", "cells", "cell_type")),
    ("rnns modules", ("layers", "cells")),
    ("maxlen max_len max_length total_length", ("length", "num_steps")),
    ("value pad_value padding", ("padding_value",)),
    ("params variables weights", ("params", "weights", "state_dict")),
    ("deterministic training train is_training", ("inference",)),
)
SYNONYMS: dict[str, tuple[str, ...]] = {}
for _names, _ours in _MEANINGS:
    for _name in _names.split():
        SYNONYMS[_name] = SYNONYMS.get(_name, ()) + _ours

# Remarks for names that differ in meaning from the proposed name.
REMARKS = {
    "batch_first": "It has the opposite meaning: leave it out for (batch, time, features).",
    "return_sequences": "The outputs of all steps are always returned.",
    "seed": "Pass `key=jax.random.key(seed)`.",
    "rngs": "Pass a `jax.random.key`.",
    "unit_forget_bias": "It is a number, by default 1.",
}
_MODE = "Use `eqx.nn.inference_mode(model)` to switch between training and inference."
REMARKS |= dict.fromkeys(("deterministic", "training", "train", "is_training"), _MODE)

# Arguments of other functions of this package.
ELSEWHERE = {
    "num_layers": "`Stacked.create`",
    "bidirectional": "`Stacked.create`; `Bidirectional` combines two `RNN`s",
    "dropout": "`Stacked`; `RecurrentDropout(cell, ...)` applies dropout inside a cell",
    "recurrent_dropout": "`RecurrentDropout(cell, ...)`",
    "zoneout": "`Zoneout(cell, rate)`",
    "residual": "`Stacked`; `Residual(cell)` is a cell with a residual connection",
    "layer_norm": "`Stacked.create`; `LayerNormLSTMCell` and `LayerNormGRUCell` have norms inside",
    "time_major": "`RNN`",
    "reverse": "`RNN`",
    "keep_order": "`RNN`",
    **{
        name: f"`RNN`, also in a stack: `Stacked([RNN(a, {name}=...), RNN(b, {name}=...)])`"
        for name in ("unroll", "checkpoint", "truncate", "scan", "chunk_size")
    },
    "seq_lengths": "the call of `RNN`",
    "initial_carry": "the call of `RNN`",
    "return_carry": "the call of `RNN`",
    "use_bias": "a cell",
    "hidden_size": "a cell",
    "input_size": "a cell",
    "num_features": "a cell, as `input_size`",
}
