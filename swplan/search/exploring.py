"""The search over variants of a program: micro-batches and recomputation, where memory costs more than they do.

The program as written comes first. If its best plan costs no more than it would with all the memory there could be,
nothing is gained by saving memory, and that is the answer (of programs of few decisions everything is tried). Else more
and more micro-batches are tried on the most promising meshes, each with nothing computed again, then all, then what
lies between if all fits; each is searched only as far as it could beat the best so far. It ends where memory does not
bind, or where so many micro-batches cost more than the best so far even if memory were no limit. If that leaves much
open, it is done again with more mesh axes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from swplan.costmodel.network import Placement
from swplan.ir.graph import Graph, Op
from swplan.ir.layout import replicated
from swplan.search.fitting import Found
from swplan.search.hunting import PROMISING, Hunt, Progress
from swplan.search.pinning import Pinned
from swplan.search.planner import hunt
from swplan.search.subject import ENOUGH, Pins, Subject, pricer_on, subject
from swplan.search.variants import AS_WRITTEN, Level, Variant, levels, micro_batch_counts, seconds_by_op

RELAXED = 16
"""Meshes on which it is solved as if memory were no limit, while nothing is known to fit."""
OPEN = 0.3
"""Gap beyond which meshes of more than two axes are looked at, unless they were asked for."""
CLOSED = 16
"""Meshes at most of which the floors are raised in the end."""
MOST_AXES = 3
"""Mesh axes at most, unless more are asked for: four take minutes where ops have many dims."""
MOST_PARTS = 256
"""Micro-batches at most."""
RECOMPUTE = ("auto", "nothing", "everything")

Make = Callable[[Variant], Graph | None]
PinsOf = Callable[[Subject], Pins | Pinned | None]
Price = Callable[[Subject, Found], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A plan that was found: its time and memory, and the program and mesh that it runs."""

    variant: Variant
    placement: Placement
    step_s: float
    memory_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """The outcome: the best plan with its program, and all that were found on the way.

    Attributes:
      variant: of the best plan.
      subject: its program, prepared.
      found: the plan; None if nothing fits.
      points: plans found, of every variant that was searched.
      tried: variants that were searched, with the fewest bytes that each needs at least.
    """

    variant: Variant
    subject: Subject
    found: Found | None
    points: tuple[Point, ...]
    tried: Mapping[Variant, float]


def explore(
    written: Subject,
    make: Make,
    *,
    max_axes: int,
    meshes: Sequence[Placement] | None = None,
    pins: PinsOf | None = None,
    kept: frozenset[int] = frozenset(),
    deadline: float | None = None,
    progress: Progress | None = None,
    thorough: bool = True,
    parts: int | None = None,
    recompute: str = "auto",
    price: Price | None = None,
) -> Explored:
    """The best plan of a program and its variants.

    Args:
      written: the program as written.
      make: the graph of a variant; None if the program does not come apart so.
      max_axes: how many mesh axes at most.
      meshes: these meshes only.
      pins: options to which decisions of a variant are held.
      kept: values that are not recomputed.
      deadline: of `time.monotonic`, after which the best so far is taken, or the first that is found.
      progress: called with (done, total, text).
      thorough: look at more than two axes even if something fits on two.
      parts: so many micro-batches; as many as are worth it if absent.
      recompute: one of `RECOMPUTE`.
      price: seconds of a finished program, where these decide between variants: where there are few decisions.
    """
    state = _Exploration(
        written=written,
        make=make,
        pins=pins,
        options={"meshes": meshes, "deadline": deadline, "progress": progress, "thorough": thorough},
        levels=cache(lambda: _chosen(levels(written.graph, _seconds(written), kept), recompute)),
        parts=parts,
        price=price if written.is_small and price is not None else lambda _, found: found.best.cost_s,
        as_written=parts in (None, 1) and recompute in ("auto", "nothing"),
    )
    for axes in (max_axes,) if thorough else range(min(2, max_axes), max_axes + 1):
        if state.best is None or state.best_s > (1 + OPEN) * state.bound_s:
            state.run(axes)
    return state.outcome()


