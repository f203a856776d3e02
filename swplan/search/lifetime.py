"""When values are alive, and the moments of a step at which memory is most likely to be short.

Computed once on the program, before any mesh: a moment holds, for each class of decisions, how many bytes of its
values are alive then. On a mesh every value shrinks by how far it is split, which makes the moment a row of the
search's problem.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter

from swplan.passes.fusion import OnChip
from swplan.search.decisions import DecisionGraph, Node
from swplan.search.fold import Folded

Value = tuple[int, int]
"""A result of a node: the position of the node, and which of its results."""
Span = tuple[int, int, float, Value]
"""First time, last time, bytes, of which value; time is the position of a node."""
STANDS_IN = ("copy", "again", "slice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Bytes alive at one point of the step, by (class, result), unsplit."""

    label: str
    held: Mapping[tuple[int, int], float]


def moments(folded: Folded, fused: OnChip) -> tuple[Moment, ...]:
    """The moments of each part of the step at which most bytes are alive, but those of which others hold all."""
    spans = _spans(folded.decisions, fused)
    change = [0.0] * (len(folded.decisions.nodes) + 2)
    for start, end, held, _ in spans:
        change[start] += held
        change[end + 1] -= held
    alive = list(accumulate(change))
    points = {alive.index(max(alive)): "peak", **_peaks(folded.decisions, alive)}
    found = [_moment(folded, spans, time, label) for time, label in sorted(points.items())]
    held = [one for one in found if one.held]
    return tuple(one for i, one in enumerate(held) if not any(_covers(other, one) for other in held[i + 1 :]))


def _peaks(decisions: DecisionGraph, alive: Sequence[float]) -> dict[int, str]:
    """When most is alive in each part of the step; if products follow that of the optimizer, it is named `update`."""
    times: dict[str, list[int]] = defaultdict(list)
    last_product = 0
    for time, node in enumerate(decisions.nodes):
        if node.op is not None:
            times[node.op.stage].append(time)
            last_product = time if node.op.rule.work.unit == "matmul" else last_product
    found = {stage: max(of_stage, key=alive.__getitem__) for stage, of_stage in times.items()}
    among = last_product > found.get("optimizer", 0)
    return {time: "update" if stage == "optimizer" and among else stage for stage, time in found.items()}


def _covers(other: Moment, one: Moment) -> bool:
    """Whether all that is alive at one moment is alive at another."""
    return all(other.held.get(key, 0.0) >= size for key, size in one.held.items())


def _moment(folded: Folded, spans: list, time: int, label: str) -> Moment:
    held: dict[tuple[int, int], float] = defaultdict(float)
    for start, end, size, (node, out) in spans:
        if start <= time <= end:
            held[folded.class_of[node], out] += size
    return Moment(label=label, held=dict(held))


def _spans(decisions: DecisionGraph, fused: OnChip) -> list[Span]:
    """When every value is held."""
    lives = _Lives(decisions, fused)
    spans = []
    for position, node in enumerate(decisions.nodes):
        if lives.is_fused[position] or node.key[0] == "output":
            continue
        for out, size in enumerate(_sizes(node, decisions, fused)):
            value = (position, out)
            spans += [(first, final, size, value) for first, final in (lives.periods(value) if size else ())]
    return spans


