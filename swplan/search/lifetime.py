"""When values are alive, and the moments of a step at which memory is most likely to be short.

Computed once on the program, before any mesh: a moment holds, for each class of decisions, how many bytes of its
values are
alive then. On a mesh every value shrinks by how far it is split, which makes the moment a row of the search's problem.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from swplan.passes.fusion import OnChip
from swplan.search.decisions import DecisionGraph, Node
from swplan.search.fold import Folded

Value = tuple[int, int]
"""A result of a node: the position of the node, and which of its results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Bytes alive at one point of the step, by (class, result), unsplit."""

    label: str
    held: Mapping[tuple[int, int], float]


def moments(folded: Folded, fused: OnChip) -> tuple[Moment, ...]:
    """The moments of the forward/backward and of the optimizer part at which most bytes are alive."""
    spans = _spans(folded.decisions, fused)
    times = len(folded.decisions.nodes) + 1
    alive = np.zeros(times + 1)
    for start, end, held, _ in spans:
        alive[start] += held
        alive[end + 1] -= held
    alive = np.cumsum(alive)
    points = {"peak": int(alive.argmax()), **_optimizer_peak(folded.decisions, alive)}
    unique = {time: label for label, time in points.items()}
    return tuple(_moment(folded, spans, time, label) for time, label in sorted(unique.items()))


def _optimizer_peak(decisions: DecisionGraph, alive: np.ndarray) -> dict[str, int]:
    times = [i for i, node in enumerate(decisions.nodes) if node.op is not None and node.op.stage == "optimizer"]
    return {"optimizer": max(times, key=lambda t: alive[t])} if times else {}


def _moment(folded: Folded, spans: list, time: int, label: str) -> Moment:
    held: dict[tuple[int, int], float] = defaultdict(float)
    for start, end, size, (node, out) in spans:
        if start <= time <= end:
            held[folded.class_of[node], out] += size
    return Moment(label=label, held=dict(held))


def _spans(decisions: DecisionGraph, fused: OnChip) -> list[tuple[int, int, float, tuple[int, int]]]:
    """(first time, last time, bytes, (node, result)) of every value; time is the position of a node."""
    last: dict[tuple[int, int], int] = {}
    copied: dict[tuple[int, int], int] = {}
    for edge in decisions.edges:
        source = (edge.source, edge.out)
        target = decisions.nodes[edge.target]
        last[source] = max(last.get(source, edge.source), edge.target)
        if target.key[0] in ("copy", "again"):
            copied[source] = edge.target
    end = len(decisions.nodes)
    spans = []
    for position, node in enumerate(decisions.nodes):
        kept = node.key[0] in ("input", "constant")
        stop = lambda out, at=position: last.get((at, out), at)  # noqa: E731
        for out, size in enumerate(_sizes(node, decisions, fused)):
            for first, final in _periods((position, out), end if kept else stop(out), copied, last) if size else ():
                spans.append((first, final, size, (position, out)))
    return spans


def _periods(value: Value, stop: int, copied: Mapping[Value, int], last: Mapping[Value, int]) -> list[tuple[int, int]]:
    """From when to when a value is held. While a copy of it is alive the copy counts in its place."""
    first = value[0]
    if value not in copied:
        return [(first, stop)]
    copy = until = copied[value]
    inner: int | None = copy
    while inner is not None:
        until, inner = max(until, last.get((inner, 0), inner)), copied.get((inner, 0))
    return [(start, end) for start, end in ((first, copy - 1), (until + 1, stop)) if start <= end]


def _sizes(node: Node, decisions: DecisionGraph, fused: OnChip) -> list[float]:
    """Bytes of the results of a node."""
    if node.op is not None:
        avals = decisions.graph.avals
        return [0 if value in fused else avals[value].bytes for value in node.op.results]
    if node.key[0] == "output":
        return [0]
    return [node.aval.bytes * node.stacked]
