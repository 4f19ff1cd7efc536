"""Who is speaking? Nine people say the same two vowels. A recurrent network recognises the speaker.

An utterance is 7 to 29 frames of 12 numbers. The network reads it frame by frame. A linear layer
then predicts the speaker from the state of the network after the last frame.

    python notebooks/quickstart.py
    python notebooks/quickstart.py --cell lstm --epochs 20
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from tqdm import tqdm

import eqx_rnn

HERE = Path(__file__).parent
CELLS = {
    "gru": eqx_rnn.GRUCell,
    "lstm": eqx_rnn.LSTMCell,
    "mgu": eqx_rnn.MGUCell,
    "simple": eqx_rnn.SimpleCell,
}
NUM_FEATURES, NUM_UNITS, NUM_SPEAKERS = 12, 100, 9
NUM_TRAIN, BATCH_SIZE = 270, 30


# 1. The data: utterances of different lengths, padded to the longest.


class Utterances(NamedTuple):
    frames: Array  # (utterances, time, 12); zeros after the end of an utterance
    lengths: Array  # (utterances); how many frames are real
    speakers: Array  # (utterances); 0 to 8


def take(data: Utterances, index: slice | Array) -> Utterances:
    return jax.tree.map(lambda array: array[index], data)


def load_data() -> tuple[Utterances, Utterances]:
    file = np.load(HERE / "data" / "japanese_vowels.npz")
    lengths, speakers = file["lengths"].astype(np.int32), file["y"].astype(np.int32)
    frames = file["x_e6"] / 1e6  # (frames of all utterances, 12)

    # The scale comes from the training frames alone, without padding and test data.
    known = frames[: lengths[:NUM_TRAIN].sum()]
    frames = (frames - known.mean(axis=0)) / known.std(axis=0)

    valid = np.arange(lengths.max()) < lengths[:, None]  # (utterances, time)
    padded = np.zeros((*valid.shape, NUM_FEATURES), np.float32)
    padded[valid] = frames
    data = Utterances(jnp.asarray(padded), jnp.asarray(lengths), jnp.asarray(speakers))
    return take(data, slice(None, NUM_TRAIN)), take(data, slice(NUM_TRAIN, None))


# 2. The model: a cell that runs over time, and a linear layer.


class Classifier(eqx.Module):
    rnn: eqx_rnn.RNN
    head: eqx.nn.Linear

    def __init__(self, cell: str, *, key: Array):
        cell_key, head_key = jr.split(key)
        self.rnn = eqx_rnn.RNN(CELLS[cell](NUM_FEATURES, NUM_UNITS, key=cell_key))
        self.head = eqx.nn.Linear(NUM_UNITS, NUM_SPEAKERS, key=head_key)

    def __call__(self, frames: Array, lengths: Array) -> Array:
        """From frames (batch, time, 12) and lengths (batch,) to logits (batch, 9)."""
        # The carry does not change after the end of an utterance: this is the last valid one.
        carry, _ = self.rnn(frames, seq_lengths=lengths, return_carry=True)
        state = getattr(carry, "hidden", carry)  # (batch, 100); an LSTM's carry has two parts
        return jax.vmap(self.head)(state)


# 3. Training: nothing here knows that the model is recurrent.


def loss_fn(model: Classifier, batch: Utterances) -> tuple[Array, Array]:
    logits = model(batch.frames, batch.lengths)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.speakers)
    return losses.mean(), (logits.argmax(axis=-1) == batch.speakers).mean()


def train(model: Classifier, data: Utterances, epochs: int, *, key: Array) -> Classifier:
    num_batches = NUM_TRAIN // BATCH_SIZE
    schedule = optax.cosine_decay_schedule(3e-3, decay_steps=epochs * num_batches)
    optimizer = optax.adamw(schedule, weight_decay=1e-3)
    opt_state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, opt_state, batch):
        (loss, accuracy), grads = eqx.filter_value_and_grad(loss_fn, has_aux=True)(model, batch)
        params = eqx.filter(model, eqx.is_inexact_array)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return eqx.apply_updates(model, updates), opt_state, loss, accuracy

    print("JAX compiles the training step for a few seconds.")
    with tqdm(jr.split(key, epochs), desc="training", unit="epoch") as progress:
        for epoch_key in progress:
            history = []
            for index in jr.permutation(epoch_key, NUM_TRAIN).reshape(num_batches, BATCH_SIZE):
                model, opt_state, *metrics = step(model, opt_state, take(data, index))
                history.append(metrics)
            loss, accuracy = np.mean(history, axis=0)
            progress.set_postfix(loss=f"{loss:.4f}", accuracy=f"{accuracy:.1%}")
    return model


@eqx.filter_jit
def predict(model: Classifier, frames: Array, lengths: Array) -> Array:
    """The probability of each speaker, (batch, 9)."""
    return jax.nn.softmax(model(frames, lengths))


# 4. A look at the results.


def draw(model: Classifier, test: Utterances, guesses: Array, file: Path) -> None:
    figure = Figure(figsize=(11, 4.6), dpi=150, layout="constrained")  # needs no display
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    draw_unfolding(left, model, take(test, test.lengths.argmax()))
    draw_confusion(right, test.speakers, guesses)
    figure.savefig(file)


def draw_unfolding(axes, model: Classifier, utterance: Utterances) -> None:
    # The same utterance, cut after 1, 2, 3, ... frames: one batch with different lengths.
    cuts = jnp.arange(1, utterance.lengths + 1)
    copies = jnp.broadcast_to(utterance.frames, (cuts.size, *utterance.frames.shape))
    curves = predict(model, copies, cuts)  # (frames heard, 9)

    speaker = int(utterance.speakers)
    others = axes.plot(cuts, jnp.delete(curves, speaker, axis=1), color="0.75", linewidth=1.2)
    (true,) = axes.plot(cuts, curves[:, speaker], color="#08519c", linewidth=3)
    axes.legend([true, others[0]], ["the true speaker", "the eight others"], loc="center right")
    axes.set(title=f"Speaker {speaker + 1}, heard frame by frame", xlabel="frames heard")
    axes.set(ylabel="probability", xlim=(1, cuts.size), ylim=(-0.02, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.spines[["top", "right"]].set_visible(False)


def draw_confusion(axes, speakers: Array, guesses: Array) -> None:
    counts = np.zeros((NUM_SPEAKERS, NUM_SPEAKERS), int)
    np.add.at(counts, (np.asarray(speakers), np.asarray(guesses)), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)  # numbers of utterances differ
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.5 else "tab:red"
            axes.text(column, row, count, color=color, ha="center", va="center", weight="bold")
    names = range(1, NUM_SPEAKERS + 1)
    axes.set_xticks(range(NUM_SPEAKERS), names)
    axes.set_yticks(range(NUM_SPEAKERS), names)
    accuracy = counts.trace() / counts.sum()
    axes.set(title=f"{accuracy:.1%} of {counts.sum()} test utterances correct")
    axes.set(xlabel="predicted speaker", ylabel="true speaker")


# 5. The program.


def main(cell: str, epochs: int, seed: int, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model_key, train_key, other_key = jr.split(jr.key(seed), 3)
    train_data, test = load_data()

    model = Classifier(cell, key=model_key)
    model = train(model, train_data, epochs, key=train_key)

    probabilities = predict(model, test.frames, test.lengths)  # (370, 9)
    guesses = probabilities.argmax(axis=-1)
    print(f"test accuracy: {(guesses == test.speakers).mean():.1%}")

    picture = out / f"quickstart_{cell}.png"
    draw(model, test, guesses, picture)
    print(f"picture: {picture}")

    # The file holds the weights only. They replace the weights of a new model.
    weights = out / f"quickstart_{cell}.eqx"
    eqx.tree_serialise_leaves(weights, model)
    loaded = eqx.tree_deserialise_leaves(weights, Classifier(cell, key=other_key))
    if not jnp.array_equal(predict(loaded, test.frames, test.lengths), probabilities):
        raise SystemExit(f"the model loaded from {weights} predicts other speakers")
    print(f"model: {weights} (loaded again: the same predictions)")


def positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Train a recurrent network to tell nine speakers apart.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--cell", choices=CELLS, default="gru", help="the cell to run over time")
    parser.add_argument("--epochs", type=positive_int, default=40, help="passes over the data")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and data order")
    parser.add_argument("--out", type=Path, default=HERE / "out", help="folder for the files")
    main(**vars(parser.parse_args()))
