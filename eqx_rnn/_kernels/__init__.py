"""Products with a weight, convolutions, jaxprs and sharding: the code that uses JAX's internals.

The tables list the names of JAX that are not part of its stable interface. Other folders use none
of them. `support.unsupported` detects a name that is missing or fails. Cells then run by the plain
scan, with one warning. `tracers`, `sharding` and `run_time` have substitutes and always load. An
equation with a parameter that is not known here is left to JAX.

From `jax.extend.core` (public, "may change without notice"):

| name | used in | when it goes |
|---|---|---|
| `Primitive` | linear, dots, run_time | find the class of JAX's own primitives, `type(sin_p)` |
| `Literal` | jaxprs | tell constants from variables by their attribute `val` |
| `ClosedJaxpr` | jaxprs | in JAX 0.12 a `Jaxpr` holds its constants; pass it alone |
| `jaxpr_as_fun` | jaxprs | `jax.core.eval_jaxpr` |

From `jax.interpreters` (public for new primitives, not documented):

| name | used in | when it goes |
|---|---|---|
| `ad.Zero` | linear | a zero tangent or cotangent; find its class in a rule for derivatives |
| `ad.defbilinear` | dots | `ad.primitive_jvps` and `ad.primitive_transposes`, for each operand |
| `ad.instantiate_zeros` | linear | `jnp.zeros` of the zero's type |
| `ad.primitive_jvps` | linear | the new way to register a rule for derivatives |
| `ad.primitive_transposes` | linear | the new way to register a transpose |
| `batching.fancy_primitive_batchers` | linear | a rule for `vmap` that knows the mapped axis |
| `batching.primitive_batchers` | dots, run_time | the new way to register a rule for `vmap` |
| `mlir.lower_fun` | linear, dots | lowers a primitive by a function; `jax.jit` inside `_run` |
| `mlir.register_lowering` | linear, dots, run_time | the new way to register a lowering |

From `jax.lax` (primitives, not documented):

| name | used in | when it goes |
|---|---|---|
| `dot_general_p` | dots | compare the name of the primitive |
| `conv_general_dilated_p` | convolutions | the same, and call `lax.conv_general_dilated` |
| `transpose_p` | dots | compare the name of the primitive |

From other modules (documented):

| name | used in | when it goes |
|---|---|---|
| `jax.core.Tracer` | tracers | has a substitute |
| `jax.custom_derivatives.SymbolicZero` | linear | find its class in a rule of `jax.custom_jvp` |
| `jax.typeof` | sharding, linear | `jax.core.get_aval` |
| `jax.lax.optimization_barrier` | forms, hoist | a barrier keeps XLA from undoing a form |
| `jax.lax.pcast` | sharding | needed within `jax.shard_map` only: a value varies over axes |
| `jax.sharding.reshard` | sharding | needed for explicit axes only: moves an array |

Attributes and parameters:

- Jaxprs (jaxprs, passes, evaluate, hoist, count): `jaxpr`, `consts`, `constvars`, `invars`,
  `outvars`, `eqns`, `effects`, `replace`, `debug_info.with_unknown_names`; of equations
  `primitive`, `params`, `invars`, `outvars`, `effects`, `replace`; `aval` of variables, `val` of
  literals. A jaxpr without `debug_info` needs no new names. The names of effects: those with
  "Debug" or "NamedAxis" in the class name may be left out of order.
- Types (sharding): `sharding.spec`, `sharding.mesh.axis_types`, `manual_axis_type.varying`, and the
  argument `manual_axis_type` of `jax.ShapeDtypeStruct`. Without them, arrays count as not spread.
- The mapped axis of a rule for `vmap` (linear): `size`, `name`, `spmd_name`, `explicit_mesh_axis`.
- Lowering (run_time): `module_context.lowering_parameters.for_export`. Without it, the error of
  `jax.export` for checked lengths is JAX's own.
- Names of primitives and their parameters (count): `dot_general` and its `dimension_numbers`,
  `conv_general_dilated` and its `dimension_numbers.rhs_spec`, `cond` and its `branches`, `scan` and
  its `length`, the `name` of a compiled function. Only `summary` needs them.
- Parameters of `dot_general_p`, `conv_general_dilated_p` and `transpose_p`: listed beside their
  use. An equation with others is left to JAX.
"""
