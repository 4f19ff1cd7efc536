from typing import NamedTuple

from .base import Gate, Part


class GRUGates(NamedTuple):
    """Pre-activations of both gates, and the candidate's input part and hidden part."""

    r: Gate
    z: Gate
    n_x: Part
    n_h: Part
