"""Gates that are named tuples. A `Part` is `None` in one of the two tuples that are added."""

from typing import NamedTuple

from jaxtyping import Array, Float, PyTree

Gate = Float[Array, "*batch hidden_size"]
Part = PyTree[Float[Array, "*batch features"]]


class GRUGates(NamedTuple):
    """Pre-activations of both gates, and the candidate's parts, of the input and of the state."""

    r: Gate
    z: Gate
    n_x: Part
    n_h: Part
