"""A plan's shardings as JAX objects: PartitionSpecs and NamedShardings, in the trees of the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from swplan.errors import PlanMismatchError
from swplan.plan import Plan, Tensor


class Shardings(NamedTuple):
    """Shardings of a step, in its trees; for a plan loaded from a file, dicts by name.

    Attributes:
      inputs: a tuple of the trees of the positional arguments (then a dict of keyword arguments, if there were any).
      outputs: the tree of what the step returns.
    """

    inputs: Any
    outputs: Any


def shardings(plan: Plan) -> Shardings:
    """The PartitionSpecs of a plan."""
    return _trees(plan, _partition_spec)


def named_shardings(plan: Plan, mesh: Mesh) -> Shardings:
    """The NamedShardings of a plan on a mesh.

    Raises:
      PlanMismatchError: the mesh lacks an axis of the plan, or has it in another size.
    """
    for axis in plan.axes:
        if mesh.shape.get(axis.name) != axis.size:
            raise PlanMismatchError(
                f"the plan has the axis {axis.name!r} of size {axis.size}; the mesh has {dict(mesh.shape)}.\n"
                f"  Make it with jax.make_mesh({tuple(a.size for a in plan.axes)}, "
                f"{tuple(a.name for a in plan.axes)}, ...)."
            )
    return _trees(plan, lambda tensor: NamedSharding(mesh, _partition_spec(tensor)))


def _partition_spec(tensor: Tensor) -> PartitionSpec:
    entries = [part[0] if len(part) == 1 else part or None for part in tensor.spec]
    while entries and entries[-1] is None:
        entries.pop()
    return PartitionSpec(*entries)


def _trees(plan: Plan, make: Callable[[Tensor], Any]) -> Shardings:
    ins, outs = [make(t) for t in plan.inputs], [make(t) for t in plan.outputs]
    program = getattr(plan, "program", None)
    if program is None:
        names = lambda tensors, made: dict(zip((t.name for t in tensors), made, strict=True))  # noqa: E731
        return Shardings(names(plan.inputs, ins), names(plan.outputs, outs))
    args, kwargs = jax.tree.unflatten(program.in_tree, ins)
    result = jax.tree.unflatten(program.out_tree, outs)
    if plan.precision.loss_scaling:
        args, result = args[1:], result[1]
    return Shardings((*args, kwargs) if kwargs else args, result)
