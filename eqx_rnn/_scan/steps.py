"""What a run does, and what it does at each step."""

from typing import NamedTuple

from jaxtyping import Array


class Options(NamedTuple):
    """The options of a run.

    - `reverse`: from the last step to the first.
    - `unroll`: steps in one iteration of the loop.
    - `checkpoint`: the number of steps in a chunk whose carries the backward pass computes again;
        `None` keeps all carries.
    - `all_carries`: whether to return the carries of all steps.
    """

    reverse: bool = False
    unroll: int = 1
    checkpoint: int | None = None
    all_carries: bool = False


class Steps(NamedTuple):
    """Arrays with one entry per step. Nothing is differentiated by them.

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