class _Lives:
    """From when to when values are held.

    A loop reads what it takes anew on every trip, so to its end; what it takes in another layout is resharded before
    its first trip, and there is room for all that it stacks from then on. While something stands in for a value (the
    copy that several ops read, the stack of which a loop takes slices), that counts in its place; a copy of one slice
    does not stand in for all of them. What is read by what never reaches memory is held until a kernel that does has
    read that. What is returned in the place of an input takes no other from the last reader of that input on.
    """

    def __init__(self, decisions: DecisionGraph, fused: OnChip) -> None:
        self.decisions = decisions
        self.loops = sorted(decisions.loops, key=lambda loop: (loop[0], -loop[1]))
        self.kinds = [node.key[0] for node in decisions.nodes]
        self.is_fused = [_is_fused(node, fused) for node in decisions.nodes]
        self.last: dict[Value, int] = {}
        self.standing: dict[Value, list[int]] = {}
        self.source: dict[int, int] = {}
        for edge in sorted(decisions.edges, key=attrgetter("target"), reverse=True):
            source, target = edge.source, edge.target
            value, until = (source, edge.out), self.until(target)
            if until > self.last.get(value, source):
                self.last[value] = until
            if self.kinds[target] in STANDS_IN and self.kinds[source] != "slice":
                self.standing.setdefault(value, []).append(target)
                self.source[target] = source
        self.place = _places(decisions)

    def until(self, reader: int) -> int:
        """To when a node holds what it reads: carries take it over when their loop begins."""
        if self.kinds[reader] == "carry":
            return max(start for start, _ in self.loops if start <= reader) - 1
        return max(reader, self.last.get((reader, 0), reader)) if self.is_fused[reader] else reader

    def periods(self, value: Value) -> list[tuple[int, int]]:
        """The periods of a value, without those in which others stand in for it."""
        first, stop = self.life(value)
        if value in self.place:
            stop = min(stop, self.read_until((self.place[value], 0)) - 1)
        found = []
        steads = self.standing.get(value)
        for start, end in sorted(map(self.stead, steads)) if steads else ():
            found.append((first, start - 1))
            first = max(first, end + 1)
        found.append((first, stop))
        return [period for period in found if period[0] <= period[1]]

    def life(self, value: Value) -> tuple[int, int]:
        """From when to when a value is held, or what stands in for it."""
        position, kind = value[0], self.kinds[value[0]]
        if kind in ("input", "constant"):
            return position, len(self.kinds)
        first, stop = position, self.last.get(value, position)
        around = [loop for loop in self.loops if loop[0] <= position <= loop[1]]
        if kind == "stack":
            first = around[-1][0]
        taken = [loop for loop in around if self.source.get(position, position) < loop[0]]
        if taken:  # what is made of a value from outside of loops is made there
            first, stop = min(first, taken[0][0]), max(stop, taken[0][1])
        return first, max([end for start, end in self.loops if first < start <= stop <= end], default=stop)

    def stead(self, node: int) -> tuple[int, int]:
        """From when to when a node stands in for its source, or another one for it."""
        first, stop = self.life((node, 0))
        return first, max(stop, self.read_until((node, 0)))

    def read_until(self, value: Value) -> int:
        """When a value is read last, or what stands in for it."""
        steads = (self.stead(node)[1] for node in self.standing.get(value, ()))
        return max([self.last.get(value, value[0]), *steads])


def _places(decisions: DecisionGraph) -> dict[Value, int]:
    """Of what is returned in the place of an input, and what is copied into it: the node of the input."""
    nodes = decisions.nodes
    found = {(edge.source, edge.out): edge.target for edge in decisions.edges if nodes[edge.target].key[0] == "input"}
    copied = [edge for edge in decisions.edges if nodes[edge.target].key[0] == "copy" and (edge.target, 0) in found]
    return found | {(edge.source, edge.out): found[edge.target, 0] for edge in copied}


def _sizes(node: Node, decisions: DecisionGraph, fused: OnChip) -> list[float]:
    """Bytes of the results of a node; what never reaches memory takes none."""
    if node.op is None:
        return [node.aval.bytes * node.stacked]
    avals = decisions.graph.avals
    return [0 if value in fused.values else avals[value].bytes for value in node.op.results]


def _is_fused(node: Node, fused: OnChip) -> bool:
    """Whether a node makes, or copies, one value that never reaches memory."""
    if node.op is not None:
        return len(node.op.results) == 1 and node.op.results[0] in fused.values
    return node.key[0] in ("copy", "again") and node.key[1] in fused.values
