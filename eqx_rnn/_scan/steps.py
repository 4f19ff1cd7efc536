from typing import NamedTuple

from jaxtyping import Array


class Steps(NamedTuple):
    """What a run does at each step. Nothing is differentiated by it.

    - `valid`: bool, `(time, *batch)`: where false, the carry is held and the output is zero.
    - `resets`: bool, `(time, *batch)`: where true, the initial carry replaces the carry before
        the step. Without effect where `valid` is false.
    - `keys`: `(time,)`, one random key per step.
    - `cuts`: bool, `(time,)`: where true, no gradient flows to the carry before the step. For a
        time axis that cannot be cut into pieces.
    """

    valid: Array | None
    resets: Array | None
    keys: Array | None
    cuts: Array | None = None
