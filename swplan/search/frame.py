"""What the spaces of meshes with equally many axes share: everything that no mesh size and no network changes.

For space.py. Which options there may be, what they read and write, split by which axes, and by which way a value goes
from one layout to another, is worked out once; a mesh then only fills in numbers and leaves out what it does not allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np

from swplan.ir.again import is_made_again
from swplan.ir.graph import Op
from swplan.ir.layout import Layout, replicated, shift
from swplan.ir.strategy import layouts, possible_layouts, possible_strategies, remaking, strategies
from swplan.passes.fusion import OnChip
from swplan.search.decisions import Edge, Node
from swplan.search.fold import Folded
from swplan.search.pricing import Pricer, layouts_of
from swplan.search.stack import Stack, axes_on, stack_of
from swplan.search.ways import path_numbers

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
class Extents:
    """Dims that options split: an option is legal where the axes on each of its dims divide its extent.

    Attributes:
      first: [classes + 1] where the options of each class start.
      options: the option that splits.
      sizes: the extent of the dim.
      masks: the axes on it, as bits.
    """

    first: np.ndarray
    options: np.ndarray
    sizes: np.ndarray
    masks: np.ndarray

    def legal(self, degrees: np.ndarray) -> np.ndarray:
        """Which options are legal where sets of axes split into so many parts [options]."""
        legal = np.ones(int(self.first[-1]), bool)
        legal[self.options[self.sizes % degrees[self.masks] != 0]] = False
        return legal


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The shared part of the spaces of all meshes of so many axes.

    Attributes:
      domains: for every class all options that some mesh may allow.
      extents: what decides which a mesh does allow.
      stack: all ops that are priced.
      entry: for every class its entry in the stack; -1 for a variable.
      runs: how often the ops of every class run.
      links: edges that cost anything.
      sizes: bytes of values that go over links.
    """

    folded: Folded
    domains: Domains
    extents: Extents
    stack: Stack
    entry: tuple[int, ...]
    runs: tuple[int, ...]
    links: tuple[Link, ...]
    sizes: tuple[int, ...]
    _split: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def legal(self, degrees: np.ndarray) -> list[np.ndarray]:
        """For every class the positions of options that are legal where sets of axes split into so many parts."""
        first, legal = self.extents.first, np.flatnonzero(self.extents.legal(degrees))
        classes = zip(first.tolist(), pairwise(np.searchsorted(legal, first).tolist()), strict=False)
        return [legal[low:high] - start for start, (low, high) in classes]

    def node_costs(self, pricer: Pricer) -> list[np.ndarray]:
        """Seconds of the ops of every class, for each option."""
        return self._costs(self.stack.seconds(pricer.sizes, pricer.cluster.chip))

    def _costs(self, seconds: np.ndarray) -> list[np.ndarray]:
        first = self.stack.first
        return [
            seconds[first[entry] : first[entry + 1]] * runs if entry >= 0 else np.zeros(len(options))
            for entry, runs, options in zip(self.entry, self.runs, self.domains, strict=True)
        ]

    def costs(self, pricer: Pricer) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Seconds of every class, for each option, and of each link, for each pair of options."""
        seconds = self.stack.seconds(pricer.sizes, pricer.cluster.chip)
        number = {size: position for position, size in enumerate(self.sizes)}
        ways_s = pricer.paths_s(self.sizes) if self.sizes else np.zeros((0, 1))
        known: dict[tuple[int, int, int], np.ndarray] = {}
        tables = []
        for link in self.links:
            key = (link.whole_bytes, id(link.ways), link.count)
            if link.fixed is not None:
                table = link.fixed
            elif link.made >= 0:
                again_s = self._entry(seconds, link.made) + ways_s[number[link.whole_bytes]][link.ways]
                table = np.where(link.equal, 0.0, (again_s * link.count)[None, :])
            elif key in known:
                table = known[key]
            else:
                table = known[key] = ways_s[number[link.whole_bytes]][link.ways] * link.count
            tables.append(table)
        return self._costs(seconds), tables

    def _entry(self, numbers: np.ndarray, entry: int) -> np.ndarray:
        return numbers[self.stack.first[entry] : self.stack.first[entry + 1]]

    def held(self, sizes: tuple[int, ...]) -> list[np.ndarray | None]:
        """Bytes that an op of every class needs at least, for each option; None for a variable."""
        held = self.stack.held(sizes)
        return [self._entry(held, entry) if entry >= 0 else None for entry in self.entry]

    def split(self, cls: int, out: int) -> np.ndarray:
        """The set of axes, as bits, that split a result of a class, for each of its options."""
        if (cls, out) not in self._split:
            node, options = self.folded.representative(cls), self.domains[cls]
            held = layouts_of(node.op, options, out, result=True) if node.op is not None else options
            self._split[cls, out] = axes_on(held, range(_dims(held)))
        return self._split[cls, out]


def _dims(layouts: tuple[Layout, ...]) -> int:
    return 1 + max((entry for layout in layouts for entry in layout), default=-1)


def frame(folded: Folded, fused: OnChip, axes: int, devices: int) -> Frame:
    """The shared part of the spaces of all meshes of so many axes on so many devices, made once."""
    key = (fused, axes, devices)
    if key not in folded.frames:
        domains = tuple(_possible(folded.representative(cls), axes, devices) for cls in range(len(folded.members)))
        folded.frames[key] = _Builder(folded, fused, domains).build()
    return folded.frames[key]


def domain(node: Node, sizes: tuple[int, ...]) -> tuple[Option, ...]:
    """All legal options of one decision."""
    if node.op is not None:
        return strategies(node.op.rule, sizes)
    return (replicated(len(sizes)),) if _is_whole(node) else layouts(node.aval.shape, sizes, _may_wait(node))


def _possible(node: Node, axes: int, devices: int) -> tuple[Option, ...]:
    """Those that are legal on some mesh of so many axes."""
    if node.op is not None:
        return possible_strategies(node.op.rule, axes, devices)
    if _is_whole(node):
        return (replicated(axes),)
    return possible_layouts(node.aval.shape, axes, devices, _may_wait(node))


def _is_whole(node: Node) -> bool:
    return node.aval.is_key or node.key[0] in ("constant", "predicate")


def _may_wait(node: Node) -> bool:
    """Whether a variable may wait for a sum."""
    return node.pending and node.aval.precision != "int8" and "float" in node.aval.dtype


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
            extents=self.extents(),
            stack=stack_of(self.entries, self.folded.decisions.graph, self.fused),
            entry=entry,
            runs=tuple(sum(nodes[member].count for member in members) for members in self.folded.members),
            links=tuple(links),
            sizes=tuple(sorted({link.whole_bytes for link in links if link.fixed is None})),
        )

    def extents(self) -> Extents:
        first = np.concatenate([[0], np.cumsum([len(options) for options in self.domains], dtype=np.int64)])
        found = [(np.zeros(0, np.int64),) * 3]
        for cls, options in enumerate(self.domains):
            for dim, size in enumerate(_extents(self.folded.representative(cls))):
                masks = axes_on(options, (dim,))
                split = np.flatnonzero(masks)
                found.append((first[cls] + split, np.full(len(split), size), masks[split]))
        numbers, sizes, masks = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Extents(first=first, options=numbers, sizes=sizes, masks=masks)

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


def _extents(node: Node) -> Sequence[int]:
    """Of the factors, or dims, that the entries of options say."""
    return [factor.size for factor in node.op.rule.factors] if node.op is not None else node.aval.shape


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
    numbers: dict[Layout, int] = {}
    here, there = ([numbers.setdefault(layout, len(numbers)) for layout in some] for some in (sources, targets))
    return np.where(np.equal.outer(here, there), 0.0, np.inf)
