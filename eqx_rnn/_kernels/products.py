"""Products of arrays with a weight."""

from jaxtyping import Array, Float


def project(weight: Float[Array, "out in"], x: Float[Array, "*any in"]) -> Float[Array, "*any out"]:
    """`x @ weight.T`: the last axis of `x` times a weight that is stored as `(out, in)`."""
    return x @ weight.T
