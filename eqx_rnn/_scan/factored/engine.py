"""Runs a `FactoredCell` over time: the same numbers as the plain scan, faster and leaner.

One step of a factored cell, with `p` the parameters, `x` the inputs and `c` the carry, is

    g = project_input(p, x) + project_hidden(p, c)
    c', y = update(p, c, g)

What makes it fast, forward:

- Time is cut into chunks. A chunk's inputs are projected by one large product before its steps
  run, and its gates are used while they are still in the cache.
- What `project_hidden` computes from the parameters alone (transposed copies) is made once.
- What `update` draws from its key alone is drawn for all steps of a chunk at once.
- A product that a CPU would run on one of its cores is put so that it runs on all, and one that
  would mostly copy its weight is put so that the weight stays where it is.

and backward, by a transpose written here and not derived by JAX:

- Only carries, summed gates and what was drawn are kept; the pointwise `update` is redone, next
  to its use. Where the carries tell its derivative, as of `h' = tanh(g)`, no gates are kept.
- Inside the loop only the cotangents of gates and carry are computed. The gradients of the
  parameters of the two projections come after each chunk, from all its steps at once, time being
  one more batch axis: a few large products in place of many small ones.
- Outputs that are part of the carry, as an LSTM's, are not kept twice.

With `checkpoint`, only the carries at the edges of the chunks are kept, and a chunk's other
carries and its gates are computed again.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, PyTree

from ..._base.cells import FactoredCell
from ..._base.contract import dtypes_of, keep_dtypes
from ..._kernels.linear import Derivative, linear
from ..._kernels.sharding import is_partly_manual
from .. import plain
from ..harmless import Harmless
from ..steps import Steps
from .backward import backward
from .forward import forward
from .plan import Arguments, Fixed, Run


def scan(
    cell: FactoredCell,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array],
    steps: Steps,
    *,
    safe: Harmless | None,
    **options: Any,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    """As `plain.scan`."""
    if is_partly_manual(inputs) or inputs.shape[0] == 0 or steps.cuts is not None:
        return plain.scan(cell, carry, inputs, initial, steps, safe=safe, **options)
    run = Run(cell, carry, inputs, steps, **options)
    while run.dtypes != dtypes_of(carry):
        carry = keep_dtypes(run.dtypes, carry)
        run = Run(cell, carry, inputs, steps, **options)
    if not run.applies:
        return plain.scan(cell, carry, inputs, initial, steps, safe=safe, **options)
    parameters, constants = run.take_apart(cell)
    initial = None if steps.resets is None else keep_dtypes(run.dtypes, initial)
    if safe is not None:
        safe = safe._replace(carry=keep_dtypes(run.dtypes, safe.carry))
    arguments = Arguments(parameters, carry, inputs, initial)
    return _differentiable(run, options)(arguments, Fixed(constants, steps, safe))


def _differentiable(run: Run, options: dict[str, Any]):
    """`run` as a function that JAX can differentiate any number of times, in any mode."""

    @jax.custom_jvp
    def call(arguments: Arguments, fixed: Fixed):
        return forward(run, arguments, fixed, save=False)[0]

    def plainly(arguments: Arguments, fixed: Fixed):
        cell = run.put_together(arguments.parameters + fixed.constants)
        _, carry, inputs, initial = arguments
        return plain.scan(cell, carry, inputs, initial, fixed.steps, safe=fixed.safe, **options)

    def rule(primals: Any, tangents: Any):
        arguments, fixed = primals
        outputs, saved = forward(run, arguments, fixed, save=True)

        is_zero = lambda tangent: isinstance(tangent, SymbolicZero)
        all_tangents = jax.tree.leaves(tangents[0], is_leaf=is_zero)
        moving = [i for i, tangent in enumerate(all_tangents) if not is_zero(tangent)]
        residuals, residual_tree = jax.tree.flatten((arguments, fixed, saved))
        output_leaves, output_tree = jax.tree.flatten(outputs)
        # These functions outlive the trace: they may hold no arrays of it.
        tree = jax.tree.structure(arguments)

        def of_moving(residuals: Sequence[Array], moved: Sequence[Array]) -> list[Array]:
            arguments, fixed, _ = residual_tree.unflatten(residuals)
            leaves = jax.tree.leaves(arguments)
            for i, leaf in zip(moving, moved, strict=True):
                leaves[i] = leaf
            return jax.tree.leaves(plainly(tree.unflatten(leaves), fixed))

        def transpose(residuals: Sequence[Array], cotangents: Sequence[Any]) -> list[Array]:
            arguments, fixed, saved = residual_tree.unflatten(residuals)
            final, (carries, ys) = output_tree.unflatten(cotangents)
            wanted = tree.unflatten([i in moving for i in range(tree.num_leaves)])
            results = final, carries, ys
            gradients = backward(run, arguments, fixed, saved, results, wanted)
            leaves = tree.flatten_up_to(gradients)  # `None` where none was asked for
            return [leaves[i] for i in moving]

        # The residuals begin with the leaves of the arguments.
        derivative = Derivative(of_moving, tuple(moving))
        arguments_of_map = [all_tangents[i] for i in moving]
        moved = linear(derivative, transpose, residuals, arguments_of_map, output_leaves)
        return outputs, output_tree.unflatten(moved)

    call.defjvp(rule, symbolic_zeros=True)
    return call
