"""Folds repeats: decisions that look alike, and whose surroundings look alike, are made once.

Colour refinement (Weisfeiler and Leman 1968) for a few rounds: two nodes share a class if their ops, shapes and roles
agree
and so do those of everything within `ROUNDS` edges. Ninety-six equal layers become three: first, middle and last. The
classes with the edges between them are the folded graph on which the search is exact.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from swplan.search.decisions import DecisionGraph, Edge, Node

ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """The folded graph.

    Attributes:
      decisions: what was folded.
      class_of: class of every node.
      members: nodes of every class; the first one stands for all.
      edges: one representative for each kind of edge between two classes, with the summed count.
      frames: what spaces over it share (`search/frame.py`), kept as long as it is.
    """

    decisions: DecisionGraph
    class_of: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]
    edges: tuple[tuple[Edge, int], ...]
    frames: dict = field(default_factory=dict, compare=False, repr=False)

    def representative(self, cls: int) -> Node:
        """A node of the class."""
        return self.decisions.nodes[self.members[cls][0]]


def fold(decisions: DecisionGraph, rounds: int = ROUNDS) -> Folded:
    """Classes of decisions that are made once."""
    colours = np.array(_numbered(map(_signature, decisions.nodes)), dtype=np.int64)
    ends = _Ends.of(decisions)
    for _ in range(rounds):
        colours = np.array(_numbered(zip(colours.tolist(), *ends.seen(colours), strict=True)), dtype=np.int64)
    members: list[list[int]] = [[] for _ in range(max(colours, default=-1) + 1)]
    for node, colour in enumerate(colours.tolist()):
        members[colour].append(node)
    return Folded(
        decisions=decisions,
        class_of=tuple(colours.tolist()),
        members=tuple(map(tuple, members)),
        edges=ends.folded(decisions.edges, colours),
    )


def _signature(node: Node) -> Hashable:
    if node.op is not None:
        return (node.op.primitive, id(node.op.rule), node.count)
    pins = tuple(pin.group for pin in node.pins)
    return (node.key[0], node.aval, node.pending, node.role, node.count, pins)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """The ends of all edges.

    Attributes:
      source: the nodes from which edges go.
      target: the nodes to which they go.
      kind: a number for what tells an edge from another between nodes of the same colours.
      like: a number for what tells their representatives apart.
    """

    source: np.ndarray
    target: np.ndarray
    kind: np.ndarray
    like: np.ndarray

    @classmethod
    def of(cls, decisions: DecisionGraph) -> _Ends:
        """Those of a decision graph."""
        edges = decisions.edges
        same = _numbered((e.out, e.slot, e.count, id(e.aval), e.source_shift, e.target_shift) for e in edges)
        one = dict(zip(same, edges, strict=True)).values()
        kind = _numbered((e.out, e.slot, e.count) for e in one)
        like = _numbered((e.out, e.slot, e.aval, e.source_shift, e.target_shift) for e in one)
        columns = {
            "source": [edge.source for edge in edges],
            "target": [edge.target for edge in edges],
            "kind": [kind[number] for number in same],
            "like": [like[number] for number in same],
        }
        return cls(**{name: np.array(column, dtype=np.int64) for name, column in columns.items()})

    def seen(self, colours: np.ndarray) -> tuple[list[bytes], list[bytes]]:
        """For every node the kinds of edges into it with the colours they come from; and of those out of it, once."""
        into = np.sort(self._keys(self.target, self.source, colours))
        out_of = np.unique(self._keys(self.source, self.target, colours))
        return self._by_node(into, len(colours)), self._by_node(out_of, len(colours))

    def _keys(self, here: np.ndarray, there: np.ndarray, colours: np.ndarray) -> np.ndarray:
        """For every edge a number that says its node, its kind, and the colour at its other end."""
        return here * self._width(len(colours)) + self.kind * len(colours) + colours[there]

    def _width(self, nodes: int) -> int:
        return nodes * (int(self.kind.max(initial=0)) + 1)

    def _by_node(self, keys: np.ndarray, nodes: int) -> list[bytes]:
        """What ordered keys say of every node."""
        width = self._width(nodes)
        bounds = (np.searchsorted(keys, np.arange(nodes + 1) * width) * keys.itemsize).tolist()
        data = (keys % width).tobytes()
        return [data[start:stop] for start, stop in pairwise(bounds)]

    def folded(self, edges: Sequence[Edge], colours: np.ndarray) -> tuple[tuple[Edge, int], ...]:
        """The first edge of every kind between two classes, with the counts of all."""
        kinds = int(self.like.max(initial=0)) + 1
        keys = (colours[self.source] * len(colours) + colours[self.target]) * kinds + self.like
        totals: dict[int, int] = {}
        first: dict[int, Edge] = {}
        for key, edge in zip(keys.tolist(), edges, strict=True):
            first.setdefault(key, edge)
            totals[key] = totals.get(key, 0) + edge.count
        return tuple((edge, totals[key]) for key, edge in first.items())


def _numbered(keys: Iterable[Hashable]) -> list[int]:
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]
