"""The pages of the gallery: the cells of each family, when to use them, and links to papers."""

# file: (title, introduction, {cell: when to use it})
FAMILIES = {
    "simple": (
        "Simple cells",
        "One activation and no gates.",
        {
            "SimpleCell": "as a baseline, for short dependencies, and for studies of dynamics",
            "IndRNNCell": "for many stacked layers with few weights: it has no recurrent matrix",
        },
    ),
    "gated": (
        "Gated cells",
        "Gates decide how much of the state a step keeps. Start here if you are unsure.",
        {
            "LSTMCell": "as the first choice for sequences of up to some hundred steps",
            "GRUCell": "like `LSTMCell`, with three quarters of its weights and one state",
            "MGUCell": "in place of a GRU, with two thirds of its weights",
            "PeepholeLSTMCell": "for exact timing and counting, because the gates see the memory",
            "UGRNNCell": "if one gate is enough, with half the weights of an LSTM",
            "JANETCell": "with `forget_bias=chrono(max_steps)`, for long dependencies at half the "
            "weights of an LSTM",
            "MinimalRNNCell": "for a state that stays in the space of the embedded inputs",
            "SLSTMCell": "for the storage of items that later inputs have to overwrite",
            "LayerNormLSTMCell": "if training of an LSTM is unstable, in deep or wide networks",
            "LayerNormGRUCell": "if training of a GRU is unstable, in deep or wide networks",
        },
    ),
    "dynamics": (
        "Steps of differential equations",
        "A step of these cells is a time step of a system whose behaviour over time is known.",
        {
            "AntisymmetricRNNCell": "for dependencies over hundreds of steps",
            "CoRNNCell": "for long dependencies and inputs that oscillate",
            "LEMCell": "for inputs with several time scales, over hundreds of steps",
            "CTRNNCell": "for models of neural circuits",
            "LMUCell": "for tasks that depend on a window of known length, `theta` steps",
        },
    ),
    "convolutional": (
        "Convolutional cells",
        "The state is an image or a volume. Convolutions take the place of matrix products. "
        "`ConvLSTMCell(3, 8, kernel_size=(3, 3), key=key)` reads images with 3 channels, which "
        "come last.",
        {
            "ConvLSTMCell": "for videos, maps and volumes that change over time",
            "ConvGRUCell": "like `ConvLSTMCell`, with fewer weights and one state",
        },
    ),
    "real_states": (
        "Linear recurrences with a real state",
        "The step is linear in the state, so `RNN` runs them in "
        "[chunks](../long_sequences.md#how-rnn-runs-them). `SRU2Cell` is the exception: its gates "
        "see the state.",
        {
            "MinGRUCell": "as the first linear recurrence to try in place of a GRU",
            "MinLSTMCell": "like `MinGRUCell`, with separate gates to forget and to take in",
            "GILRCell": "as the plain form of a gated linear recurrence",
            "HGRNCell": "in stacks, with a `lower_bound` that grows from layer to layer",
            "QRNNCell": "if gates need the last few inputs, not only the current one",
            "SRUCell": "for deep stacks: its highway passes the inputs on",
            "SRU2Cell": "like `SRUCell`, if the gates have to see the state",
            "RGLRUCell": "as the recurrence of your own block, or for RecurrentGemma's weights",
            "HawkCell": "for the complete recurrent block of Hawk and Griffin",
            "RWKV4Cell": "for weights of RWKV-4, and as its time mixing",
            "RWKV4CoreCell": "as the memory of `RWKV4Cell` with projections of your own",
        },
    ),
    "state_spaces": (
        "State space models",
        "Linear recurrences with complex states, pairs of states, or several states per feature.",
        {
            "LRUCell": "for thousands of steps of smooth inputs, such as sensor data",
            "S4DCell": "for long signals, with a bank of states per feature",
            "S5Cell": "for long signals, with one state space for all features",
            "LinOSSCell": "for long signals that oscillate",
            "MambaCell": "for text and other discrete inputs, where the step depends on the input",
            "SelectiveSSMCell": "as the recurrence of `MambaCell` with projections of your own",
            "LegendreMemoryCell": "for a fixed memory of the last `theta` steps, without weights",
        },
    ),
    "matrix": (
        "Matrix memories",
        "Each head holds a matrix of keys and values. Cells with `Core` in their names, and "
        "`SSDCell`, are the memories alone; the others add projections, gates and norms.",
        {
            "GLACell": "for language, with a decay for each key that depends on the input",
            "LinearAttentionCell": "for attention over all steps without decay",
            "RetentionCell": "for fixed decays that differ between heads, with rotated positions",
            "Mamba2Cell": "for the block of Mamba-2, with one decay per head",
            "HGRN2Cell": "for keys that are tied to the forget gate, in fewer weights",
            "MLSTMCell": "for exponential input gates, which can overrule all earlier values",
            "DeltaNetCell": "for recall: a new value replaces the old value of its key",
            "GatedDeltaNetCell": "for recall with a memory that can also clear itself",
            "RWKV6Cell": "for weights of RWKV-6 and RWKV-5",
            "RWKV7Cell": "for weights of RWKV-7, and for a memory that decays and replaces",
            "GLACoreCell": "with queries, keys, values and decays of your own",
            "LinearAttentionCoreCell": "with queries, keys and values of your own",
            "RetentionCoreCell": "with queries, keys and values of your own",
            "SSDCell": "with time steps and projections of your own",
            "HGRN2CoreCell": "with queries, values and decays of your own",
            "MLSTMCoreCell": "with queries, keys, values and gates of your own",
            "DeltaNetCoreCell": "with queries, keys, values and write strengths of your own",
            "GatedDeltaNetCoreCell": "with decays and write strengths of your own",
            "RWKV6CoreCell": "with receptances, keys, values and decays of your own",
            "RWKV7CoreCell": "with vectors of your own that say which parts to remove and write",
        },
    ),
}

