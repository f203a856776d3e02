"""The planner: the best plan over all meshes of a cluster, with the proof, the runners-up, and what excluded them.

For every candidate mesh the folded graph is solved as one problem; a mesh whose lower bound exceeds the best cost so
far is left out, which loses nothing. Memory is a constraint of every problem and is checked once more on the finished
device program, where nothing is estimated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from swplan.costmodel.cluster import Cluster
from swplan.costmodel.network import Placement
from swplan.ir.device import DeviceProgram
from swplan.ir.graph import Graph
from swplan.passes.fusion import fused_values
from swplan.passes.memory import MemoryReport, peak_memory
from swplan.passes.partition import partition
from swplan.passes.xla import XLA_0_10, Xla
from swplan.search.decisions import DecisionGraph, decision_graph
from swplan.search.fold import Folded, fold
from swplan.search.lifetime import Moment, moments
from swplan.search.meshes import candidate_meshes, refined, useful_sizes
from swplan.search.pricing import Pricer
from swplan.search.solver import Problem, Solution, solve, usage
from swplan.search.space import Option, Space, least_usage, lower_bound, problem, space

Progress = Callable[[int, int, str], None]
Pins = Mapping[int, tuple[Option, ...]]
TIGHTENINGS, SEEDS = 4, 2
LIMITLESS = 1e30
REFINED = 8
"""Meshes of more than two axes solved if none of fewer fits, else half as many; others count with their bounds."""
INTERESTING = 1.02
"""A mesh all plans of which cost this many times the best one is not solved: it would not even be a runner-up."""
MESH_LIMIT_S = 60.0
"""Most time for one mesh: a guard that no problem known comes near, since what runs into it may end differently."""
ENOUGH = 0.005
"""Gap to which a mesh on which memory binds is solved; the certificate states what is left of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A program and a cluster, prepared for planning.

    Attributes:
      graph: the program.
      cluster: the target.
      folded: its folded decisions.
      fused: values that never reach memory.
      moments: points of the step at which memory may be short.
      xla: what compiles the program, if the target is `host`.
    """

    graph: Graph
    cluster: Cluster
    folded: Folded
    fused: frozenset[int]
    moments: tuple[Moment, ...]
    xla: Xla = XLA_0_10

    @property
    def decisions(self) -> DecisionGraph:
        """All decisions, unfolded."""
        return self.folded.decisions

    def peak(self, program: DeviceProgram) -> MemoryReport:
        """Peak memory; on `host` as XLA schedules for a CPU, elsewhere in the order of the program."""
        return peak_memory(program, self.graph, in_order=self.cluster.chip.name != "host", xla=self.xla)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A solved mesh: what was chosen, its cost and bound in seconds, and its estimated memory in bytes."""

    placement: Placement
    choices: Mapping[tuple[str, int], Option]
    cost_s: float
    bound_s: float
    method: str
    memory_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The outcome of a search.

    Attributes:
      best: the plan.
      program: its device program.
      runners_up: the best of other meshes, by cost.
      bound_s: no plan on any of the meshes costs less.
      meshes: how many meshes there were.
    """

    best: Candidate
    program: DeviceProgram
    runners_up: tuple[Candidate, ...]
    bound_s: float
    meshes: int


def subject(graph: Graph, cluster: Cluster, xla: Xla = XLA_0_10) -> Subject:
    """Prepares a program for planning on a cluster."""
    folded, fused = fold(decision_graph(graph)), fused_values(graph)
    return Subject(graph=graph, cluster=cluster, folded=folded, fused=fused, moments=moments(folded, fused), xla=xla)


def find(
    subject: Subject,
    *,
    max_axes: int,
    meshes: Sequence[Placement] | None = None,
    pins: Pins | None = None,
    time_limit_s: float | None = None,
    progress: Progress | None = None,
    thorough: bool = True,
) -> Found | None:
    """The best plan, or None if nothing fits the memory of a device.

    Every mesh of up to two axes is looked at; meshes of more axes are those that split an axis of the most promising
    ones.

    Args:
      subject: the program and the cluster.
      max_axes: how many mesh axes at most.
      meshes: these meshes only.
      pins: options to which classes of decisions are held.
      time_limit_s: for all meshes together; what is not looked at by then counts with its lower bound.
      progress: called with (meshes done, meshes, text).
      thorough: look at more than two axes even if something fits on two.
    """
    deadline = time.monotonic() + time_limit_s if time_limit_s is not None else None
    hunt = Hunt(subject, pins, deadline, progress)
    hunt.over(
        list(meshes) if meshes is not None else candidate_meshes(subject.cluster, subject.decisions, min(max_axes, 2))
    )
    for _ in range(2, max_axes if meshes is None and (thorough or not hunt.candidates) else 2):
        sizes = useful_sizes(subject.decisions, subject.cluster.devices)
        hunt.over(refined(subject.cluster, hunt.seeds(), sizes), most=REFINED // 2 if hunt.candidates else REFINED)
    candidates = sorted(hunt.candidates, key=lambda c: c.cost_s)
    return _checked(subject, candidates, pins, hunt.bound, len(hunt.seen))


@dataclass(slots=True)
class Hunt:
    """The state of a search over meshes: what was found, and a bound for all that was looked at."""

    subject: Subject
    pins: Pins | None
    deadline: float | None
    progress: Progress | None
    candidates: list[Candidate] = field(default_factory=list)
    excluded: list[tuple[float, Placement]] = field(default_factory=list)
    seen: set[Placement] = field(default_factory=set)
    bound: float = np.inf

    @property
    def best_s(self) -> float:
        """The cost of the best plan so far."""
        return min((c.cost_s for c in self.candidates), default=np.inf)

    def over(self, meshes: Sequence[Placement], most: int | None = None) -> None:
        """Looks at meshes, the most promising first, and at no more than `most` of those that could fit."""
        fresh = [mesh for mesh in dict.fromkeys(meshes) if mesh not in self.seen]
        self.seen.update(fresh)
        screened = self.screen(fresh)
        order = sorted(fresh, key=lambda mesh: (*screened[mesh.sizes], len(mesh.sizes)))
        capacity = self.subject.cluster.memory_bytes
        fitting = [mesh for mesh in order if screened[mesh.sizes][1] <= capacity]
        self.excluded += [(screened[mesh.sizes][0], mesh) for mesh in order if screened[mesh.sizes][1] > capacity]
        chosen = fitting[:most]
        self.bound = min([self.bound, *(screened[mesh.sizes][0] for mesh in fitting[len(chosen) :])])
        bounds: dict[Placement, float | None] = {}
        for done, mesh in enumerate(chosen):
            bounds[mesh] = self.relax(mesh, screened[mesh.sizes][0], (done, 2 * len(chosen)))
            if bounds[mesh] is not None and self.best_s == np.inf:
                self.look(mesh, bounds.pop(mesh), (done, 2 * len(chosen)))
        tight = sorted((mesh for mesh, low in bounds.items() if low is not None), key=bounds.__getitem__)
        for done, mesh in enumerate(tight):
            self.look(mesh, bounds[mesh], (2 * len(chosen) - len(tight) + done, 2 * len(chosen)))

    def screen(self, meshes: Sequence[Placement]) -> dict[tuple[int, ...], tuple[float, float]]:
        """By mesh sizes: a lower bound in seconds, and the fewest bytes that must be held."""
        found: dict[tuple[int, ...], tuple[float, float]] = {}
        for done, mesh in enumerate(meshes):
            if mesh.sizes not in found:
                if self.progress:
                    self.progress(done, len(meshes), "screening meshes")
                area = space(self.subject.folded, _pricer(self.subject, mesh), self.pins)
                least = max((least_usage(area, moment) for moment in self.subject.moments), default=0.0)
                found[mesh.sizes] = (lower_bound(area), least)
        return found

    def relax(self, mesh: Placement, low: float, share: tuple[int, int]) -> float | None:
        """Solves one mesh as if memory were no limit: a bound on what it costs; None if that settles it."""
        if self._hopeless(mesh, low, share):
            return None
        area = space(self.subject.folded, _pricer(self.subject, mesh), self.pins)
        worst = INTERESTING * self.best_s
        solution, stated = solve_space(self.subject, area, LIMITLESS, self.deadline, worst)
        if solution.choice is None and solution.bound >= worst:
            self.bound = min(self.bound, solution.bound)
            return None
        candidate = candidate_of(area, solution, stated) if solution.choice is not None else None
        if candidate is None or candidate.memory_bytes > self.subject.cluster.memory_bytes:
            return max(solution.bound, low)
        self.bound = min(self.bound, solution.bound)
        self.candidates.append(candidate)
        return None

    def look(self, mesh: Placement, low: float, share: tuple[int, int]) -> None:
        """Solves one mesh within the memory of a device, unless it cannot beat the best."""
        if self._hopeless(mesh, low, share):
            return
        area = space(self.subject.folded, _pricer(self.subject, mesh), self.pins)
        capacity, worst = self.subject.cluster.memory_bytes, INTERESTING * self.best_s
        solution, stated = solve_space(self.subject, area, capacity, self.deadline, worst)
        self.bound = min(self.bound, max(solution.bound, low))
        if solution.choice is not None:
            self.candidates.append(candidate_of(area, solution, stated))
        elif solution.bound < worst or worst == np.inf:
            self.excluded.append((low, mesh))

    def _hopeless(self, mesh: Placement, low: float, share: tuple[int, int]) -> bool:
        """Whether a mesh need not be solved: it cannot beat the best, or the time is up."""
        if self.progress:
            self.progress(*share, _status(mesh, self.best_s))
        late = self.deadline is not None and time.monotonic() > self.deadline and bool(self.candidates)
        if low >= self.best_s or late:
            self.bound = min(self.bound, low)
            return True
        return False

    def seeds(self) -> list[Placement]:
        """The most promising meshes: the cheapest that fit, and those with the lowest bounds that do not."""
        fitting = [c.placement for c in sorted(self.candidates, key=lambda c: c.cost_s)[:SEEDS]]
        missing = sorted((e for e in self.excluded if e[0] < self.best_s), key=lambda e: (e[0], e[1].sizes, e[1].order))
        return fitting + [mesh for _, mesh in missing[:SEEDS]]


def _status(placement: Placement, best: float) -> str:
    mesh = " x ".join(map(str, placement.sizes)) or "1"
    return f"mesh {mesh}" + (f", best so far {best:.3g} s" if best < np.inf else "")


def _pricer(subject: Subject, placement: Placement) -> Pricer:
    return Pricer(subject.cluster, placement, subject.graph, subject.fused)


def solve_space(
    subject: Subject, area: Space, memory_bytes: float, deadline: float | None = None, worst_s: float = np.inf
) -> tuple[Solution, Problem]:
    """The best choice on one mesh within a memory limit; none if all cost `worst_s` or more."""
    stated = problem(area, subject.moments, memory_bytes)
    left = MESH_LIMIT_S if deadline is None else max(1.0, min(MESH_LIMIT_S, deadline - time.monotonic()))
    return solve(stated, time_limit_s=left, upper_bound=worst_s, enough=ENOUGH), stated


def candidate_of(area: Space, solution: Solution, stated: Problem) -> Candidate:
    """What a solved problem chose, for every decision of the program."""
    memory = max((usage(row, solution.choice) for row in stated.rows), default=0.0)
    return Candidate(
        placement=area.pricer.placement,
        choices=area.choices(solution.choice),
        cost_s=solution.cost,
        bound_s=solution.bound,
        method=solution.method,
        memory_bytes=memory,
    )


def _checked(
    subject: Subject, candidates: list[Candidate], pins: Pins | None, bound: float, meshes: int
) -> Found | None:
    """The first candidate whose device program fits; one that does not is solved again with less memory."""
    for position, candidate in enumerate(candidates):
        fitting = _fit(subject, candidate, pins)
        if fitting is not None:
            best, program = fitting
            others = tuple(candidates[:position] + candidates[position + 1 :])
            return Found(best=best, program=program, runners_up=others, bound_s=min(bound, best.cost_s), meshes=meshes)
    return None


def _fit(subject: Subject, candidate: Candidate, pins: Pins | None) -> tuple[Candidate, DeviceProgram] | None:
    """The candidate and its program, tightened until the exact peak fits; None if it cannot be made to fit."""
    capacity = subject.cluster.memory_bytes
    limit = float(capacity)
    for _ in range(TIGHTENINGS):
        program = partition(subject.graph, candidate.placement.sizes, candidate.choices)
        peak = subject.peak(program).peak_bytes
        if peak <= capacity:
            return replace(candidate, memory_bytes=peak), program
        limit = min(limit, max(candidate.memory_bytes, 1.0)) * capacity / peak
        area = space(subject.folded, _pricer(subject, candidate.placement), pins)
        solution, stated = solve_space(subject, area, limit)
        if solution.choice is None:
            return None
        candidate = candidate_of(area, solution, stated)
    return None
