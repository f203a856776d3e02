"""What the spaces of meshes with equal options share: everything about costs that no mesh size and no network changes.

For space.py. Which options read and write what, split by which axes, and by which way a value goes from one layout to
another, is worked out once for each set of options that meshes leave; a mesh then only fills in numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from swplan.ir.again import is_made_again
from swplan.ir.graph import Op
from swplan.ir.layout import Layout, shift
from swplan.ir.strategy import remaking
from swplan.passes.fusion import OnChip
from swplan.search.decisions import Edge, Node
from swplan.search.fold import Folded
from swplan.search.pricing import Pricer, layouts_of, path_numbers
from swplan.search.stack import Stack, axes_on, stack_of

Option = tuple[int, ...]
Domains = tuple[tuple[Option, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An edge: what it costs for each pair of options of two classes, `count` times.

    One of three: `fixed` seconds; `ways` [S, T] of a value of `whole_bytes`; or, where `ways` are [T], the seconds of
    `made`, an entry of the stack that makes the value again, and of the way from there, where layouts are not `equal`.
    """

    source: int
    target: int
    count: int
    whole_bytes: int
    fixed: np.ndarray | None = None
    ways: np.ndarray | None = None
    made: int = -1
    equal: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The shared part of spaces.

    Attributes:
      domains: the options of every class.
      stack: all ops that are priced.
      entry: for every class its entry in the stack; -1 for a variable.
      runs: how often the ops of every class run.
      links: edges that cost anything.
      sizes: bytes of values that go over links.
    """

    folded: Folded
    domains: Domains
    stack: Stack
    entry: tuple[int, ...]
    runs: tuple[int, ...]
    links: tuple[Link, ...]
    sizes: tuple[int, ...]
    _split: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def node_costs(self, pricer: Pricer) -> list[np.ndarray]:
        """Seconds of the ops of every class, for each option."""
        return self._costs(self.stack.seconds(pricer.sizes, pricer.cluster.chip))

    def _costs(self, seconds: np.ndarray) -> list[np.ndarray]:
        first = self.stack.first
        return [
            seconds[first[entry] : first[entry + 1]] * runs if entry >= 0 else np.zeros(len(options))
            for entry, runs, options in zip(self.entry, self.runs, self.domains, strict=True)
        ]

    def costs(self, pricer: Pricer) -> tuple[list[np.ndarray], list[tuple[int, int, np.ndarray]]]:
        """Seconds of every class, and of the links between classes."""
        seconds = self.stack.seconds(pricer.sizes, pricer.cluster.chip)
        first, number = self.stack.first, {size: position for position, size in enumerate(self.sizes)}
        ways_s = pricer.paths_s(self.sizes) if self.sizes else np.zeros((0, 1))
        known: dict[tuple[int, int, int], np.ndarray] = {}
        edges = []
        for link in self.links:
            table = link.fixed
            if table is None:
                here = ways_s[number[link.whole_bytes]]
                key = (link.whole_bytes, id(link.ways), link.count) if link.made < 0 else ()
                table = known.get(key)
                if table is None:
                    again = seconds[first[link.made] : first[link.made + 1]] if link.made >= 0 else 0.0
                    table = (here[link.ways] + again) * link.count
                    table = np.where(link.equal, 0.0, table[None, :]) if link.made >= 0 else table
                    known.update({key: table} if key else {})
            if table.any():
                edges.append((link.source, link.target, table))
        return self._costs(seconds), edges

    def held(self, sizes: tuple[int, ...]) -> list[np.ndarray | None]:
        """Bytes that an op of every class needs at least, for each option; None for a variable."""
        held, first = self.stack.held(sizes), self.stack.first
        return [held[first[entry] : first[entry + 1]] if entry >= 0 else None for entry in self.entry]

    def split(self, cls: int, out: int) -> np.ndarray:
        """The set of axes, as bits, that split a result of a class, for each of its options."""
        if (cls, out) not in self._split:
            node, options = self.folded.representative(cls), self.domains[cls]
            held = layouts_of(node.op, options, out, result=True) if node.op is not None else options
            self._split[cls, out] = axes_on(held, range(_dims(held)))
        return self._split[cls, out]


def _dims(layouts: tuple[Layout, ...]) -> int:
    return 1 + max((entry for layout in layouts for entry in layout), default=-1)


def frame(folded: Folded, fused: OnChip, domains: Domains) -> Frame:
    """The shared part of all spaces with these options, made once."""
    known: dict = folded.frames
    key = (fused, domains)
    if key not in known:
        known[key] = _Builder(folded, fused, domains).build()
    return known[key]


@dataclass(slots=True)
class _Builder:
    folded: Folded
    fused: OnChip
    domains: Domains
    entries: list[tuple[Op, tuple[Option, ...]]] = field(default_factory=list)

    def build(self) -> Frame:
        entry = tuple(self.entry(cls) for cls in range(len(self.domains)))
        links = [self.link(edge, count) for edge, count in self.folded.edges]
        links = [link for link in links if link is not None]
        nodes = self.folded.decisions.nodes
        return Frame(
            folded=self.folded,
            domains=self.domains,
            stack=stack_of(self.entries, self.folded.decisions.graph, self.fused),
            entry=entry,
            runs=tuple(sum(nodes[member].count for member in members) for members in self.folded.members),
            links=tuple(links),
            sizes=tuple(sorted({link.whole_bytes for link in links if link.fixed is None})),
        )

    def entry(self, cls: int) -> int:
        op = self.folded.representative(cls).op
        return self.push(op, self.domains[cls]) if op is not None else -1

    def push(self, op: Op, options: tuple[Option, ...]) -> int:
        self.entries.append((op, options))
        return len(self.entries) - 1

    def link(self, edge: Edge, count: int) -> Link | None:
        """What one resharding costs; None: nothing. What never reaches memory is read as it is, but for a pin."""
        sources, targets = presented(self.folded, self.domains, edge), demanded(self.folded, self.domains, edge)
        nodes, class_of = self.folded.decisions.nodes, self.folded.class_of
        ends = {"source": class_of[edge.source], "target": class_of[edge.target], "count": count}
        if not nodes[edge.target].pins and _stays(nodes[edge.source], edge.out, self.fused):
            fixed = _unchanged_only(sources, targets)
            return Link(**ends, whole_bytes=0, fixed=fixed) if fixed.any() else None
        ways, made = path_numbers(sources, targets), _made(self.folded, edge)
        if not ways.any():
            return None
        if made is None:
            return Link(**ends, whole_bytes=edge.aval.bytes, ways=ways)
        options, whole = remaking(made.rule, targets)
        rest = np.array([path_numbers((w,), (t,))[0, 0] for w, t in zip(whole, targets, strict=True)])
        entry = self.push(made, options)
        return Link(**ends, whole_bytes=edge.aval.bytes, ways=rest, made=entry, equal=ways == 0)


def presented(folded: Folded, domains: Domains, edge: Edge) -> tuple[Layout, ...]:
    """The layout in which the source of an edge leaves the value, for each of its options."""
    cls = folded.class_of[edge.source]
    node, options = folded.representative(cls), domains[cls]
    if node.op is not None:
        return layouts_of(node.op, options, edge.out, result=True)
    return _shifted(options, edge.source_shift)


def demanded(folded: Folded, domains: Domains, edge: Edge) -> tuple[Layout, ...]:
    """The layout in which the target of an edge needs the value, for each of its options."""
    cls = folded.class_of[edge.target]
    node, options = folded.representative(cls), domains[cls]
    if node.op is not None:
        return layouts_of(node.op, options, edge.slot, result=False)
    return _shifted(options, edge.target_shift)


def _shifted(options: tuple[Layout, ...], by: int) -> tuple[Layout, ...]:
    return tuple(shift(option, by) for option in options) if by else options


def _made(folded: Folded, edge: Edge) -> Op | None:
    """The op of a value that every device makes for itself in the layout that it needs."""
    decisions = folded.decisions
    node = decisions.nodes[edge.source]
    if node.op is None and node.key[0] in ("copy", "again"):
        position = decisions.index.get(("op", node.key[1]))
        node = decisions.nodes[position] if position is not None else node
    return node.op if node.op is not None and is_made_again(node.op, decisions.graph) else None


def _stays(node: Node, out: int, fused: OnChip) -> bool:
    """Whether what a decision makes, or shares out, never reaches memory."""
    if node.op is not None:
        return node.op.results[out] in fused
    return node.key[0] in ("copy", "again") and node.key[1] in fused.inside and not node.pins


@lru_cache(maxsize=65536)
def _unchanged_only(sources: tuple[Layout, ...], targets: tuple[Layout, ...]) -> np.ndarray:
    """0 where two layouts are equal, infinity where they are not [S, T]."""
    return np.where(path_numbers(sources, targets) == 0, 0.0, np.inf)
