"""Folds repeats: decisions that look alike, and whose surroundings look alike, are made once.

Colour refinement (Weisfeiler and Leman 1968) for a few rounds: two nodes share a class if their ops, shapes and roles
agree
and so do those of everything within `ROUNDS` edges. Ninety-six equal layers become three: first, middle and last. The
classes with the edges between them are the folded graph on which the search is exact.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from swplan.search.decisions import DecisionGraph, Edge, Node

ROUNDS = 3

Ends = list[tuple[int, int]]


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
    into, out_of = _ends(decisions)
    for _ in range(rounds):
        colours = _numbered(_refined(colours, into, out_of))
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


def _ends(decisions: DecisionGraph) -> tuple[list[Ends], list[Ends]]:
    """For every node the edges into it and out of it: a number for the kind of each, and the node at its other end.

    Kinds are so far apart that the number plus any colour says both.
    """
    kinds: dict[Hashable, int] = {}
    into: list[Ends] = [[] for _ in decisions.nodes]
    out_of: list[Ends] = [[] for _ in decisions.nodes]
    for edge in decisions.edges:
        kind = kinds.setdefault((edge.out, edge.slot, edge.count), len(kinds)) * len(decisions.nodes)
        into[edge.target].append((kind, edge.source))
        out_of[edge.source].append((kind, edge.target))
    return into, out_of


def _refined(colours: Sequence[int], into: Sequence[Ends], out_of: Sequence[Ends]) -> Iterator[Hashable]:
    for colour, sources, targets in zip(colours, into, out_of, strict=True):
        read = sorted([kind + colours[node] for kind, node in sources])
        yield colour, tuple(read), frozenset([kind + colours[node] for kind, node in targets])


def _numbered(keys: Iterable[Hashable]) -> list[int]:
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
            edge.sums,
        )
        if key in totals:
            totals[key][1] += edge.count
        else:
            totals[key] = [edge, edge.count]
    return tuple((edge, count) for edge, count in totals.values())
