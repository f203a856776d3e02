"""The planner: the best plan over all meshes of a cluster, with the proof, the runners-up, and what excluded them.

For every candidate mesh the folded graph is solved as one problem; a mesh whose lower bound exceeds the best cost so
far is left out, which loses nothing. Memory is a constraint of every problem and is checked once more on the finished
device program, where nothing is estimated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from swplan.costmodel.network import Placement
from swplan.search.fitting import Found, fitting
from swplan.search.meshes import candidate_meshes, refined, useful_sizes
from swplan.search.space import least_usage, lower_bound, space
from swplan.search.subject import LIMITLESS, Candidate, Pins, Subject, candidate_of, pricer_on, solve_space

Progress = Callable[[int, int, str], None]
SEEDS = 2
REFINED = 8
"""Meshes of more than two axes solved if none of fewer fits, else half as many; others count with their bounds."""
INTERESTING = 1.02
"""A mesh all plans of which cost this many times the best one is not solved: it would not even be a runner-up."""


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
    """The best plan, or None if nothing fits the memory of a device; arguments as for `hunt`."""
    deadline = time.monotonic() + time_limit_s if time_limit_s is not None else None
    return hunt(
        subject, max_axes=max_axes, meshes=meshes, pins=pins, deadline=deadline, progress=progress, thorough=thorough
    ).found()


def hunt(
    subject: Subject,
    *,
    max_axes: int,
    meshes: Sequence[Placement] | None = None,
    pins: Pins | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
    thorough: bool = True,
    worst_s: float = np.inf,
) -> Hunt:
    """Solves the meshes of a cluster.

    Every mesh of up to two axes is looked at; meshes of more axes are those that split an axis of the most promising
    ones.

    Args:
      subject: the program and the cluster.
      max_axes: how many mesh axes at most.
      meshes: these meshes only.
      pins: options to which classes of decisions are held.
      deadline: of `time.monotonic`; what is not looked at by then counts with its lower bound.
      progress: called with (meshes done, meshes, text).
      thorough: look at more than two axes even if something fits on two.
      worst_s: the cost of a plan that is known already.
    """
    state = Hunt(subject, pins, deadline, progress, worst_s)
    state.over(
        list(meshes) if meshes is not None else candidate_meshes(subject.cluster, subject.decisions, min(max_axes, 2))
    )
    for _ in range(2, max_axes if meshes is None and (thorough or not state.candidates) else 2):
        sizes = useful_sizes(subject.decisions, subject.cluster.devices)
        state.over(refined(subject.cluster, state.seeds(), sizes), most=REFINED // 2 if state.candidates else REFINED)
    return state


@dataclass(slots=True)
class Hunt:
    """The state of a search over meshes: what was found, and a bound for all that was looked at.

    `floors` bounds what plans on each mesh cost if memory is no concern; no plan holds less than `least_bytes`.
    """

    subject: Subject
    pins: Pins | None
    deadline: float | None
    progress: Progress | None
    worst_s: float = np.inf
    candidates: list[Candidate] = field(default_factory=list)
    excluded: list[tuple[float, Placement]] = field(default_factory=list)
    seen: set[Placement] = field(default_factory=set)
    bound: float = np.inf
    floors: dict[Placement, float] = field(default_factory=dict)
    least_bytes: float = np.inf

    @property
    def floor_s(self) -> float:
        """A bound on what any plan costs if memory is no concern."""
        return min(self.floors.values(), default=np.inf)

    @property
    def best_s(self) -> float:
        """The cost of the best plan so far."""
        return min([self.worst_s, *(c.cost_s for c in self.candidates)])

    def found(self) -> Found | None:
        """The cheapest candidate of which the finished program fits."""
        candidates = sorted(self.candidates, key=lambda c: c.cost_s)
        return fitting(self.subject, candidates, self.pins, self.bound, len(self.seen))

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
        self.least_bytes = min([self.least_bytes, *(least for _, least in screened.values())])
        self.floors.update({mesh: screened[mesh.sizes][0] for mesh in fresh})
        bounds = {
            mesh: self.relax(mesh, screened[mesh.sizes][0], (i, 2 * len(chosen))) for i, mesh in enumerate(chosen)
        }
        tight = sorted((mesh for mesh in chosen if bounds[mesh] is not None), key=lambda mesh: bounds[mesh])
        for done, mesh in enumerate(tight):
            self.look(mesh, bounds[mesh], (2 * len(chosen) - len(tight) + done, 2 * len(chosen)))

    def screen(self, meshes: Sequence[Placement]) -> dict[tuple[int, ...], tuple[float, float]]:
        """By mesh sizes: a lower bound in seconds, and the fewest bytes that must be held."""
        found: dict[tuple[int, ...], tuple[float, float]] = {}
        for done, mesh in enumerate(meshes):
            if mesh.sizes not in found:
                if self.progress:
                    self.progress(done, len(meshes), "screening meshes")
                area = space(self.subject.folded, pricer_on(self.subject, mesh), self.pins)
                least = max((least_usage(area, moment) for moment in self.subject.moments), default=0.0)
                found[mesh.sizes] = (lower_bound(area), least)
        return found

    def relax(self, mesh: Placement, low: float, share: tuple[int, int]) -> float | None:
        """Solves one mesh as if memory were no limit: a bound on what it costs; None if that settles it."""
        if self._hopeless(mesh, low, share):
            return None
        area = space(self.subject.folded, pricer_on(self.subject, mesh), self.pins)
        worst = INTERESTING * self.best_s
        solution, stated = solve_space(self.subject, area, LIMITLESS, self.deadline, worst)
        if solution.choice is None and solution.bound >= worst:
            self.bound = min(self.bound, solution.bound)
            return None
        self.floors[mesh] = max(self.floors[mesh], solution.bound)
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
        area = space(self.subject.folded, pricer_on(self.subject, mesh), self.pins)
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