def _variant(parts: int, level: Level) -> Variant:
    return Variant(micro_batches=parts, recomputed=level.values, recompute=level.name)


def _chosen(found: Sequence[Level], recompute: str) -> Sequence[Level]:
    """The levels among which the search may choose."""
    return found if recompute == "auto" else [found[{"nothing": 0, "everything": -1}[recompute]]]


def _seconds(written: Subject) -> Callable[[Op], float]:
    """What ops take on one device that does everything."""
    pricer = pricer_on(written, Placement(cluster=written.cluster, sizes=(written.cluster.devices,), order=(0,)))
    whole = (replicated(1),)
    return seconds_by_op(lambda op: float(pricer.op_s(op, whole)[0]) if op.rule is not None else 0.0)


@dataclass(slots=True, kw_only=True)
class _Exploration:
    """What was found so far."""

    written: Subject
    make: Make
    pins: PinsOf | None
    options: dict
    levels: Callable[[], Sequence[Level]]
    parts: int | None
    as_written: bool
    price: Price
    low: dict[Placement, float] = field(default_factory=dict)
    prices: dict[str, float] = field(default_factory=dict)
    best: tuple[Variant, Subject, Found] | None = None
    bound_s: float = np.inf
    hunts: list[Hunt] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    tried: dict[Variant, float] = field(default_factory=dict)
    floors: dict[Variant, float] = field(default_factory=dict)
    costs: dict[Variant, float] = field(default_factory=dict)

    def run(self, axes: int) -> None:
        """Searches the program as written and its variants on meshes of so many axes."""
        self.hunts.clear()
        self.floors.clear()
        self.options["max_axes"] = axes
        pins = self.pins(self.written) if self.pins else None
        first = hunt(self.written, pins=pins, worst_s=self.best_s, **self.options)
        self.low = dict(first.floors)
        if self.as_written:
            self.take(AS_WRITTEN, self.written, first)
        if self.written.is_small or self.best_s > (1 + ENOUGH) * self.floor_s:
            self.over()
            self.close(first)
        untried_s = np.inf if self.is_alone else first.floor_s
        self.bound_s = min([self.best_s, untried_s, *(state.bound_s for state in self.hunts)])

    @property
    def is_alone(self) -> bool:
        """Whether the program as written is the only one."""
        return self.parts == 1 and self.as_written and len(self.levels()) == 1

    @property
    def floor_s(self) -> float:
        """What a plan seems to cost at least that is not looked at yet, even if memory is no limit."""
        return min(self.low.values(), default=np.inf)

    @property
    def best_s(self) -> float:
        return self.best[2].best.cost_s if self.best is not None else np.inf

    def take(self, variant: Variant, prepared: Subject, state: Hunt) -> None:
        """Takes in what a search found."""
        found = state.finish()
        self.prices.update(state.prices)
        self.tried[variant] = min(state.least_bytes, self.tried.get(variant, np.inf))
        self.floors[variant] = state.floor_s
        self.costs[variant] = found.best.cost_s if found is not None else np.inf
        self.hunts.append(state)
        if found is None:
            return
        for one in (found.best, *found.runners_up):
            point = Point(variant=variant, placement=one.placement, step_s=one.cost_s, memory_bytes=one.memory_bytes)
            self.points.append(point)
        if self.best is None or self.price(prepared, found) < self.price(*self.best[1:]):
            self.best = (variant, prepared, found)

    def over(self) -> None:
        """Tries more and more micro-batches, each with as little computed again as fits."""
        for parts in self.counts() if self.low else ():
            if not self.over_levels(parts) or self._late():
                break

    def close(self, first: Hunt) -> None:
        """Raises the lowest floors of meshes that were only screened, since the bound of a plan is no better."""
        for _ in range(CLOSED if self.best is not None else 0):
            mesh = min(first.floors, key=first.floors.get, default=None)
            if mesh is None or first.floor_s >= (1 - ENOUGH) * self.best_s or self._late():
                break
            if not first.tighten(mesh, self.best_s):
                break

    def over_levels(self, parts: int) -> bool:
        """Tries the levels of one number of micro-batches; whether more micro-batches may cost less.

        They do not if memory does not bind with these and nothing is computed again, or if these cost too much in any
        case. Of the levels the last comes first: if memory binds with that, it is taken to bind with all.
        """
        plain, *others = self.levels()
        if not self.attempt(_variant(parts, plain)):
            return False
        if self.written.is_small:
            return self.over_all(parts, others)
        if self.is_free(parts, plain) or self.floors[_variant(parts, plain)] >= self.best_s:
            return False
        for level in [*others[-1:], *others[:-1]]:
            if self.floor_s + level.again_s / self.written.cluster.devices >= self.best_s or self._late():
                break
            self.attempt(_variant(parts, level))
            if self.is_free(parts, level) != (level is others[-1]):
                break
        return True

    def over_all(self, parts: int, others: Sequence[Level]) -> bool:
        """Tries all levels: what is computed again may cost less than what it saves even where memory does not bind."""
        for level in others:
            self.attempt(_variant(parts, level))
        tried = [self.floors.get(_variant(parts, level), np.inf) for level in self.levels()]
        return min(tried) < self.best_s

    def is_free(self, parts: int, level: Level) -> bool:
        """Whether memory costs the best plan of a variant nothing to speak of."""
        variant, again_s = _variant(parts, level), level.again_s / self.written.cluster.devices
        return self.costs.get(variant, np.inf) <= (1 + ENOUGH) * (self.floors.get(variant, 0.0) + again_s)

    def counts(self) -> tuple[int, ...]:
        """Of micro-batches: those that divide the batch, each at least twice the one before; or the one asked for."""
        if self.parts is not None:
            return (self.parts,)
        found = [1]
        for count in micro_batch_counts(self.written.graph, MOST_PARTS):
            found += [count] if count >= 2 * found[-1] else []
        return tuple(found)

    def attempt(self, variant: Variant) -> bool:
        """Searches one variant on the meshes on which it may beat the best so far; whether there is such a program.

        Within memory it is solved on the most promising ones.
        """
        graph = self.make(variant) if variant not in self.floors else None
        if graph is None:
            return variant in self.floors
        prepared = subject(graph, self.written.cluster, self.written.xla)
        meshes = sorted(self.low, key=lambda mesh: (self.low[mesh], mesh.sizes, mesh.order))
        most = len(meshes) if self.written.is_small else PROMISING if self.best else RELAXED
        options = self.options | {"meshes": meshes[:most], "worst_s": self.best_s, "least_s": self.floor_s}
        relies = bool(variant.recomputed) and self.prices != {}
        options |= {} if self.written.is_small else {"known": self.low, "looks": PROMISING, "relies": relies}
        pins = self.pins(prepared) if self.pins else None
        state = hunt(prepared, pins=pins, prices=self.prices, **options)
        if not variant.recomputed:
            self.low.update({mesh: max(floor_s, self.low[mesh]) for mesh, floor_s in state.floors.items()})
        self.take(variant, prepared, state)
        return True

    def _late(self) -> bool:
        deadline = self.options["deadline"]
        return deadline is not None and time.monotonic() > deadline and self.best is not None

    def outcome(self) -> Explored:
        variant, prepared, found = self.best or (AS_WRITTEN, self.written, None)
        if found is not None:
            found = replace(found, bound_s=min(found.best.cost_s, self.bound_s))
        points = tuple(self.points)
        return Explored(variant=variant, subject=prepared, found=found, points=points, tried=self.tried)
