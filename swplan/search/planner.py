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
from swplan.search.pinning import Pinned
from swplan.search.space import Space, lower_bound, needed_bytes, space
from swplan.search.subject import LIMITLESS, Bound, Candidate, Pins, Subject, candidate_of, pricer_on, solve_space

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
    pins: Pins | Pinned | None = None,
    time_limit_s: float | None = None,
    progress: Progress | None = None,
    thorough: bool = True,
    loose: float = 0.0,
) -> Found | None:
    """The best plan, or None if nothing fits the memory of a device; arguments as for `hunt`."""
    deadline = time.monotonic() + time_limit_s if time_limit_s is not None else None
    return hunt(
        subject,
        max_axes=max_axes,
        meshes=meshes,
        pins=pins,
        deadline=deadline,
        progress=progress,
        thorough=thorough,
        loose=loose,
    ).found()


def hunt(
    subject: Subject,
    *,
    max_axes: int,
    meshes: Sequence[Placement] | None = None,
    pins: Pins | Pinned | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
    thorough: bool = True,
    worst_s: float = np.inf,
    least_s: float = np.inf,
    loose: float = 0.0,
) -> Hunt:
    """Solves the meshes of a cluster.

    Every mesh of up to two axes is looked at; meshes of more axes are those that split an axis of the most promising
    ones.

    Args:
      subject: the program and the cluster.
      max_axes: how many mesh axes at most.
      meshes: these meshes only.
      pins: options to which classes of decisions are held, or pins in names that are bound on each mesh.
      deadline: of `time.monotonic`; what is not looked at by then counts with its lower bound.
      progress: called with (meshes done, meshes, text).
      thorough: look at more than two axes even if something fits on two.
      worst_s: the cost of a plan that is known already.
      least_s: a bound on what other programs of the same step cost, for what is said of the progress.
      loose: a gap that will do.
    """
    held = pins if isinstance(pins, Pinned) else Bound(options=pins or {})
    axes = max(min(max_axes, 2), pins.axes if isinstance(pins, Pinned) else 0)
    state = Hunt(subject, held, deadline, progress, worst_s, least_s, loose)
    state.over(list(meshes) if meshes is not None else candidate_meshes(subject.cluster, subject.decisions, axes))
    for _ in range(2, max_axes if meshes is None and (thorough or not state.candidates) else 2):
        sizes = useful_sizes(subject.decisions, subject.cluster.devices)
        state.over(refined(subject.cluster, state.seeds(), sizes), most=REFINED // 2 if state.candidates else REFINED)
    return state


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """A mesh, and what a search on it is held to."""

    mesh: Placement
    bound: Bound

    @property
    def key(self) -> tuple:
        """What screening depends on: not on which tiers the axes lie."""
        return (self.mesh.sizes, id(self.bound))


@dataclass(slots=True)
class Hunt:
    """The state of a search over meshes: what was found, and a bound for all that was looked at.

    `floors` bounds what plans on each mesh cost if memory is no concern; no plan holds less than `least_bytes`.
    """

    subject: Subject
    pins: Bound | Pinned
    deadline: float | None
    progress: Progress | None
    worst_s: float = np.inf
    least_s: float = np.inf
    loose: float = 0.0
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
        return fitting(self.subject, candidates, self.bound, len(self.seen), self.worst_s)

    def over(self, meshes: Sequence[Placement], most: int | None = None) -> None:
        """Looks at meshes, the most promising first, and at no more than `most` of those that could fit."""
        fresh = [mesh for mesh in dict.fromkeys(meshes) if mesh not in self.seen]
        self.seen.update(fresh)
        ways = [Way(mesh, bound) for mesh in fresh for bound in self.held(mesh)]
        screened = self.screen(ways)
        order = sorted(ways, key=lambda way: (*screened[way.key], len(way.mesh.sizes)))
        capacity = self.subject.cluster.memory_bytes
        fitting = [way for way in order if screened[way.key][1] <= capacity]
        self.excluded += [(screened[way.key][0], way.mesh) for way in order if screened[way.key][1] > capacity]
        chosen = fitting[:most]
        self.bound = min([self.bound, *(screened[way.key][0] for way in fitting[len(chosen) :])])
        self.least_bytes = min([self.least_bytes, *(least for _, least in screened.values())])
        for way in reversed(order):
            self.floors[way.mesh] = screened[way.key][0]
        bounds = {way: self.relax(way, screened[way.key][0], (i, 2 * len(chosen))) for i, way in enumerate(chosen)}
        tight = sorted((way for way in chosen if bounds[way] is not None), key=lambda way: bounds[way])
        for done, way in enumerate(tight):
            self.look(way, bounds[way], (2 * len(chosen) - len(tight) + done, 2 * len(chosen)))

    def held(self, mesh: Placement) -> Sequence[Bound]:
        """Every way to be held on a mesh: one, or each binding of the names of pins that can hold."""
        return self.pins.on(mesh) if isinstance(self.pins, Pinned) else (self.pins,)

    def area(self, way: Way) -> Space:
        """What can be chosen on a mesh."""
        return space(self.subject.folded, pricer_on(self.subject, way.mesh), way.bound.options)

    def screen(self, ways: Sequence[Way]) -> dict[tuple, tuple[float, float]]:
        """By mesh sizes and what holds them: a lower bound in seconds, and the fewest bytes that must be held."""
        found: dict[tuple, tuple[float, float]] = {}
        for done, way in enumerate(ways):
            if way.key not in found:
                if self.progress:
                    self.progress(done, len(ways), "screening meshes")
                area = self.area(way)
                least = needed_bytes(area, self.subject.moments)
                found[way.key] = (lower_bound(area), least)
        return found

    def relax(self, way: Way, low: float, share: tuple[int, int]) -> float | None:
        """Solves one mesh as if memory were no limit: a bound on what it costs; None if that settles it."""
        if self._hopeless(way.mesh, low, share):
            return None
        area = self.area(way)
        worst = INTERESTING * self.best_s
        solution, stated = solve_space(
            self.subject, area, LIMITLESS, self.deadline, worst, settled_s=self.best_s, loose=self.loose
        )
        self.raised(way, solution.bound)
        if solution.choice is None and solution.bound >= worst:
            self.bound = min(self.bound, solution.bound)
            return None
        candidate = candidate_of(area, solution, stated, way.bound) if solution.choice is not None else None
        if candidate is None or candidate.memory_bytes > self.subject.cluster.memory_bytes:
            return max(solution.bound, low)
        self.bound = min(self.bound, solution.bound)
        self.candidates.append(candidate)
        return None

    def raised(self, way: Way, bound_s: float) -> None:
        """Takes in a better floor of a mesh, if it is held in one way only."""
        if len(self.held(way.mesh)) == 1:
            self.floors[way.mesh] = max(self.floors[way.mesh], bound_s)

    def look(self, way: Way, low: float, share: tuple[int, int]) -> None:
        """Solves one mesh within the memory of a device, unless it cannot beat the best."""
        if self._hopeless(way.mesh, low, share):
            return
        area = self.area(way)
        capacity, worst = self.subject.cluster.memory_bytes, INTERESTING * self.best_s
        solution, stated = solve_space(
            self.subject, area, capacity, self.deadline, worst, settled_s=self.best_s, loose=self.loose
        )
        self.bound = min(self.bound, max(solution.bound, low))
        if solution.choice is not None:
            self.candidates.append(candidate_of(area, solution, stated, way.bound))
        elif solution.bound < worst or worst == np.inf:
            self.excluded.append((low, way.mesh))

    def _hopeless(self, mesh: Placement, low: float, share: tuple[int, int]) -> bool:
        """Whether a mesh need not be solved: it cannot beat the best, or the time is up."""
        if self.progress:
            self.progress(*share, _status(mesh, self.best_s, min(self.least_s, self.floor_s)))
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


def _status(placement: Placement, best_s: float, least_s: float) -> str:
    """What is looked at, and what is known so far: no plan costs less than `least_s`."""
    mesh = " x ".join(map(str, placement.sizes)) or "1"
    if best_s == np.inf:
        return f"mesh {mesh}"
    return f"mesh {mesh}, best so far {best_s:.3g} s, gap {max(0.0, 1 - least_s / best_s):.1%}"
