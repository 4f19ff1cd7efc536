from typing import NamedTuple

from jaxtyping import Array


class Steps(NamedTuple):
    """What a run is told about each step, and nothing is differentiated by.

    - `valid`: bool, `(time, *batch)`: where false, the carry is held and the output is zero.
    - `resets`: bool, `(time, *batch)`: where true, the initial carry replaces the carry before
        the step. Without effect where `valid` is false.
    - `keys`: `(time,)`, a random key a step.
    """

    valid: Array | None
    resets: Array | None
    keys: Array | None
