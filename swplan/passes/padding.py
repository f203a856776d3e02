"""A graph as if one dim of a value were longer: to price what padding would bring, not to run it.

The new extent spreads to every dim that must be as long: through the factors of ops, the borders of loops and
branches, and results that replace an input. What is padded with, and masked again, is not priced. Where a dim is
merged with another, or is what a loop counts, there is no answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from msgspec import structs

from swplan.ir.graph import Graph, Op, Region, walk
from swplan.ir.rule import Rule

Place = tuple[int, int]
"""A value and one of its dims."""


class NotSpread(Exception):
    """An extent meets a dim of which it cannot be said how long it becomes."""


def padded(graph: Graph, place: Place, extent: int) -> Graph | None:
    """The graph with another extent at one place and wherever that leads; None if it cannot be said where that is."""
    spread = _Spread(graph=graph)
    try:
        spread.over(place, extent)
    except NotSpread:
        return None
    return spread.rebuilt()


@dataclass(slots=True, kw_only=True)
class _Spread:
    """Extents of places, and of factors of ops, that have changed."""

    graph: Graph
    extents: dict[Place, int] = field(default_factory=dict)
    factors: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    rules: dict[tuple, Rule] = field(default_factory=dict)

    def over(self, place: Place, extent: int) -> None:
        """Follows one extent."""
        linked, touching = _links(self.graph), _touching(self.graph)
        waiting = [(place, extent)]
        while waiting:
            place, extent = waiting.pop()
            if self.extents.setdefault(place, extent) != extent:
                raise NotSpread
            value, dim = place
            fresh = [(other, dim + by) for other, by in linked[value]]
            for op in touching[value]:
                fresh += self.through(op, place, extent)
            if any(d < 0 for _, d in fresh):
                raise NotSpread
            waiting += [(each, extent) for each in fresh if each not in self.extents]

    def through(self, op: Op, place: Place, extent: int) -> Iterator[Place]:
        """The places that an op makes as long."""
        value, dim = place
        for other, dims in _held(op):
            if other != value:
                continue
            if len(dims[dim]) != 1:
                raise NotSpread
            yield from self.factor(op, dims[dim][0], extent)

    def factor(self, op: Op, factor: int, extent: int) -> Iterator[Place]:
        """The places at which a factor of an op stands."""
        if self.factors[id(op)].setdefault(factor, extent) != extent:
            raise NotSpread
        for value, dims in _held(op):
            for dim, own in enumerate(dims):
                if factor in own and len(own) > 1:
                    raise NotSpread
                if factor in own:
                    yield value, dim

    def rebuilt(self) -> Graph:
        """The graph with what has changed."""
        avals = list(self.graph.avals)
        for (value, dim), extent in self.extents.items():
            shape = avals[value].shape
            avals[value] = replace(avals[value], shape=(*shape[:dim], extent, *shape[dim + 1 :]))
        return replace(self.graph, avals=tuple(avals), top=self.region(self.graph.top))

    def region(self, region: Region) -> Region:
        """A region whose ops have the new extents."""
        return replace(region, ops=tuple(self.op(op) for op in region.ops))

    def op(self, op: Op) -> Op:
        """An op with the new extents; ops that shared a rule still do."""
        if op.regions:
            return structs.replace(op, regions=tuple(map(self.region, op.regions)))
        changed = self.factors.get(id(op))
        if not changed:
            return op
        key = (id(op.rule), tuple(sorted(changed.items())))
        factors = (replace(f, size=changed.get(i, f.size)) for i, f in enumerate(op.rule.factors))
        return structs.replace(op, rule=self.rules.setdefault(key, replace(op.rule, factors=tuple(factors))))


def _held(op: Op) -> list[tuple[int, tuple[tuple[int, ...], ...]]]:
    """The values of an op, with the factors of their dims."""
    return [*zip(op.operands, op.rule.operands, strict=True), *zip(op.results, op.rule.results, strict=True)]


def _touching(graph: Graph) -> dict[int, list[Op]]:
    """The ops that read or make each value."""
    found: dict[int, list[Op]] = defaultdict(list)
    for op, _ in walk(graph.top):
        if op.rule is not None and not op.regions:
            for value in {*op.operands, *op.results}:
                found[value].append(op)
    return found


def _links(graph: Graph) -> dict[int, list[tuple[int, int]]]:
    """For each value, those that have its dims, `by` places further to the left (or right, if negative)."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)

    def link(a: int, b: int, by: int = 0) -> None:
        found[a].append((b, by))
        found[b].append((a, -by))

    for position, source in graph.aliases.items():
        link(graph.top.outputs[position], graph.top.inputs[source])
    for op, _ in walk(graph.top):
        for pair in _crossing(op):
            link(*pair)
    return found


def _crossing(op: Op) -> Iterator[tuple[int, int, int]]:
    """Pairs of an outer and an inner value of an op with regions, and how the dims of the inner one are shifted."""
    carries = op.carries if op.kind in ("scan", "while") else 0
    for body in op.regions:
        yield from ((op.operands[i], body.inputs[i], 0) for i in range(carries))
    for body in op.regions[-1:] if op.kind == "while" else op.regions:
        yield from ((result, inner, 0) for result, inner in zip(op.results[:carries], body.outputs, strict=False))
        shift = -1 if op.kind == "scan" else 0
        yield from ((r, v, shift) for r, v in zip(op.results[carries:], body.outputs[carries:], strict=True))
        if op.kind == "scan":
            pairs = zip(op.operands[carries:], body.inputs[carries:], strict=True)
            yield from ((outer, inner, -1) for outer, inner in pairs)
