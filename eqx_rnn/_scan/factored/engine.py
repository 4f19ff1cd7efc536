"""Runs a `FactoredCell` over time. Same numbers as the plain scan, in less time and memory.

One step of a factored cell, with `p` the parameters, `x` the inputs and `c` the carry, is

    g = project_input(p, x) + project_hidden(p, c)
    c', y = update(p, c, g)

The forward pass is fast for these reasons:

- Inputs are projected step by step, or in one large product for a chunk of steps, whichever is
  faster. `plan` decides.
- `project_hidden` computes arrays from parameters alone (transposed copies) only once.
- `update` draws random arrays from its key for all steps of a chunk at once.
- Products take the form that runs on all cores of a CPU, or that does not copy the weight.

The backward pass is a transpose that is written here, not derived by JAX:

- Only carries, activated gates and drawn arrays are kept. The backward pass computes the cheap
  operations of `update` again. If its derivative follows from the carries, as for `h' = tanh(g)`,
  no gates are kept.
- Time is cut into chunks. The loop over the steps of a chunk computes only the cotangents of gates
  and carry. The gradients of the parameters of both projections are computed after each chunk, from
  all its steps at once, with time as one more batch axis: a few large products replace many small
  ones.
- Outputs that are part of the carry, as for an LSTM, are not kept twice.

With `checkpoint`, only the carries between chunks are kept. The backward pass computes the other
carries and the gates of a chunk again.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jaxtyping import Array, PyTree

from ..._base.cells import FactoredCell, RNNCellBase
from ..._base.contract import dtypes_of, keep_dtypes
from ..._kernels.linear import Derivative, is_zero, linear
from .. import plain
from ..skipped import Substitute
from ..steps import Options, Steps
from .backward import backward
from .differentiate import update_in_two_passes
from .forward import forward
from .plan import Arguments, Fixed, Plan, plan


def scan(
    cell: FactoredCell,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array],
    steps: Steps,
    options: Options,
    *,
    substitute: Substitute | None,
    chunk_size: int | None = None,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    """Like `plain.scan`, which runs cells that have no plan. For `chunk_size`, see `plan`."""
    planned = plan(cell, carry, inputs, steps, options, chunk_size=chunk_size)
    if isinstance(planned, str):
        return plain.scan(cell, carry, inputs, initial, steps, options, substitute=substitute)
    return run(planned, cell, carry, inputs, initial, steps, substitute=substitute)


def run(
    plan: Plan,
    cell: RNNCellBase,
    carry: PyTree[Array],
    inputs: Array,
    initial: PyTree[Array],
    steps: Steps,
    *,
    substitute: Substitute | None,
) -> tuple[PyTree[Array], tuple[PyTree[Array] | None, PyTree[Array]]]:
    """Runs a plan that was made for these arrays."""
    dtypes = dtypes_of(plan.carry)
    parameters, constants = plan.parts.take_apart(cell)
    initial = None if steps.resets is None else keep_dtypes(dtypes, initial)
    if substitute is not None:
        substitute = substitute._replace(carry=keep_dtypes(dtypes, substitute.carry))
    arguments = Arguments(parameters, keep_dtypes(dtypes, carry), inputs, initial)
    return _differentiable(plan)(arguments, Fixed(constants, steps, substitute))


def _differentiable(plan: Plan):
    """A plan as a function that JAX can differentiate any number of times, in any mode."""

    @jax.custom_jvp
    def call(arguments: Arguments, fixed: Fixed):
        return forward(plan, arguments, fixed)[0]

    def step_by_step(arguments: Arguments, fixed: Fixed):
        parameters, carry, inputs, initial = arguments
        cell = plan.parts.put_together(parameters + fixed.constants)
        arrays = cell, carry, inputs, initial, fixed.steps
        return plain.scan(*arrays, plan.options, substitute=fixed.substitute)

    def rule(primals: Any, tangents: Any):
        arguments, fixed = primals
        passes = update_in_two_passes(plan, skips=fixed.steps.valid is not None)
        outputs, saved = forward(plan, arguments, fixed, passes)

        all_tangents = jax.tree.leaves(tangents[0], is_leaf=is_zero)
        moving = [i for i, tangent in enumerate(all_tangents) if not is_zero(tangent)]
        residuals, residual_tree = jax.tree.flatten((arguments, fixed, saved))
        output_leaves, output_tree = jax.tree.flatten(outputs)
        # The functions below outlive the trace, so they must not hold its arrays.
        tree = jax.tree.structure(arguments)

        def of_moving(residuals: Sequence[Array], moved: Sequence[Array]) -> list[Array]:
            arguments, fixed, _ = residual_tree.unflatten(residuals)
            leaves = jax.tree.leaves(arguments)
            for i, leaf in zip(moving, moved, strict=True):
                leaves[i] = leaf
            return jax.tree.leaves(step_by_step(tree.unflatten(leaves), fixed))

        def transpose(residuals: Sequence[Array], cotangents: Sequence[Any]) -> list[Array]:
            arguments, fixed, saved = residual_tree.unflatten(residuals)
            final, (carries, ys) = output_tree.unflatten(cotangents)
            results = final, carries, ys
            wanted = tree.unflatten([i in moving for i in range(tree.num_leaves)])
            arrays = arguments, fixed, saved, results
            gradients = backward(plan, passes, *arrays, wanted)
            leaves = tree.flatten_up_to(gradients)  # `None` for arguments that are not wanted
            return [leaves[i] for i in moving]

        # The residuals begin with the leaves of the arguments.
        derivative = Derivative(of_moving, tuple(moving))
        moved_by = [all_tangents[i] for i in moving]
        moved = linear(derivative, transpose, residuals, moved_by, output_leaves)
        return outputs, output_tree.unflatten(moved)

    call.defjvp(rule, symbolic_zeros=True)
    return call
