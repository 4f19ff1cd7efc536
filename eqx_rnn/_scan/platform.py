"""How many steps are computed at once on a CPU, and on accelerators.

On a CPU, the arrays of a chunk should stay in the processor's cache. A GPU waits for each kernel,
so fewer and larger ones are faster. Measured on two cores of an AMD EPYC, and on an NVIDIA H100.
Other accelerators get the values of the GPU.
"""

from typing import NamedTuple

import jax


class Platform(NamedTuple):
    """Sizes that depend on the platform.

    - `gate_bytes`: the gates of a chunk on the factored engine.
    - `chunk_bytes`: inputs and carries of a chunk of a `ChunkCell`, which is computed twice.
    - `one_chunk_bytes`: inputs and carries of all steps of a `ChunkCell` that are one chunk.
    - `shortest_chunk`, `longest_chunk`: bounds of the steps in a chunk of a `ChunkCell`.
    - `unroll`: the steps per iteration of a loop.
    """

    gate_bytes: int
    chunk_bytes: int
    one_chunk_bytes: int
    shortest_chunk: int
    longest_chunk: int
    unroll: int


CPU = Platform(
    gate_bytes=2_000_000,
    chunk_bytes=750_000,
    one_chunk_bytes=10_000_000,
    shortest_chunk=32,
    longest_chunk=128,
    unroll=1,
)
ACCELERATOR = Platform(
    gate_bytes=16_000_000,
    chunk_bytes=32_000_000,
    one_chunk_bytes=128_000_000,
    shortest_chunk=64,
    longest_chunk=65_536,
    unroll=4,
)


def current_platform() -> Platform:
    """The sizes for JAX's default backend."""
    return CPU if jax.default_backend() == "cpu" else ACCELERATOR
