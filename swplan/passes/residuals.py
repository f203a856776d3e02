"""What the backward pass takes from the forward pass, and what it costs to compute it again instead of keeping it.

A site is a straight line of forward ops whose values some backward ops read: the body of a loop over layers, of which
stacks of values are kept, or the program itself, where layers are written out. From what a site keeps, `again` says
which ops have to run once more. The rewriting is in `passes/recompute.py`; what to keep is decided by the search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property

from swplan.ir.graph import Graph, Op, reads

BACKWARD = "backward"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Forward ops, and those of their values that the backward pass reads.

    Attributes:
      ops: the forward ops, in order.
      loop: the loop of which they are the body; None for the program itself.
      held: bytes of every value that is kept for the backward pass, over all trips.
      entries: bytes of every carry as it enters a trip, over all trips: what must be kept to start from it.
      fixed: values that are there in the backward pass in any case.
      trips: how often the ops run.
      varying: values of the program that depend on the batch.
    """

    ops: tuple[Op, ...]
    loop: Op | None
    held: Mapping[int, int]
    entries: Mapping[int, int]
    fixed: frozenset[int]
    trips: int
    varying: Set[int] = frozenset()

    @cached_property
    def producers(self) -> Mapping[int, Op]:
        """The op that makes each value."""
        return {v: op for op in self.ops for v in op.results}

    @cached_property
    def position(self) -> Mapping[int, int]:
        """Where each op stands, by its first result."""
        return {op.results[0]: i for i, op in enumerate(self.ops)}

    def again(self, dropped: Set[int]) -> tuple[tuple[Op, ...], frozenset[int]]:
        """The ops that must run once more, in order, and the entries that they start from, if these are not kept."""
        found: dict[int, Op] = {}
        entries: set[int] = set()
        waiting = [v for v in dropped if v in self.held]
        while waiting:
            value = waiting.pop()
            op = self.producers.get(value)
            if op is None or (value in self.held and value not in dropped):
                entries.update({value} & self.entries.keys())
            elif op.results[0] not in found:
                found[op.results[0]] = op
                waiting += [v for v in reads(op) if v not in self.fixed]
        return tuple(sorted(found.values(), key=lambda op: self.position[op.results[0]])), frozenset(entries)


def sites(graph: Graph) -> tuple[Site, ...]:
    """All places of a program at which values can be computed again."""
    loops = (_loop_site(graph, op) for op in graph.top.ops if op.kind == "scan" and op.stage != BACKWARD)
    return tuple(site for site in (*loops, _line_site(graph)) if site is not None and site.held)


def _loop_site(graph: Graph, op: Op) -> Site | None:
    (body,) = op.regions
    trips = op.trips or 1
    read_elsewhere = set(graph.top.outputs)
    for other in graph.top.ops:
        scanned = set(other.operands[other.carries :]) if is_reader(other, trips) else set()
        read_elsewhere.update(set(reads(other)) - scanned)
        read_elsewhere.update(other.operands[: other.carries])
    stacked = zip(op.results[op.carries :], body.outputs[op.carries :], strict=True)
    made = {v for inner in body.ops for v in inner.results}
    held = {
        inner: graph.avals[inner].bytes * trips
        for outer, inner in stacked
        if inner in made and outer not in read_elsewhere and _is_array(graph, inner)
    }
    entries = {v: graph.avals[v].bytes * trips for v in body.inputs[: op.carries]}
    outside = frozenset(v for inner in body.ops for v in reads(inner)) - made - set(entries)
    return Site(ops=body.ops, loop=op, held=held, entries=entries, fixed=outside, trips=trips)


def is_reader(op: Op, trips: int) -> bool:
    """Whether an op may read stacks of so many trips back, one slice a trip."""
    return op.kind == "scan" and op.stage == BACKWARD and op.trips == trips


def _is_array(graph: Graph, value: int) -> bool:
    return bool(graph.avals[value].shape) and not graph.avals[value].is_key


def _line_site(graph: Graph) -> Site:
    """The program itself. Results of loops, and what depends on no batch (weights cast, masks, draws), are kept."""
    ops = tuple(op for op in graph.top.ops if op.stage == "forward" and op.kind == "op")
    varying = _varying(graph)
    later = [op for op in graph.top.ops if op.stage == BACKWARD]
    read_later = {v for op in later if op.kind == "op" for v in reads(op)}
    read_later -= {v for op in later if op.kind != "op" for v in reads(op)} | set(graph.top.outputs)
    read_later -= {v for op in graph.top.ops if op.stage == "optimizer" for v in reads(op)}
    made = {v for op in ops for v in op.results if v in varying}
    held = {v: graph.avals[v].bytes for v in sorted(made & read_later) if _is_array(graph, v)}
    fixed = frozenset(v for op in ops for v in reads(op)) - made
    return Site(ops=ops, loop=None, held=held, entries={}, fixed=fixed, trips=1, varying=varying)


def _varying(graph: Graph) -> set[int]:
    """Values that depend on the batch."""
    found = {v for v in graph.top.inputs if graph.role(v) == "batch"}
    for op in graph.top.ops:
        if not found.isdisjoint(reads(op)):
            found.update(op.results)
    return found


def alike(site: Site, value: int) -> tuple:
    """What residuals have in common that are kept or not together: equal ops of equal layers."""
    op = site.producers[value]
    return (op.primitive, op.source, id(op.rule), op.results.index(value), id(site.loop))


def groups(graph: Graph) -> Iterator[tuple[Site, tuple[int, ...]]]:
    """Residuals that are kept or not together, with their site."""
    for site in sites(graph):
        found: dict[tuple, list[int]] = {}
        for value in site.held:
            found.setdefault(alike(site, value), []).append(value)
        for values in found.values():
            yield site, tuple(values)
