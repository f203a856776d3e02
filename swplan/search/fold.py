"""Folds repeats: decisions that look alike, and whose surroundings look alike, are made once.

Colour refinement (Weisfeiler and Leman 1968) for a few rounds: two nodes share a class if their ops, shapes and roles
agree
and so do those of everything within `ROUNDS` edges. Ninety-six equal layers become three: first, middle and last. The
classes with the edges between them are the folded graph on which the search is exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

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
    colours = _numbered([_signature(node) for node in decisions.nodes])
    for _ in range(rounds):
        colours = _numbered(_refined(decisions, colours))
    members: list[list[int]] = [[] for _ in range(max(colours, default=-1) + 1)]
    for node, colour in enumerate(colours):
        members[colour].append(node)
    return Folded(
        decisions=decisions,
        class_of=tuple(colours),
        members=tuple(map(tuple, members)),
        edges=_folded_edges(decisions.edges, colours),
    )


def _signature(node: Node) -> Hashable:
    if node.op is not None:
        return (node.op.primitive, id(node.op.rule), node.count)
    pins = tuple(pin.group for pin in node.pins)
    return (node.key[0], node.aval, node.pending, node.role, node.count, pins)


def _refined(decisions: DecisionGraph, colours: Sequence[int]) -> list[Hashable]:
    into: dict[int, list] = defaultdict(list)
    out_of: dict[int, list] = defaultdict(list)
    for edge in decisions.edges:
        into[edge.target].append((edge.slot, edge.out, colours[edge.source], edge.count))
        out_of[edge.source].append((edge.out, edge.slot, colours[edge.target], edge.count))
    return [
        (colour, tuple(sorted(into[node])), tuple(sorted(set(out_of[node])))) for node, colour in enumerate(colours)
    ]


def _numbered(keys: Sequence[Hashable]) -> list[int]:
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _folded_edges(edges: Sequence[Edge], colours: Sequence[int]) -> tuple[tuple[Edge, int], ...]:
    totals: dict[Hashable, list] = {}
    for edge in edges:
        key = (
            colours[edge.source],
            edge.out,
            colours[edge.target],
            edge.slot,
            edge.aval,
            edge.source_shift,
            edge.target_shift,
        )
        if key in totals:
            totals[key][1] += edge.count
        else:
            totals[key] = [edge, edge.count]
    return tuple((edge, count) for edge, count in totals.values())