# The papers that the docstrings cite without a number of arXiv: a piece of the text, and a link.
PAPERS = {
    "Finding structure in time": "https://doi.org/10.1207/s15516709cog1402_1",
    "Long short-term memory": "https://doi.org/10.1162/neco.1997.9.8.1735",
    "Learning to forget": "https://doi.org/10.1162/089976600300015015",
    "Learning phrase representations using RNN encoder-decoder for statistical machine "
    "translation": "https://arxiv.org/abs/1406.1078",
    "Minimal gated unit for recurrent neural networks": "https://arxiv.org/abs/1603.09420",
    "Independently recurrent neural network (IndRNN): building a longer and deeper RNN": (
        "https://arxiv.org/abs/1803.04831"
    ),
    "Recurrent nets that time and count": "https://doi.org/10.1109/IJCNN.2000.861302",
    "Framewise phoneme classification with bidirectional LSTM and other neural network "
    "architectures": "https://doi.org/10.1016/j.neunet.2005.06.042",
    "Capacity and trainability in recurrent neural networks": "https://arxiv.org/abs/1611.09913",
    "Convolutional LSTM network: a machine learning approach for precipitation nowcasting": (
        "https://arxiv.org/abs/1506.04214"
    ),
    "Delving deeper into convolutional networks for learning video representations": (
        "https://arxiv.org/abs/1511.06432"
    ),
    "Quasi-recurrent neural networks": "https://arxiv.org/abs/1611.01576",
    "Parallelizing linear recurrent neural nets over sequence length": (
        "https://arxiv.org/abs/1709.04057"
    ),
    "Approximation of dynamical systems by continuous time recurrent neural networks": (
        "https://doi.org/10.1016/S0893-6080(05)80125-X"
    ),
    "Training excitatory-inhibitory recurrent neural networks for cognitive tasks": (
        "https://doi.org/10.1371/journal.pcbi.1004792"
    ),
    "Artificial neural networks for neuroscientists: a primer": (
        "https://doi.org/10.1016/j.neuron.2020.09.005"
    ),
    "Legendre memory units: continuous-time representation in recurrent neural networks": (
        "https://proceedings.neurips.cc/paper/2019/hash/952285b9b7e7a1be5aa7849f32ffff05-Abstract.html"
    ),
}
