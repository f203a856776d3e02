"""What is planned, on which cluster, and the solution of one mesh: what the planner and the classics share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from swplan.costmodel.cluster import Cluster
from swplan.costmodel.network import Placement
from swplan.ir.device import DeviceProgram
from swplan.ir.graph import Graph
from swplan.passes.fusion import OnChip, fused_values
from swplan.passes.memory import MemoryReport, peak_memory
from swplan.passes.rows import row_fused_values
from swplan.passes.xla import XLA_0_10, Xla
from swplan.search.decisions import DecisionGraph, decision_graph
from swplan.search.fold import Folded, fold
from swplan.search.frame import Option
from swplan.search.lifetime import Moment, moments
from swplan.search.pricing import Pricer
from swplan.search.space import Space, needed_bytes, problem
from swplan.solver.problem import Problem, Solution, usage
from swplan.solver.solving import solve

Pins = Mapping[int, tuple[Option, ...]]
LIMITLESS = 1e30
NOTHING_FITS = Solution(choice=None, cost=np.inf, bound=np.inf, method="memory")
MESH_LIMIT_S = 60.0
"""Most time for one mesh: a guard that no problem known comes near, since what runs into it may end differently."""
FEW = 100
"""Decisions up to which the search is exact."""
LEAST_S = 0.1
"""Time that a mesh gets even if there is none left."""
ENOUGH = 0.005
"""Gap to which a mesh on which memory binds is solved; the certificate states what is left of it."""
LOOSE = 0.01
"""Gap to which plans of a kind are solved that only stand beside the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A program and a cluster, prepared for planning.

    Attributes:
      graph: the program.
      cluster: the target.
      folded: its folded decisions.
      fused: what does not go through memory.
      moments: points of the step at which memory may be short.
      xla: what compiles the program, if the target is `host`.
    """

    graph: Graph
    cluster: Cluster
    folded: Folded
    fused: OnChip
    moments: tuple[Moment, ...]
    xla: Xla = XLA_0_10

    @property
    def decisions(self) -> DecisionGraph:
        """All decisions, unfolded."""
        return self.folded.decisions

    @property
    def is_small(self) -> bool:
        """Whether the search is exact."""
        return len(self.folded.members) <= FEW

    def peak(self, program: DeviceProgram) -> MemoryReport:
        """Peak memory; on `host` as XLA schedules for a CPU, elsewhere in the order of the program."""
        return peak_memory(program, self.graph, in_order=self.cluster.chip.name != "host", xla=self.xla)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What holds one search on a mesh: options of classes of decisions, and the axes that names of pins stand for."""

    options: Pins
    names: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


FREE = Bound(options={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A solved mesh: what was chosen, its cost and bound in seconds, its estimated memory in bytes, what held it.

    `picked` says the same as `choices`, in numbers of the options of each class. `prices` are seconds for a byte at
    each moment, zeros or none where memory does not bind.
    """

    placement: Placement
    choices: Mapping[tuple[str, int], Option]
    cost_s: float
    bound_s: float
    method: str
    memory_bytes: float
    picked: tuple[int, ...] = ()
    prices: tuple[float, ...] = ()
    bound: Bound = FREE


def subject(graph: Graph, cluster: Cluster, xla: Xla = XLA_0_10) -> Subject:
    """Prepares a program for planning on a cluster."""
    folded = fold(decision_graph(graph))
    fused = fused_on(graph, cluster)
    return Subject(graph=graph, cluster=cluster, folded=folded, fused=fused, moments=moments(folded, fused), xla=xla)


def fused_on(graph: Graph, cluster: Cluster) -> OnChip:
    """What does not go through the memory of a device of this cluster."""
    row_bytes = cluster.chip.row_bytes
    return row_fused_values(graph, row_bytes) if row_bytes else fused_values(graph)


def pricer_on(subject: Subject, placement: Placement) -> Pricer:
    """Prices of the program on one mesh."""
    return Pricer(subject.cluster, placement, subject.graph, subject.fused)


def solve_space(
    subject: Subject,
    area: Space,
    memory_bytes: float,
    deadline: float | None = None,
    worst_s: float = np.inf,
    *,
    settled_s: float = np.inf,
    loose: float = 0.0,
    prices: tuple[float, ...] = (),
) -> tuple[Solution, Problem]:
    """The best choice on one mesh within a memory limit; none if all cost `worst_s` or more.

    Any choice will do if none costs less than `settled_s`, or if it is as good as the best but for `loose`. `prices` of
    a byte at each moment, in seconds, are where the solver starts if memory is known to bind.
    """
    if memory_bytes < LIMITLESS and needed_bytes(area, subject.moments) > memory_bytes:
        return NOTHING_FITS, Problem(costs=(), edges=())
    stated = problem(area, subject.moments, memory_bytes)
    content = {"enough": 0.0 if subject.is_small else ENOUGH, "loose": loose, "settled": settled_s}
    return solve(
        stated, time_limit_s=left_s(deadline, MESH_LIMIT_S), upper_bound=worst_s, prices=prices, **content
    ), stated


def left_s(deadline: float | None, most_s: float) -> float:
    """Seconds for one problem: what is left until the deadline, but enough for some answer, and so many at most."""
    return most_s if deadline is None else min(most_s, max(LEAST_S, deadline - time.monotonic()))


def candidate_of(area: Space, solution: Solution, stated: Problem, bound: Bound = FREE) -> Candidate:
    """What a solved problem chose, for every decision of the program."""
    memory = max((usage(row, solution.choice) for row in stated.rows), default=0.0)
    return Candidate(
        placement=area.pricer.placement,
        choices=area.choices(solution.choice),
        cost_s=solution.cost,
        bound_s=solution.bound,
        method=solution.method,
        memory_bytes=memory,
        picked=solution.choice,
        prices=solution.prices,
        bound=bound,
    )
