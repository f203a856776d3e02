"""Broadcasts go into the loops that read them: a loop makes them on every trip, in the kernel of their reader.

JAX moves out of a loop what does not change from trip to trip: a mask, and with it what spreads it over the batch and
the heads. There it would be held for the whole loop, as large as what it masks; inside, it never reaches memory. What
is spread is held instead, which is smaller.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace

from msgspec import structs

from swplan.ir.graph import Aval, Graph, Op, Region, free_values
from swplan.passes.dce import eliminate_dead
from swplan.passes.fusion import is_loop


def sink_broadcasts(graph: Graph) -> Graph:
    """The same graph, in which loops spread for themselves what only kernels of theirs read."""
    sinker = _Sinker(pinned=frozenset(pin.number for pin in graph.pins), avals=list(graph.avals))
    top = sinker.region(graph.top)
    roles = dict(graph.roles) | {new: graph.role(old) for new, old in sinker.origin.items()}
    return eliminate_dead(replace(graph, top=top, avals=tuple(sinker.avals), roles=roles))


@dataclass(slots=True, kw_only=True)
class _Sinker:
    """Rewrites a graph.

    Attributes:
      pinned: values that stay where they are.
      avals: those of the graph, and those of copies after them.
      origin: the value of which a value is a copy.
      spread: the broadcast that makes a value.
    """

    pinned: frozenset[int]
    avals: list[Aval]
    origin: dict[int, int] = field(default_factory=dict)
    spread: dict[int, Op] = field(default_factory=dict)

    def region(self, region: Region) -> Region:
        """A region whose loops make the broadcasts that they read."""
        ops = []
        for op in region.ops:
            self.note(op)
            enter = self.body if op.kind in ("scan", "while") else self.region
            ops.append(structs.replace(op, regions=tuple(map(enter, op.regions))) if op.regions else op)
        return replace(region, ops=tuple(ops))

    def note(self, op: Op) -> None:
        """Takes in an op, if its result is larger than what it spreads."""
        free = op.primitive == "broadcast_in_dim" and op.results[0] not in self.pinned
        if free and self.avals[op.results[0]].bytes > sum(self.avals[v].bytes for v in op.operands):
            self.spread[op.results[0]] = op

    def body(self, body: Region) -> Region:
        """The body of a loop, after the broadcasts that it makes for itself."""
        copies = {}
        spread = free_values(body) & self.spread.keys()
        readers = list(_readers(spread, body))
        for value in sorted(spread - set(body.outputs)):
            stages = [op.stage if is_loop(op) else "" for op, values in readers if value in values]
            if stages and all(stages):
                copies[value] = self.copy(value, stages[0])
        new = {value: op.results[0] for value, op in copies.items()}
        ops = tuple(_reading(op, new) for op in body.ops)
        return self.region(replace(body, ops=(*copies.values(), *ops)))

    def copy(self, value: int, stage: str) -> Op:
        """The op that makes a value, with a result of its own."""
        self.avals.append(self.avals[value])
        self.origin[len(self.avals) - 1] = value
        return structs.replace(self.spread[value], results=(len(self.avals) - 1,), stage=stage)


def _readers(values: Set[int], region: Region) -> Iterator[tuple[Op, Set[int]]]:
    """What ops in a region and those inside it read of values; what has regions where they cross their border."""
    for op in region.ops:
        crossing = [value for body in op.regions for value in body.outputs]
        read = values.intersection(op.operands) | values.intersection(crossing)
        if read:
            yield op, read
        for body in op.regions:
            yield from _readers(values, body)


def _reading(op: Op, new: dict[int, int]) -> Op:
    """An op that reads new values in place of old ones, in its regions too."""
    if op.regions:
        regions = (replace(body, ops=tuple(_reading(inner, new) for inner in body.ops)) for body in op.regions)
        return structs.replace(op, regions=tuple(regions))
    if new.keys().isdisjoint(op.operands):
        return op
    return structs.replace(op, operands=tuple(new.get(v, v) for v in op.operands))
