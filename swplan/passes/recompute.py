"""Recomputation: the backward pass computes values of the forward pass again, which then need not be kept.

Works on the program after differentiation. In a loop over layers the stack of a value is no longer made; the loop of
the backward pass takes what the value is made from and makes it again. Where layers are written out, copies of ops
stand before their first reader and start from values behind a fence (`Op.after`): or a compiler would find them equal
to the first ones, and keep these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from msgspec import structs

from swplan.ir.graph import Aval, Graph, Op, Region, reads
from swplan.ir.pins import carried
from swplan.passes.dce import eliminate_dead
from swplan.passes.precision import cast_rule
from swplan.passes.residuals import BACKWARD, Site, is_reader, sites

FENCE = "fence"
"""An identity of which no compiler knows that it is one: `operands[0]`, once `Op.after` is there."""


def recomputed(graph: Graph, dropped: frozenset[int]) -> Graph:
    """The program in which the backward pass computes these values again.

    Args:
      graph: the program.
      dropped: values of the forward pass; those of a loop are the values in its body.
    """
    for site in sites(graph):
        wanted = dropped & site.held.keys()
        if wanted:
            writer = _Writer(graph=graph, site=site, dropped=wanted, avals=list(graph.avals), roles=dict(graph.roles))
            top = writer.line() if site.loop is None else writer.loops()
            pins = graph.pins
            for one in writer.twins:
                pins = carried(pins, one)
            graph = replace(graph, top=top, avals=tuple(writer.avals), roles=writer.roles, pins=pins)
    return eliminate_dead(graph) if dropped else graph


@dataclass(slots=True, kw_only=True)
class _Writer:
    """Rewrites one site; `copies` of values are those of the line or loop that is being written."""

    graph: Graph
    site: Site
    dropped: frozenset[int]
    avals: list[Aval]
    roles: dict[int, str]
    copies: dict[int, int] = field(default_factory=dict)
    fences: dict[int, int] = field(default_factory=dict)
    after: int | None = None
    twins: list[dict[int, int]] = field(default_factory=list)

    def fresh(self, value: int) -> int:
        """A new value like another one."""
        self.avals.append(self.graph.avals[value])
        self.roles[len(self.avals) - 1] = "activation"
        return len(self.avals) - 1

    def line(self) -> Region:
        """The program with copies of forward ops before what reads them."""
        ops: list[Op] = []
        for op in self.graph.top.ops:
            if op.stage == BACKWARD and op.kind == "op":
                op = self.reading(op, ops)
                self.after = op.results[0] if op.results[0] in self.site.varying else self.after
            ops.append(op)
        return replace(self.graph.top, ops=tuple(ops))

    def reading(self, op: Op, ops: list[Op]) -> Op:
        """The op on copies of what is dropped, which are made before it if they are not there."""
        missing = (self.dropped & set(reads(op))) - self.copies.keys()
        if missing:
            self.fences = {}
            self.copy(missing, ops)
        return _renamed(op, self.copies, {})

    def copy(self, values: frozenset[int], ops: list[Op]) -> None:
        """Adds copies of the ops that make some values."""
        pending, seen = list(values), set()
        needed: list[Op] = []
        while pending:
            value = pending.pop()
            op = self.site.producers.get(value)
            if op is None or value in self.copies or op.results[0] in seen or not self._is_made_again(value, values):
                continue
            seen.add(op.results[0])
            needed.append(op)
            pending += reads(op)
        for op in sorted(needed, key=lambda op: self.site.position[op.results[0]]):
            self.add(op, ops)

    def _is_made_again(self, value: int, values: frozenset[int]) -> bool:
        kept = value in self.site.held and value not in self.dropped
        return value in values or (not kept and value not in self.site.fixed)

    def add(self, op: Op, ops: list[Op]) -> None:
        """Adds a copy of an op, on copies where there are some, and else behind a fence."""
        names = {v: self.copies[v] if v in self.copies else self.fenced(v, ops) for v in op.operands}
        inside = {v: self.copies[v] for v in reads(op) if v in self.copies}
        results = {v: self.fresh(v) for v in op.results}
        self.copies.update(results)
        self.twins.append(results)
        fresh: dict[int, int] = {}
        copied = _copied(op, {**inside, **names, **results}, self.fresh, fresh)
        ops.append(structs.replace(copied, stage=BACKWARD))

    def fenced(self, value: int, ops: list[Op]) -> int:
        """A value that the forward pass kept, behind a fence; what does not vary needs none."""
        if self.site.loop is not None or value not in self.site.varying:
            return value
        if value not in self.fences:
            self.fences[value] = self.fresh(value)
            rule, op = cast_rule(self.graph.avals[value].shape), self.site.producers.get(value)
            source = op.source if op is not None else ""
            after = value if self.after is None else self.after
            fence = Op(FENCE, (value,), (self.fences[value],), {}, None, rule, source, BACKWARD, after=after)
            ops.append(fence)
        return self.fences[value]

    def loops(self) -> Region:
        """The program whose loops of the backward pass make again what the loop of the site no longer stacks."""
        forward = self.site.loop
        stacks = {
            inner: outer
            for outer, inner in zip(
                forward.results[forward.carries :], forward.regions[0].outputs[forward.carries :], strict=True
            )
        }
        needed = self._sources()
        added = [v for v in sorted(needed & self.site.entries.keys()) if v not in stacks]
        for value in added:
            aval = self.graph.avals[value]
            self.avals.append(Aval((self.site.trips, *aval.shape), aval.dtype))
            self.roles[len(self.avals) - 1] = "activation"
            stacks[value] = len(self.avals) - 1
        lost = {stacks[v]: v for v in self.dropped}
        ops = []
        for op in self.graph.top.ops:
            if op is forward:
                op = _stacking(op, added, [stacks[v] for v in added])
            elif is_reader(op, self.site.trips) and not lost.keys().isdisjoint(op.operands[op.carries :]):
                op = self.remaking(op, stacks, lost)
            ops.append(op)
        return replace(self.graph.top, ops=tuple(ops))

    def _sources(self) -> set[int]:
        """What of the body of the loop the copies start from."""
        again, _ = self.site.again(self.dropped)
        made = {v for op in again for v in op.results}
        return {v for op in again for v in reads(op)} - made

    def remaking(self, op: Op, stacks: Mapping[int, int], lost: Mapping[int, int]) -> Op:
        """A loop of the backward pass that makes again what it read."""
        (body,), carries = op.regions, op.carries
        outer, inner = list(op.operands), list(body.inputs)
        wanted = {inner[i]: lost[v] for i, v in enumerate(outer) if i >= carries and v in lost}
        kept = [i for i, v in enumerate(outer) if i < carries or v not in lost]
        outer, inner = [outer[i] for i in kept], [inner[i] for i in kept]
        self.copies = {}
        self._take(self._available(stacks), outer, inner, carries)
        ops: list[Op] = []
        for one in body.ops:
            missing = frozenset(wanted[v] for v in reads(one) if v in wanted) - self.copies.keys()
            self.copy(missing, ops) if missing else None
            ops.append(_renamed(one, {v: self.copies[w] for v, w in wanted.items() if w in self.copies}, {}))
        region = Region(tuple(inner), body.outputs, tuple(ops))
        return structs.replace(op, operands=tuple(outer), regions=(region,))

    def _available(self, stacks: Mapping[int, int]) -> dict[int, int]:
        """What the copies start from -> the array outside that holds a slice of it for each trip."""
        forward = self.site.loop
        scanned = zip(forward.regions[0].inputs[forward.carries :], forward.operands[forward.carries :], strict=True)
        known = {**dict(scanned), **stacks}
        return {v: known[v] for v in sorted(self._sources()) if v in known}

    def _take(self, sources: Mapping[int, int], outer: list[int], inner: list[int], carries: int) -> None:
        """Has the loop take a slice of each source, unless it does already."""
        for value, array in sources.items():
            position = next((i for i in range(carries, len(outer)) if outer[i] == array), None)
            if position is None:
                outer.append(array)
                inner.append(self.fresh(value))
                position = len(outer) - 1
            self.copies[value] = inner[position]


def _stacking(op: Op, values: Sequence[int], results: Sequence[int]) -> Op:
    """A loop that stacks more values of its body."""
    (body,) = op.regions
    region = replace(body, outputs=(*body.outputs, *values))
    return structs.replace(op, results=(*op.results, *results), regions=(region,))


def _renamed(op: Op, names: Mapping[int, int], results: Mapping[int, int]) -> Op:
    """An op that reads, and makes, values under other names."""
    if not any(v in names for v in reads(op)) and not results:
        return op
    of = lambda values: tuple(names.get(v, v) for v in values)  # noqa: E731
    regions = tuple(
        Region(body.inputs, of(body.outputs), tuple(_renamed(one, names, {}) for one in body.ops))
        for body in op.regions
    )
    made = tuple(results.get(v, v) for v in op.results)
    after = names.get(op.after, op.after) if op.after is not None else None
    return structs.replace(op, operands=of(op.operands), results=made, regions=regions, after=after)


def _copied(op: Op, names: Mapping[int, int], fresh: object, made: dict[int, int]) -> Op:
    """A copy of an op under new names, with new values for all that its regions define."""
    of = lambda values: tuple(made.get(v, names.get(v, v)) for v in values)  # noqa: E731
    operands, results, regions = of(op.operands), of(op.results), []
    for body in op.regions:
        made.update({v: fresh(v) for v in body.inputs})
        ops = []
        for one in body.ops:
            made.update({v: fresh(v) for v in one.results})
            ops.append(_copied(one, names, fresh, made))
        regions.append(Region(of(body.inputs), of(body.outputs), tuple(ops)))
    return structs.replace(op, operands=operands, results=results, regions=tuple(regions))
