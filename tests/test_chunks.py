"""The number of steps in a chunk."""

import functools

import jax.numpy as jnp
import pytest

from eqx_rnn._scan import chunks
from eqx_rnn._scan.chunks import (
    FEWEST_ROWS,
    SHORTEST,
    overlapping,
)
from eqx_rnn._scan.platform import ACCELERATOR, CPU

best_chunk_size = functools.partial(chunks.best_chunk_size, platform=CPU)
best_recomputed_size = functools.partial(chunks.best_recomputed_size, platform=CPU)

SMALL = 1000  # bytes of weights


@pytest.mark.parametrize("num_steps", [1, 7, 50, 97, 100, 784, 997, 1000])
@pytest.mark.parametrize(("rows", "step_bytes"), [(1, 1000), (8, 10_000), (64, 300_000)])
def test_bounds(num_steps, rows, step_bytes):
    size = best_chunk_size(num_steps, rows, step_bytes, SMALL)
    if num_steps * step_bytes <= 2 * CPU.gate_bytes:
        assert size == num_steps
        return
    most = max(num_steps // 5, FEWEST_ROWS // rows, SHORTEST)
    target = min(max(CPU.gate_bytes // step_bytes, SHORTEST), most, num_steps)
    assert max(1, target // 2) <= size < 2 * target


@pytest.mark.parametrize("rows", [0, 1, 1000])
@pytest.mark.parametrize("step_bytes", [0, 1, 10**9])
def test_extreme_sizes(rows, step_bytes):
    assert 1 <= best_chunk_size(100, rows, step_bytes, SMALL) <= 100


@pytest.mark.parametrize(("num_steps", "step_bytes"), [(100, 100_000), (784, 131_072)])
def test_no_remainder_where_a_size_near_leaves_none(num_steps, step_bytes):
    assert num_steps % best_chunk_size(num_steps, 64, step_bytes, SMALL) == 0


@pytest.mark.parametrize("num_steps", [31, 97, 227, 499, 997])
def test_the_last_chunk_lacks_few_steps(num_steps):
    size = best_chunk_size(num_steps, 64, 200_000, SMALL)
    assert 1 < size < num_steps
    assert -num_steps % size <= 2


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("num_steps", "size"), [(11, 4), (8, 4), (4, 4), (5, 4), (3, 3), (7, 1)])
def test_overlapping_chunks_have_all_steps(num_steps, size, reverse):
    piece = overlapping(num_steps, size, reverse)
    time = jnp.arange(num_steps)
    chunks = [piece.chunk(time, k).tolist() for k in range(piece.number)]
    assert all(len(chunk) == size for chunk in chunks)
    whole = chunks[:-1] if reverse else chunks[1:]
    assert len({t for chunk in whole for t in chunk}) == size * len(whole)
    assert {t for chunk in chunks for t in chunk} == set(range(num_steps))


def test_large_weights_make_longer_chunks():
    sizes = [best_chunk_size(200, 64, 250_000, weight) for weight in (SMALL, 8_000_000, 24_000_000)]
    assert sizes == [8, 8, 25]


def test_small_gates_beside_the_weights_make_one_chunk():
    assert best_chunk_size(150, 64, 30_000, 24_000_000) == 150
    assert best_chunk_size(150, 64, 30_000, SMALL) < 150


def test_small_gates_make_one_chunk():
    assert best_chunk_size(100, 64, 40_000, SMALL) == 100
    assert best_chunk_size(102, 64, 40_000, SMALL) < 102


def test_few_rows_make_longer_chunks():
    assert best_chunk_size(1000, 1, 6000, SMALL) > best_chunk_size(1000, 64, 6000, SMALL)


@pytest.mark.parametrize(
    ("num_steps", "step_bytes"), [(4096, 12_000), (1000, 98_000), (997, 12_000)]
)
def test_recomputed_chunks(num_steps, step_bytes):
    size = best_recomputed_size(num_steps, step_bytes)
    assert 16 <= size <= 256
    assert num_steps % size == 0 or num_steps == 997  # a prime


def test_small_sequences_are_one_chunk():
    assert best_recomputed_size(1000, 9000) == 1000
    assert best_recomputed_size(100_000, 8000) < 256
    assert best_recomputed_size(0, 8000) == 1


@pytest.mark.parametrize("num_steps", [100, 5000, 1_000_000])
@pytest.mark.parametrize("step_bytes", [500, 12_000, 400_000])
def test_chunks_are_longer_on_an_accelerator(num_steps, step_bytes):
    most = 2 * max(ACCELERATOR.chunk_bytes, ACCELERATOR.shortest_chunk * step_bytes)
    size = chunks.best_recomputed_size(num_steps, step_bytes, ACCELERATOR)
    assert best_recomputed_size(num_steps, step_bytes) <= size <= num_steps
    assert size == num_steps or size * step_bytes <= most
    sizes = num_steps, 64, step_bytes, SMALL
    longer = chunks.best_chunk_size(*sizes, ACCELERATOR)
    assert best_chunk_size(*sizes) <= longer <= num_steps
