"""How many steps are computed at once on a CPU, and on devices that launch kernels.

On a CPU, the arrays of a chunk should stay in the processor's cache. A GPU waits for each kernel,
so fewer and larger ones are faster. Measured on two cores of an AMD EPYC, and on an NVIDIA H100.
"""

from typing import NamedTuple

import jax


class Platform(NamedTuple):
    """Sizes in bytes, and numbers of steps.

    - `gates`: the gates of a chunk on the factored engine.
    - `chunk`: inputs and carries of a chunk of a `ChunkCell`, which is computed twice.
    - `whole`: inputs and carries of all steps of a `ChunkCell` that are one chunk.
    - `shortest`, `longest`: bounds of the steps in a chunk of a `ChunkCell`.
    - `unroll`: the steps per iteration of a loop.
    """

    gates: int
    chunk: int
    whole: int
    shortest: int
    longest: int
    unroll: int


CPU = Platform(gates=2_000_000, chunk=750_000, whole=10_000_000, shortest=32, longest=128, unroll=1)
GPU = Platform(
    gates=16_000_000, chunk=32_000_000, whole=128_000_000, shortest=64, longest=65_536, unroll=4
)


def current_platform() -> Platform:
    """The sizes for JAX's default backend."""
    return CPU if jax.default_backend() == "cpu" else GPU
