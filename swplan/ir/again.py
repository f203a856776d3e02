"""What the backward pass reads again: values that need not be held for it as they were used before.

A parameter that is gathered for its layer is gathered once more for the layer's gradients, or everything gathered would
be alive at once. So it is in a loop of the backward pass that computes its layer again, on every trip. Decisions
(`search/decisions.py`) and partitioner agree on which values these are by asking here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swplan.ir.graph import Graph, Op, Region, walk

BACKWARD = "backward"
Windows = dict[int, set[bool]]


@dataclass(frozen=True, slots=True)
class Again:
    """Which values are read again, and by which ops.

    Attributes:
      counts: how many ops read each value later.
      inner: values of the bodies of loops of the backward pass.
      remade: first results of ops of the backward pass that compute a value of the forward pass once more.
    """

    counts: Mapping[int, int]
    inner: frozenset[int]
    remade: frozenset[int]

    def is_later(self, op: Op, value: int) -> bool:
        """Whether an op reads a value in the later of two passes, or a loop takes slices of it, but not as a carry.

        These are the passes over the program; for what a loop of the backward pass defines, what it computes once more
        and its gradients.
        """
        if op.stage != BACKWARD or op.kind not in ("op", "scan"):
            return False
        if op.kind == "scan":
            return value not in self.inner and value not in op.operands[: op.carries]
        return value not in self.inner or op.results[0] not in self.remade

    def reads(self, op: Op) -> list[int]:
        """The values that an op reads again."""
        if op.stage != BACKWARD:
            return []
        return [v for v in dict.fromkeys(op.operands) if v in self.counts and self.is_later(op, v)]


def is_made_again(op: Op, graph: Graph) -> bool:
    """Whether an op makes the same of constants on every device: it is not exchanged, each makes the part it needs."""
    if op.primitive not in ("broadcast_in_dim", "iota"):
        return False
    return all(v in graph.constants and not graph.avals[v].shape for v in op.operands)


def read_again(graph: Graph) -> Again:
    """The arrays that ops of a later pass read which were there before, and that other ops read too.

    An array that some loop around it reads in both passes on every trip is not among them: it is held all the time. Nor
    is one that every device makes for itself.
    """
    inner: set[int] = set()
    remade: set[int] = set()
    _inside(graph, graph.top, False, inner, remade)
    everywhere = {op.results[0] for op, _ in walk(graph.top) if is_made_again(op, graph)}
    work = _Counting(known=Again({}, frozenset(inner), frozenset(remade)), others=set(graph.top.outputs))
    work.count(graph.top)
    for op in graph.top.ops:
        if op.regions:
            work.passes(op)
    chosen = work.counts.keys() & work.others - work.made - work.mixed - everywhere
    counts = {value: work.counts[value] for value in sorted(chosen) if graph.avals[value].shape}
    return Again(counts, work.known.inner, work.known.remade)


def _inside(graph: Graph, region: Region, backward: bool, inner: set[int], remade: set[int]) -> None:
    """Finds what loops of the backward pass define, and what they compute once more."""
    inner.update(region.inputs if backward else ())
    for op in region.ops:
        inner.update(op.results if backward else ())
        if op.stage == BACKWARD and op.kind == "op" and graph.role(op.results[0]) == "activation":
            remade.add(op.results[0])
        for body in op.regions:
            _inside(graph, body, backward or op.stage == BACKWARD, inner, remade)


@dataclass(slots=True, kw_only=True)
class _Counting:
    """What is known while a graph is read.

    Attributes:
      known: who reads what again.
      counts: how many ops read each value later.
      others: values that are read before.
      made: values that a later pass itself makes.
      mixed: values that one loop reads in both passes.
    """

    known: Again
    counts: dict[int, int] = field(default_factory=dict)
    others: set[int]
    made: set[int] = field(default_factory=set)
    mixed: set[int] = field(default_factory=set)

    def count(self, region: Region) -> None:
        """Takes in all ops of a region."""
        inner = self.known.inner
        for op in region.ops:
            if op.stage == BACKWARD:
                self.count_later(op)
            else:
                self.others.update([v for v in op.operands if v not in inner])
            for body in op.regions:
                self.others.update([v for v in body.outputs if v not in inner])
                self.count(body)

    def count_later(self, op: Op) -> None:
        """Takes in an op of the backward pass."""
        inner, again = self.known.inner, op.results[0] in self.known.remade
        if op.kind == "op":
            self.made.update([v for v in op.results if not again or v not in inner])
        for value in dict.fromkeys(op.operands):
            if self.known.is_later(op, value):
                self.counts[value] = self.counts.get(value, 0) + 1
            elif again or value not in inner:
                self.others.add(value)

    def passes(self, op: Op) -> Windows:
        """In which passes an op reads each value."""
        reads: Windows = {value: {self.known.is_later(op, value)} for value in op.operands}
        for body in op.regions:
            for value, passes in self.windows(body).items():
                reads.setdefault(value, set()).update(passes)
        self.mixed.update(value for value, passes in reads.items() if len(passes) > 1)
        return reads

    def windows(self, region: Region) -> Windows:
        """In which passes a region reads each value from outside."""
        found: Windows = {}
        defined = set(region.inputs)
        for op in region.ops:
            for value, passes in self.passes(op).items():
                found.setdefault(value, set()).update(passes)
            defined.update(op.results)
        for value in region.outputs:
            found.setdefault(value, set()).add(False)
        return {value: passes for value, passes in found.items() if value not in defined}
