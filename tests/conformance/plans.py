"""Random legal plans, and what it takes to run a program under one of them and compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import jax
import numpy as np

from swplan.ir.device import COLLECTIVES, DeviceProgram, Move, walk_device
from swplan.ir.graph import Graph
from swplan.passes.partition import partition
from swplan.runtime.build import build, place
from swplan.runtime.mesh import device_mesh
from swplan.runtime.trace import trace
from swplan.search.decisions import decision_graph
from swplan.search.frame import domain

from .programs import Program

MESHES = ((8,), (2, 4), (4, 2), (2, 2, 2))
# The first two make compiling four times faster. Excess precision would let each program round 16-bit floats elsewhere.
OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_allow_excess_precision": False,
}
# XLA's simplifier (jax 0.10.2) misreads a slice of a slice of which the first starts outside: openxla/xla#49121.
TRUE_SLICES = {"xla_disable_hlo_passes": "algsimp"}
TOLERANCE, NARROW_TOLERANCE = 1e-5, 6e-2

Choices = Mapping[tuple[str, int], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class RandomPlan:
    """A mesh, the order of its axes, and the seed of all choices."""

    sizes: tuple[int, ...]
    order: tuple[int, ...]
    seed: int

    def choices(self, graph: Graph) -> Choices:
        """A legal option for every decision; one decision in eight splits nothing."""
        rng = Random(self.seed)
        nodes = decision_graph(graph).nodes
        options = [domain(node, self.sizes) for node in nodes]
        return {
            node.key: some[0] if rng.random() < 0.125 else rng.choice(some)
            for node, some in zip(nodes, options, strict=True)
        }


def plan_of(seed: int) -> RandomPlan:
    """The plan with this number."""
    rng = Random(seed)
    sizes = rng.choice(MESHES)
    return RandomPlan(sizes, tuple(rng.sample(range(len(sizes)), len(sizes))), rng.randrange(2**31))


@dataclass(frozen=True, slots=True)
class Planned:
    """A program made for eight devices: global graph, device program, mesh, lowered step, its flat inputs in place."""

    graph: Graph
    program: DeviceProgram
    mesh: Any
    lowered: Any
    inputs: list[Any]

    def compile(self) -> Any:
        """The compiled step."""
        return self.lowered.compile(compiler_options=options())


@cache
def options() -> dict[str, Any]:
    """Those of OPTIONS that this version of XLA knows."""
    return {name: value for name, value in OPTIONS.items() if _is_known({name: value})}


def _is_known(option: dict[str, Any]) -> bool:
    try:
        jax.jit(lambda x: x).lower(0.0).compile(compiler_options=option)
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" not in str(error):
            raise
        return False
    return True


def lower_plan(program: Program, plan: RandomPlan, choices: Choices | None = None) -> Planned:
    """Traces, partitions and lowers a program under a plan."""
    arguments = program.inputs()
    graph = trace(program, arguments, {}).graph
    device = partition(graph, plan.sizes, choices or plan.choices(graph))
    mesh = device_mesh(plan.sizes, "abc"[: len(plan.sizes)], plan.order)
    executable = build(device, graph, mesh, donate=program.stateful)
    flat = place(executable, jax.tree.leaves(arguments))
    return Planned(graph, device, mesh, executable.run.lower(*flat), flat)


def run_plan(program: Program, plan: RandomPlan, choices: Choices | None = None) -> list[Any]:
    """The flat results of a program under a plan."""
    planned = lower_plan(program, plan, choices)
    return list(planned.compile()(*planned.inputs))


def run_plain(program: Program) -> list[Any]:
    """The flat results of the program as it is."""
    arguments = program.inputs()
    lowered = jax.jit(program).lower(*arguments)
    try:
        compiled = lowered.compile(compiler_options=options() | TRUE_SLICES)
    except jax.errors.JaxRuntimeError as error:
        if "negative padding" not in str(error):
            raise
        compiled = lowered.compile(compiler_options=options())
    return jax.tree.leaves(compiled(*arguments))


def run_fused(program: Program) -> list[Any]:
    """The same as XLA compiles it by default: long sums of 16-bit floats come out otherwise."""
    arguments = program.inputs()
    return jax.tree.leaves(jax.jit(program)(*arguments))


def mistakes(program: Program, actual: list[Any]) -> list[str]:
    """What a planned program gives otherwise than the program; with 16-bit floats, however that is compiled."""
    found = differences(program, run_plain(program), actual)
    return differences(program, run_fused(program), actual) if found and program.is_narrow else found


def exchanges(planned: Planned) -> tuple[dict[str, int], dict[str, int]]:
    """How many collectives of each kind stand in the device program, and in what JAX makes of it for XLA."""
    moves = [op.step.kind for op, _ in walk_device(planned.program.top) if isinstance(op, Move) and op.is_collective]
    text = planned.lowered.as_text()
    return {kind: moves.count(kind) for kind in COLLECTIVES}, {
        kind: text.count(f'"stablehlo.{kind}"(') for kind in COLLECTIVES
    }


def differences(program: Program, expected: list[Any], actual: list[Any]) -> list[str]:
    """Every result that is not what it should be, in words."""
    tolerance = NARROW_TOLERANCE if program.is_narrow else TOLERANCE
    pairs = enumerate(zip(map(_numbers, expected), map(_numbers, actual), strict=True))
    return [f"result {at}: {words}" for at, (left, right) in pairs if (words := _difference(left, right, tolerance))]


def _numbers(array: Any) -> np.ndarray:
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return np.asarray(array)


def _difference(expected: np.ndarray, actual: np.ndarray, tolerance: float) -> str:
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return f"{actual.dtype}{actual.shape} instead of {expected.dtype}{expected.shape}"
    if not jax.numpy.issubdtype(expected.dtype, np.floating):
        wrong = int(np.sum(expected != actual))
        return f"{wrong} of {expected.size} elements of {expected.dtype}{expected.shape} differ" if wrong else ""
    left, right = expected.astype(np.float64), actual.astype(np.float64)
    assert np.isfinite(left).all(), "the program is not tame"
    error = float(np.max(np.abs(left - right), initial=0.0))
    scale = max(1.0, float(np.max(np.abs(left), initial=0.0)))
    words = f"{expected.dtype}{expected.shape} off by {error:.1e} (scale {scale:.1e})"
    return "" if error <= tolerance * scale else words
