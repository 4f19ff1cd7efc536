"""The number of steps in a chunk."""

import pytest

from eqx_rnn._scan.chunks import (
    CACHE_BYTES,
    FEWEST_ROWS,
    SHORTEST,
    WHOLE_BYTES,
    best_chunk_size,
)

SMALL = 1000  # bytes of weights


@pytest.mark.parametrize("num_steps", [1, 7, 50, 97, 100, 784, 997, 1000])
@pytest.mark.parametrize(("rows", "step_bytes"), [(1, 1000), (8, 10_000), (64, 300_000)])
def test_bounds(num_steps, rows, step_bytes):
    size = best_chunk_size(num_steps, rows, step_bytes, SMALL)
    most = max(num_steps // 5, FEWEST_ROWS // rows, SHORTEST)
    target = min(max(CACHE_BYTES // step_bytes, SHORTEST), most, num_steps)
    is_near = max(1, target // 2) <= size < 2 * target
    is_whole = size == num_steps and num_steps * step_bytes < WHOLE_BYTES
    assert is_near or is_whole


@pytest.mark.parametrize("rows", [0, 1, 1000])
@pytest.mark.parametrize("step_bytes", [0, 1, 10**9])
def test_extreme_sizes(rows, step_bytes):
    assert 1 <= best_chunk_size(100, rows, step_bytes, SMALL) <= 100


@pytest.mark.parametrize(("num_steps", "step_bytes"), [(100, 100_000), (784, 131_072)])
def test_no_remainder_where_a_size_near_leaves_none(num_steps, step_bytes):
    assert num_steps % best_chunk_size(num_steps, 64, step_bytes, SMALL) == 0


@pytest.mark.parametrize(("step_bytes", "is_whole"), [(5_000, True), (300_000, False)])
def test_a_sequence_of_a_prime_length_is_one_chunk_if_it_is_short(step_bytes, is_whole):
    assert (best_chunk_size(499, 64, step_bytes, SMALL) == 499) == is_whole


def test_large_weights_make_longer_chunks():
    sizes = [best_chunk_size(200, 64, 250_000, weight) for weight in (SMALL, 8_000_000, 24_000_000)]
    assert sizes == [8, 8, 25]


def test_small_gates_beside_the_weights_make_one_chunk():
    assert best_chunk_size(150, 64, 2000, 600_000) == 150
    assert best_chunk_size(150, 64, 2000, SMALL) < 150


def test_few_rows_make_longer_chunks():
    assert best_chunk_size(1000, 1, 400, SMALL) > best_chunk_size(1000, 64, 400, SMALL)
