"""The options of a run, and the options of each step."""

from typing import NamedTuple

from jaxtyping import Array

from .._time import Method
from .platform import CPU, Platform


class Options(NamedTuple):
    """The options of a run.

    - `reverse`: whether to run from the last step to the first.
    - `unroll`: the number of steps per iteration of the loop.
    - `checkpoint`: the number of steps in a chunk. The backward pass computes the carries of each
        chunk again. `None` keeps all carries.
    - `all_carries`: whether to return the carries of all steps.
    - `method`, `chunk_size`: how a `ChunkCell` runs: see `RNN`.
    - `platform`: the sizes for the platform of this run.
    """

    reverse: bool = False
    unroll: int = 1
    checkpoint: int | None = None
    all_carries: bool = False
    method: Method = "auto"
    chunk_size: int | None = None
    platform: Platform = CPU


class Steps(NamedTuple):
    """Arrays with one entry per step. They have no gradients.

    - `valid`: bool, `(time, *batch)`: where false, the carry is held and the output is zero.
    - `resets`: bool, `(time, *batch)`: where true, the initial carry replaces the carry before
        the step. They have no effect where `valid` is false.
    - `keys`: `(time,)`, one random key per step.
    - `cuts`: bool, `(time,)`: where true, no gradient flows to the carry before the step. Used for
        a time axis that cannot be cut into pieces.
    """

    valid: Array | None
    resets: Array | None
    keys: Array | None
    cuts: Array | None = None
