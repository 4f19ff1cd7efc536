"""The number of steps in a chunk."""

import pytest

from eqx_rnn._scan.chunks import CACHE_BYTES, MOST_STEPS, SHORTEST, best_chunk_size

SMALL = 1000  # bytes of weights


@pytest.mark.parametrize("num_steps", [1, 7, 50, 97, 100, 784, 1000])
@pytest.mark.parametrize("step_bytes", [0, 1, 10_000, 300_000, 10_000_000])
def test_bounds(num_steps, step_bytes):
    size = best_chunk_size(num_steps, step_bytes, SMALL)
    most = max(MOST_STEPS, num_steps // 5)
    target = min(max(CACHE_BYTES // max(step_bytes, 1), SHORTEST), most)
    assert max(1, target // 2) <= size < 2 * target


@pytest.mark.parametrize(("num_steps", "step_bytes"), [(100, 100_000), (784, 131_072)])
def test_no_remainder_where_a_size_near_leaves_none(num_steps, step_bytes):
    assert num_steps % best_chunk_size(num_steps, step_bytes, SMALL) == 0


def test_large_weights_make_longer_chunks():
    sizes = [best_chunk_size(200, 250_000, weight) for weight in (SMALL, 8_000_000, 24_000_000)]
    assert sizes == [8, 8, 25]
