"""Programs of one step: in how many micro-batches it runs, and what its backward pass computes again.

Both are rewritings of the program that cost time and save memory, so they are looked at only where memory costs more.
Each variant is a program of its own, searched like any other (`search/exploring.py`). What is computed again is one of
a few nested levels.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from swplan.ir.graph import Graph, Op
from swplan.passes.residuals import Site, groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One program of a step.

    Attributes:
      micro_batches: how many.
      recomputed: values of the forward pass that the backward pass computes again.
      recompute: what these are, in words.
    """

    micro_batches: int = 1
    recomputed: frozenset[int] = frozenset()
    recompute: str = "nothing"


AS_WRITTEN = Variant()


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """So much is computed again: which values, bytes that are no longer kept, seconds on one device."""

    values: frozenset[int]
    saved_bytes: int
    again_s: float
    name: str


NOTHING_AGAIN = Level(values=frozenset(), saved_bytes=0, again_s=0.0, name="nothing")
PRODUCT_LEVELS = 3
"""Levels beyond that of all which no matrix product is needed for."""


def levels(graph: Graph, seconds: Callable[[Op], float], kept: frozenset[int] = frozenset()) -> tuple[Level, ...]:
    """Nested choices of what to compute again, from nothing to all that can be, the most bytes for their time first.

    Args:
      graph: the program.
      seconds: what an op takes on one device.
      kept: values that are kept in any case.
    """
    choice = _Choice([(site, tuple(v for v in vs if v not in kept)) for site, vs in groups(graph)], seconds)
    steps = list(choice.steps())
    found = [NOTHING_AGAIN]
    products = [i for i, level in enumerate(steps) if level.again_s > 0 and _has_product(level, choice)]
    cheap = products[0] if products else len(steps)
    marks = [cheap - 1] if cheap else []
    rest = len(steps) - cheap
    marks += [cheap - 1 + -(-rest * part // PRODUCT_LEVELS) for part in range(1, PRODUCT_LEVELS + 1)] if rest else []
    for mark in dict.fromkeys(marks):
        if steps[mark].saved_bytes > found[-1].saved_bytes:
            found.append(steps[mark])
    return tuple(found)


@dataclass(slots=True)
class _Choice:
    """Gives up one group of residuals after the other."""

    groups: list[tuple[Site, tuple[int, ...]]]
    seconds: Callable[[Op], float]

    def steps(self) -> Iterator[Level]:
        """After each group that is given up, the one with most bytes for its time first: a lazy greedy order."""
        dropped: frozenset[int] = frozenset()
        known: dict[int, tuple[int, float]] = {}
        heap = [(-1.0, number) for number in range(len(self.groups))]
        heapq.heapify(heap)
        fresh: set[int] = set()
        while heap:
            _, number = heapq.heappop(heap)
            site, values = self.groups[number]
            if number in fresh:
                dropped |= set(values)
                fresh.clear()
                known[id(site)] = self.cost(site, dropped)
                saved, again_s = (sum(column) for column in zip(*known.values(), strict=True))
                yield Level(values=dropped, saved_bytes=saved, again_s=again_s, name=self.name(dropped))
                continue
            before, after = known.get(id(site), (0, 0.0)), self.cost(site, dropped | set(values))
            if after[0] > before[0]:
                heapq.heappush(heap, (-(after[0] - before[0]) / max(after[1] - before[1], 1e-12), number))
                fresh.add(number)

    def cost(self, site: Site, dropped: frozenset[int]) -> tuple[int, float]:
        """Bytes saved at a site, and seconds of what it computes again."""
        again, entries = site.again(dropped)
        saved = sum(size for v, size in site.held.items() if v in dropped)
        saved -= sum(site.entries[v] for v in entries)
        return saved, sum(map(self.seconds, again)) * site.trips

    def name(self, dropped: frozenset[int]) -> str:
        """What is computed again, in words."""
        count = sum(len(values) for _, values in self.groups)
        if len(dropped) == count:
            return "everything"
        kinds = "with" if self.has_product(dropped) else "without"
        return f"{len(dropped)} of {count} values, {kinds} matrix products"

    def has_product(self, dropped: frozenset[int]) -> bool:
        """Whether a matrix product runs once more."""
        sites = {id(site): site for site, _ in self.groups}
        return any(
            op.rule is not None and op.rule.work.unit == "matmul"
            for site in sites.values()
            for op in site.again(dropped)[0]
        )


def _has_product(level: Level, choice: _Choice) -> bool:
    return "with matrix" in level.name or (level.name == "everything" and choice.has_product(level.values))


def micro_batch_counts(graph: Graph, most: int) -> tuple[int, ...]:
    """Counts up to `most` that divide the batch."""
    batch = [graph.avals[v].shape[0] for v in graph.top.inputs if graph.role(v) == "batch" and graph.avals[v].shape]
    common = max(set(batch), key=lambda n: (batch.count(n), n), default=1)
    return tuple(n for n in range(1, min(common, most) + 1) if common % n == 0)


def seconds_by_op(op_s: Callable[[Op], float]) -> Callable[[Op], float]:
    """The same, computed once for each op; loops count as their bodies."""
    known: dict[int, float] = {}

    def seconds(op: Op) -> float:
        if op.regions:
            return sum(seconds(inner) for body in op.regions for inner in body.ops) * (op.trips or 1)
        if id(op) not in known:
            known[id(op)] = op_s(op)
        return known[id(op)]

    return seconds
