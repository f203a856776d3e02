"""A planned step on trees of arrays: places its inputs, donates the state, runs, with next to no work per call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from swplan.errors import PlanMismatchError
from swplan.ir.device import DeviceProgram
from swplan.passes.memory import peak_memory
from swplan.plan import Plan
from swplan.runtime.build import COMPILER_OPTIONS, Executable, build, place
from swplan.runtime.compiler import xla
from swplan.runtime.conformance import Conformance, compare
from swplan.runtime.loss_scaling import initial_state
from swplan.runtime.mesh import device_mesh
from swplan.runtime.planning import device_program, planned
from swplan.runtime.prepare import Prepared
from swplan.runtime.trace import Program


class OtherSignature(Exception):
    """Raised inside a trace when a planned step meets arguments of another signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A step that runs as planned.

    Attributes:
      program: the traced step.
      executable: its device program, jitted on flat arguments.
      scaling: the present state of loss scaling, if the plan scales the loss; else empty.
      fast: takes positional arguments; (True, result), or (False, None) where they are not of this signature or not in
        place.
    """

    program: Program
    executable: Executable
    fast: Callable[[tuple], tuple[bool, Any]]
    scaling: list[Any]

    def __call__(self, args: tuple, kwargs: dict) -> Any:
        """Places the arguments and runs."""
        if not self.scaling:
            return self._run(args, kwargs)
        self.scaling[0], out = self._run((self.scaling[0], *args), kwargs)
        return out

    def _run(self, args: tuple, kwargs: dict) -> Any:
        given = jax.tree.leaves((args, kwargs))
        if any(isinstance(x, jax.core.Tracer) for x in given):
            return jax.tree.unflatten(self.program.out_tree, self.executable.mapped(*given))
        flat = place(self.executable, given)
        if not kwargs and not self.scaling:
            done, out = self.fast(jax.tree.unflatten(self.program.in_tree, flat)[0])
            if done:
                return out
        return jax.tree.unflatten(self.program.out_tree, self.executable.run(*flat))


def planned_step(plan: Plan, prepared: Prepared) -> PlannedStep:
    """Builds the runnable step of a plan.

    Raises:
      PlanMismatchError: the plan is for another program, or for more devices than there are.
    """
    exact = planned(plan, prepared.exact(plan.precision))
    return built(plan, exact, device_program(plan, exact.graph))


def built(plan: Plan, program: Program, parts: DeviceProgram, *, donate: bool = True) -> PlannedStep:
    """The runnable step of a device program on the devices at hand."""
    names = [axis.name for axis in plan.axes]
    order = sorted(range(len(names)), key=lambda i: plan.axes[i].position)
    mesh = device_mesh(parts.sizes, names, order)
    executable = build(parts, program.graph, mesh, donate=donate)
    scaling = [initial_state()] if plan.precision.loss_scaling else []
    fast = (lambda args: (False, None)) if scaling else _fast(program, executable, parts, donate)
    return PlannedStep(program=program, executable=executable, fast=fast, scaling=scaling)


def _fast(program: Program, executable: Executable, parts: DeviceProgram, donate: bool) -> Callable:
    """The step jitted on its trees, so that a call costs what the call of a jitted function costs."""
    args_tree, kwargs_tree = program.in_tree.children()
    if kwargs_tree.num_leaves:
        return lambda args: (False, None)
    shardings, _ = jax.tree.unflatten(program.in_tree, executable.in_shardings)
    donated = _whole_arguments(shardings, set(parts.aliases.values())) if donate else ()

    def on_trees(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args)
        if tree != args_tree or any(
            x.shape != program.graph.avals[v].shape for x, v in zip(leaves, program.graph.top.inputs, strict=True)
        ):
            raise OtherSignature
        return jax.tree.unflatten(program.out_tree, executable.mapped(*leaves))

    jitted = jax.jit(
        on_trees,
        in_shardings=shardings,
        donate_argnums=donated,
        keep_unused=True,
        compiler_options=COMPILER_OPTIONS,
    )
    known = [jax.tree.leaves(one) for one in shardings]

    def fast(args: tuple) -> tuple[bool, Any]:
        placed = (
            argument if _in_place(argument, leaves) else _put(argument, places)
            for argument, places, leaves in zip(args, shardings, known, strict=True)
        )
        try:
            return True, jitted(*placed)
        except (OtherSignature, ValueError, TypeError):
            return False, None

    return fast


def _in_place(argument: Any, known: list) -> bool:
    """Whether all leaves of an argument lie where the step expects them: what most calls find, and find soon.

    `known` are the shardings of the leaves; an equal one that an array brings takes the place of the one compared with,
    since the next array brings the same object.
    """
    leaves = jax.tree.leaves(argument)
    if len(leaves) != len(known):
        return False
    for position, leaf in enumerate(leaves):
        found = getattr(leaf, "sharding", None)
        if found is not known[position] and found != known[position]:
            return False
        known[position] = found
    return True


def _put(argument: Any, shardings: Any) -> Any:
    """An argument where the step expects it."""
    return jax.tree.map(_put_leaf, argument, shardings)


def _put_leaf(leaf: Any, sharding: Any) -> Any:
    if isinstance(leaf, jax.core.Tracer):
        raise OtherSignature
    return leaf if getattr(leaf, "sharding", None) == sharding else jax.device_put(leaf, sharding)


def _whole_arguments(shardings: tuple, donated: set[int]) -> tuple[int, ...]:
    """Positions of the arguments all leaves of which are donated."""
    positions, start = [], 0
    for position, argument in enumerate(shardings):
        count = len(jax.tree.leaves(argument))
        if count and donated.issuperset(range(start, start + count)):
            positions.append(position)
        start += count
    return tuple(positions)


def check(plan: Plan, prepared: Prepared) -> Conformance:
    """Compiles a planned step and compares it with its plan.

    Memory is that of the device program on the devices at hand, whatever target the plan was made for.
    """
    step = planned_step(plan, prepared)
    avals = [
        jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
        for leaf, sharding in zip(step.program.in_avals, step.executable.in_shardings, strict=True)
    ]
    if not avals:
        raise PlanMismatchError(f"'{plan.step}' takes no arrays: there is nothing to verify")
    compiled = step.executable.run.lower(*avals).compile()
    parts = device_program(plan, step.program.graph)
    graph = step.program.graph
    planned_bytes = peak_memory(parts, graph, xla=xla()).peak_bytes
    return compare(parts, graph, step.executable.mesh, compiled, planned_bytes=planned_bytes)
