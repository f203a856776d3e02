"""One search over meshes: screened, solved as if memory were no limit, and those where that does not fit within it.

For planner.py. What is known of every mesh is a bound on what plans on it cost; a mesh whose bound exceeds the best
cost so far is left out, which loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from swplan.costmodel.network import Placement
from swplan.search.fitting import RULINGS, Found, fitting
from swplan.search.pinning import Pinned
from swplan.search.screening import Open, Screened, Way, screened, status
from swplan.search.space import Space, space
from swplan.search.subject import (
    ENOUGH,
    LIMITLESS,
    LOOSE,
    Bound,
    Candidate,
    Subject,
    candidate_of,
    pricer_on,
    solve_space,
)
from swplan.solver.problem import Problem, Solution, usage

Progress = Callable[[int, int, str], None]
SEEDS = 2
ROUGH = 0.1
"""A gap from which on any plan will do that fits: none is ruled out one by one."""
PROMISING = 4
"""Meshes on which a variant is solved."""
REOPENED = 2
"""How often so many meshes that were left out are looked at after all, where there are many decisions."""
RUNNERS_UP = 3
"""Plans that stand beside the best, before meshes are left out that could be better by no more than `ENOUGH`."""
INTERESTING = 1.02
"""A mesh all plans of which cost this many times the best one is not solved: it would not even be a runner-up."""


@dataclass(slots=True, kw_only=True)
class Hunt:
    """The state of a search over meshes: what was found, and a bound for all that was solved.

    `floors` bounds what plans on each mesh cost if memory is no concern, of those meshes on which some variant of the
    program can fit; no plan holds less than `least_bytes`. `prices` of a byte at moments are the last ones that bound.
    """

    subject: Subject
    pins: Bound | Pinned
    deadline: float | None
    progress: Progress | None
    worst_s: float = np.inf
    least_s: float = np.inf
    loose: float = 0.0
    known: Mapping[Placement, float] = field(default_factory=dict)
    looks: int | None = None
    prices: dict[str, float] = field(default_factory=dict)
    relies: bool = False
    spare: float = 0.0
    looked: int = 0
    candidates: list[Candidate] = field(default_factory=list)
    excluded: list[tuple[float, Placement]] = field(default_factory=list)
    seen: set[Placement] = field(default_factory=set)
    bounds: dict[Way, float] = field(default_factory=dict)
    floors: dict[Placement, float] = field(default_factory=dict)
    relaxed: set[Placement] = field(default_factory=set)
    unsolved: set[Placement] = field(default_factory=set)
    left: dict[Way, None] = field(default_factory=dict)
    least_bytes: float = np.inf

    @property
    def floor_s(self) -> float:
        """A bound on what any plan costs if memory is no concern."""
        return min(self.floors.values(), default=np.inf)

    @property
    def bound_s(self) -> float:
        """A bound on what any plan costs that fits."""
        return max(self.floor_s, min([np.inf, *self.bounds.values(), *(self.floors[mesh] for mesh in self.unsolved)]))

    @property
    def best_s(self) -> float:
        """The cost of the best plan so far."""
        return min([self.worst_s, *(c.cost_s for c in self.candidates)])

    @property
    def is_late(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() > self.deadline

    @property
    def ceiling_s(self) -> float:
        """What a plan must cost less than to be of interest: the best known, or one that may stand beside ours."""
        return min([self.worst_s, *(INTERESTING * c.cost_s for c in self.candidates)])

    @property
    def settled_s(self) -> float:
        """A mesh of which all plans cost at least this need not be solved well: exact where that takes no time."""
        return self.best_s if self.subject.is_small else (1 - ENOUGH) * self.best_s

    def finish(self) -> Found | None:
        """The cheapest candidate of which the finished program fits.

        If that costs more than what seemed to fit, meshes that were left out in its favour are looked at after all,
        each once, within as much less as estimates were too low. They are left out again when the time is up, but for
        the first plan.
        """
        rounds, rulings = 0, 0 if self.loose >= ROUGH else RULINGS
        while True:
            candidates = sorted(self.candidates, key=lambda c: c.cost_s)
            found, lacking = fitting(self.subject, candidates, self.closer, self.worst_s, rulings, self.deadline)
            again = self.again(found.best.cost_s if found else np.inf)
            known = found is not None or self.worst_s < np.inf
            if not again or (known and self.is_late) or (rounds == REOPENED and not self.subject.is_small):
                break
            rounds += 1
            if lacking < np.inf and not self.subject.is_small:
                self.spare = max(self.spare, lacking)
            self.candidates = [found.best, *found.runners_up] if found else []
            self.looks = None
            for way in again:
                self.look(way, self.bounds[way], (1, 1))
                self.left.pop(way, None)
        return found and replace(found, bound_s=min(self.bound_s, found.best.cost_s), meshes=len(self.seen))

    def again(self, cost_s: float) -> list[Way]:
        """What was left out of the meshes that may cost less than a plan, the most promising ones."""
        limit_s = min(self.worst_s, cost_s if self.subject.is_small else (1 - ENOUGH) * cost_s)
        return sorted((way for way in self.left if self.bounds[way] < limit_s), key=self.bounds.get)[:PROMISING]

    def closer(self, best: Candidate) -> Candidate | None:
        """The best plan of the mesh of one that was not looked at closely, if that costs less."""
        if self.subject.is_small or best.cost_s - best.bound_s <= ENOUGH * best.cost_s or self.loose or self.is_late:
            return None
        way = next(w for w in self.bounds if w.mesh == best.placement and w.bound is best.bound)
        better, bound_s = self.solved(way, best.cost_s, 0.0)
        if not self.spare:
            self.bounds[way] = max(self.bounds[way], min(bound_s, best.cost_s))
        return better

    def solved(self, way: Way, worst_s: float, loose: float) -> tuple[Candidate | None, float]:
        """The best of a mesh within memory, if it costs less than `worst_s`, and a bound on all of its plans."""
        area, capacity = self.area(way), self.subject.cluster.memory_bytes - self.spare
        content = {"settled_s": self.settled_s, "loose": loose}
        prices = tuple(self.prices.get(moment.label, 0.0) for moment in self.subject.moments)
        solution, stated = solve_space(self.subject, area, capacity, self.deadline, worst_s, prices=prices, **content)
        if any(solution.prices):
            self.prices.update(zip((row.label for row in stated.rows), solution.prices, strict=True))
        if solution.choice is None or solution.cost >= worst_s:
            return None, solution.bound
        return candidate_of(area, solution, stated, way.bound), solution.bound

    def over(self, meshes: Sequence[Placement], most: int | None = None) -> None:
        """Looks at meshes, the most promising first, and at no more than `most` of those that could fit.

        The first on which memory binds is solved within it at once: what that costs spares others the full effort.
        """
        fresh = [mesh for mesh in dict.fromkeys(meshes) if mesh not in self.seen]
        self.seen.update(fresh)
        ways = [Way(mesh, bound) for mesh in fresh for bound in self.held(mesh)]
        known = self.screen(ways)
        low = {way: max(known[way.key].low_s, self.known.get(way.mesh, 0.0)) for way in ways}
        order = sorted(ways, key=lambda way: (low[way], known[way.key], len(way.mesh.sizes)))
        capacity = self.subject.cluster.memory_bytes
        fitting = [way for way in order if known[way.key].least_bytes <= capacity]
        self.excluded += [(low[way], way.mesh) for way in order if known[way.key].least_bytes > capacity]
        chosen = fitting[:most]
        self.unsolved.update(way.mesh for way in fitting[len(chosen) :])
        self.least_bytes = min([self.least_bytes, *(found.least_bytes for found in known.values())])
        for way in reversed(order):
            if known[way.key].lasting_bytes <= capacity:
                self.floors[way.mesh] = low[way]
        tight: dict[Way, Open] = {}
        for done, way in enumerate(chosen):
            open_ = self.relax(way, low[way], (done, 2 * len(chosen)))
            if open_ is not None and not (self.looked or self.candidates):
                self.look(way, open_.bound_s, (done, 2 * len(chosen)))
            elif open_ is not None:
                tight[way] = open_
        for done, way in enumerate(sorted(tight, key=tight.get)):
            self.look(way, tight[way].bound_s, (2 * len(chosen) - len(tight) + done, 2 * len(chosen)))

    def held(self, mesh: Placement) -> Sequence[Bound]:
        """Every way to be held on a mesh: one, or each binding of the names of pins that can hold."""
        return self.pins.on(mesh) if isinstance(self.pins, Pinned) else (self.pins,)

    def area(self, way: Way) -> Space:
        """What can be chosen on a mesh."""
        return space(self.subject.folded, pricer_on(self.subject, way.mesh), way.bound.options)

    def screen(self, ways: Sequence[Way]) -> dict[tuple, Screened]:
        """By mesh sizes and what holds them, what is known at once."""
        found: dict[tuple, Screened] = {}
        for done, way in enumerate(ways):
            if way.key not in found:
                if self.progress:
                    self.progress(done, len(ways), "screening meshes")
                found[way.key] = screened(self.subject, self.area(way))
        return found

    def relax(self, way: Way, low: float, share: tuple[int, int]) -> Open | None:
        """Solves one mesh as if memory were no limit: what that leaves open; None if it settles the mesh.

        Left out where `known` says enough, and when the time is up and nothing is known to fit.
        """
        if self._hopeless(way, low, share):
            return None
        if self.is_late or self.relies:
            return Open(low, low)
        area = self.area(way)
        worst = self.ceiling_s
        solution, stated = solve_space(
            self.subject, area, LIMITLESS, self.deadline, worst, settled_s=self.best_s, loose=self.loose
        )
        self.raised(way, solution.bound)
        if solution.choice is None and solution.bound >= worst:
            self.leave(way, solution.bound)
            return None
        if solution.choice is None:
            return Open(max(solution.bound, low), max(solution.bound, low))
        candidate = candidate_of(area, solution, stated, way.bound)
        if candidate.memory_bytes > self.subject.cluster.memory_bytes:
            bound_s = max(solution.bound, low)
            return Open(bound_s + self.charge(stated, solution), bound_s)
        self.bounds[way] = max(solution.bound, low)
        self.candidates.append(candidate)
        return None

    def charge(self, stated: Problem, solution: Solution) -> float:
        """What a solution would pay for memory beyond what there is; if prices are unknown, the step for all of it."""
        capacity = self.subject.cluster.memory_bytes
        over = {row.label: max(0.0, usage(row, solution.choice) - capacity) for row in stated.rows}
        if not self.prices:
            return solution.cost * max(over.values()) / capacity
        return sum(self.prices.get(label, 0.0) * excess for label, excess in over.items())

    def raised(self, way: Way, bound_s: float) -> None:
        """Takes in a better floor of a mesh, if it is held in one way only."""
        if len(self.held(way.mesh)) == 1:
            self.floors[way.mesh] = max(self.floors[way.mesh], bound_s)
            self.relaxed.add(way.mesh)

    def tighten(self, mesh: Placement, worst_s: float) -> bool:
        """Raises the floor of a mesh that was only screened, up to `worst_s`; whether that was left to do."""
        if mesh in self.relaxed:
            return False
        areas = [self.area(Way(mesh, bound)) for bound in self.held(mesh)]
        found = [solve_space(self.subject, area, LIMITLESS, self.deadline, worst_s)[0] for area in areas]
        self.floors[mesh] = max(self.floors[mesh], min(solution.bound for solution in found))
        self.relaxed.add(mesh)
        return True

    def look(self, way: Way, low: float, share: tuple[int, int]) -> None:
        """Solves one mesh within the memory of a device, unless it could not beat the best or only just."""
        if self._hopeless(way, low, share):
            return
        beside = len(self.candidates) > RUNNERS_UP and low >= self.settled_s
        if beside or (self.looks is not None and self.looked >= self.looks):
            self.leave(way, low)
            return
        self.looked += 1
        worst = self.ceiling_s
        candidate, bound_s = self.solved(way, worst, self.loose if self.subject.is_small else max(self.loose, LOOSE))
        self.bounds[way] = low if self.spare else max(bound_s, low)
        if candidate is not None:
            self.candidates.append(candidate)
            return
        if bound_s < np.inf:
            self.left[way] = None
        if bound_s < worst or worst == np.inf:
            self.excluded.append((low, way.mesh))

    def _hopeless(self, way: Way, low: float, share: tuple[int, int]) -> bool:
        """Whether a mesh need not be solved: it cannot beat the best, or the time is up."""
        if self.progress:
            self.progress(*share, status(way.mesh, self.best_s, min(self.least_s, self.floor_s)))
        if low >= self.best_s or (self.is_late and self.best_s < np.inf):
            self.leave(way, low)
            return True
        return False

    def leave(self, way: Way, low: float) -> None:
        """Leaves a mesh out, of which all plans cost so much, in favour of what seems to fit."""
        self.bounds[way] = low
        self.left[way] = None

    def seeds(self) -> list[Placement]:
        """The most promising meshes: the cheapest that fit, and those with the lowest bounds that do not."""
        fitting = [c.placement for c in sorted(self.candidates, key=lambda c: c.cost_s)[:SEEDS]]
        missing = sorted((e for e in self.excluded if e[0] < self.best_s), key=lambda e: (e[0], e[1].sizes, e[1].order))
        return fitting + [mesh for _, mesh in missing[:SEEDS]]
