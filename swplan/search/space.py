"""The space of one mesh: domains, costs and memory rows of the folded graph, as a Problem for the solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from swplan.ir.again import is_made_again
from swplan.ir.graph import Op
from swplan.ir.layout import Layout, degree, replicated, shift
from swplan.ir.strategy import layouts, remaking, strategies
from swplan.passes.fusion import OnChip
from swplan.search.decisions import Edge, Node
from swplan.search.fold import Folded
from swplan.search.lifetime import Moment
from swplan.search.pricing import Pricer, layouts_of
from swplan.solver.problem import Problem, Row

Option = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Everything that can be chosen on one mesh.

    Attributes:
      folded: the folded graph.
      pricer: prices on this mesh.
      domains: the options of every class: strategies of an op, layouts of a variable.
    """

    folded: Folded
    pricer: Pricer
    domains: tuple[tuple[Option, ...], ...]

    def choices(self, picked: tuple[int, ...]) -> dict[tuple[str, int], Option]:
        """What the solver picked, for every node of the program, by its key."""
        nodes = self.folded.decisions.nodes
        return {node.key: self.domains[cls][picked[cls]] for node, cls in zip(nodes, self.folded.class_of, strict=True)}


def space(folded: Folded, pricer: Pricer, pins: Mapping[int, tuple[Option, ...]] | None = None) -> Space:
    """The space of one mesh.

    Args:
      folded: the folded graph.
      pricer: prices on the mesh.
      pins: classes that may only choose among these options (where legal).
    """
    sizes = pricer.sizes
    domains = []
    for cls in range(len(folded.members)):
        options = domain(folded.representative(cls), sizes)
        wanted = (pins or {}).get(cls)
        kept = tuple(o for o in options if o in wanted) if wanted is not None else options
        domains.append(kept or options)
    return Space(folded=folded, pricer=pricer, domains=tuple(domains))


def domain(node: Node, sizes: tuple[int, ...]) -> tuple[Option, ...]:
    """All legal options of one decision."""
    if node.op is not None:
        return strategies(node.op.rule, sizes)
    if node.aval.is_key or node.key[0] in ("constant", "predicate"):
        return (replicated(len(sizes)),)
    pending = node.pending and node.aval.precision != "int8" and "float" in node.aval.dtype
    return layouts(node.aval.shape, sizes, pending)


def problem(space: Space, moments: tuple[Moment, ...] = (), memory_bytes: float = np.inf) -> Problem:
    """Costs in seconds, and a row in bytes for every moment at which memory may be short.

    An op that alone needs more than there is cannot run so.
    """
    costs = tuple(_within(space, cls, memory_bytes, _node_costs(space, cls)) for cls in range(len(space.domains)))
    edges = []
    for edge, count in space.folded.edges:
        table = _edge_costs(space, edge)
        table = np.where(np.isfinite(table), table * count, table)
        if table.any():
            edges.append((space.folded.class_of[edge.source], space.folded.class_of[edge.target], table))
    rows = tuple(_row(space, moment, memory_bytes) for moment in moments if memory_bytes < np.inf)
    return Problem(costs=costs, edges=tuple(edges), rows=rows)


def _node_costs(space: Space, cls: int) -> np.ndarray:
    node, options = space.folded.representative(cls), space.domains[cls]
    if node.op is None:
        return np.zeros(len(options))
    runs = sum(space.folded.decisions.nodes[member].count for member in space.folded.members[cls])
    return space.pricer.op_s(node.op, options) * runs


def _within(space: Space, cls: int, memory_bytes: float, costs: np.ndarray) -> np.ndarray:
    node = space.folded.representative(cls)
    if node.op is None or memory_bytes == np.inf:
        return costs
    return np.where(space.pricer.held(node.op, space.domains[cls]) <= memory_bytes, costs, np.inf)


def _edge_costs(space: Space, edge: Edge) -> np.ndarray:
    """Seconds of one resharding. What never reaches memory is not, but for a pin: its reader takes it as it is."""
    sources = presented(space, edge)
    targets = demanded(space, edge)
    nodes = space.folded.decisions.nodes
    if not nodes[edge.target].pins and _stays(nodes[edge.source], edge.out, space.pricer.fused):
        return _unchanged_only(sources, targets)
    made = _made(space.folded, edge)
    if made is not None:
        return _made_again_s(space, made, edge, sources, targets)
    return space.pricer.reshard_s(edge.aval, sources, targets)


def _made(folded: Folded, edge: Edge) -> Op | None:
    """The op of a value that every device makes for itself in the layout that it needs."""
    decisions = folded.decisions
    node = decisions.nodes[edge.source]
    if node.op is None and node.key[0] in ("copy", "again"):
        position = decisions.index.get(("op", node.key[1]))
        node = decisions.nodes[position] if position is not None else node
    return node.op if node.op is not None and is_made_again(node.op, decisions.graph) else None


def _made_again_s(
    space: Space, op: Op, edge: Edge, sources: tuple[Layout, ...], targets: tuple[Layout, ...]
) -> np.ndarray:
    """Seconds to make a value once more, where it is needed in another layout, and of what is left to reshard."""
    made, whole = remaking(op.rule, targets)
    again_s = space.pricer.op_s(op, made) + np.array(
        [space.pricer.reshard_s(edge.aval, (w,), (t,))[0, 0] for w, t in zip(whole, targets, strict=True)]
    )
    return np.where(np.equal.outer(_numbers(sources), _numbers(targets)), 0.0, again_s[None, :])


def _stays(node: Node, out: int, fused: OnChip) -> bool:
    """Whether what a decision makes, or shares out, never reaches memory."""
    if node.op is not None:
        return node.op.results[out] in fused
    return node.key[0] in ("copy", "again") and node.key[1] in fused.inside and not node.pins


@lru_cache(maxsize=65536)
def _unchanged_only(sources: tuple[Layout, ...], targets: tuple[Layout, ...]) -> np.ndarray:
    """0 where two layouts are equal, infinity where they are not [S, T]."""
    return np.where(np.equal.outer(_numbers(sources), _numbers(targets)), 0.0, np.inf)


def _numbers(layouts_: tuple[Layout, ...]) -> np.ndarray:
    """Layouts as single integers, for comparison."""
    return np.array([sum((entry + 4) << 6 * axis for axis, entry in enumerate(layout)) for layout in layouts_])


def presented(space: Space, edge: Edge) -> tuple[Layout, ...]:
    """The layout in which the source of an edge leaves the value, for each of its options."""
    cls = space.folded.class_of[edge.source]
    node, options = space.folded.representative(cls), space.domains[cls]
    if node.op is not None:
        return layouts_of(node.op, options, edge.out, result=True)
    return _shifted(options, edge.source_shift)


def demanded(space: Space, edge: Edge) -> tuple[Layout, ...]:
    """The layout in which the target of an edge needs the value, for each of its options."""
    cls = space.folded.class_of[edge.target]
    node, options = space.folded.representative(cls), space.domains[cls]
    if node.op is not None:
        return layouts_of(node.op, options, edge.slot, result=False)
    return _shifted(options, edge.target_shift)


def _shifted(options: tuple[Layout, ...], by: int) -> tuple[Layout, ...]:
    return tuple(shift(option, by) for option in options) if by else options


def _row(space: Space, moment: Moment, memory_bytes: float) -> Row:
    usage: dict[int, np.ndarray] = {}
    for (cls, out), held in moment.held.items():
        usage[cls] = usage.get(cls, 0.0) + held * _parts(space, cls, out)
    return Row(usage=usage, limit=memory_bytes, label=moment.label)


def _parts(space: Space, cls: int, out: int) -> np.ndarray:
    """The share of a value that one device holds, for each option of the class that produces it."""
    node, options = space.folded.representative(cls), space.domains[cls]
    held = layouts_of(node.op, options, out, result=True) if node.op is not None else options
    return 1.0 / np.array([degree(layout, space.pricer.sizes) for layout in held], dtype=float)


def lower_bound(space: Space) -> float:
    """Seconds of all ops, each split in its best way, with every exchange free."""
    return float(sum(_node_costs(space, cls).min() for cls in range(len(space.domains))))


def least_usage(space: Space, moment: Moment) -> float:
    """The fewest bytes that one device can hold at a moment, each value split as far as it can be."""
    return float(sum(usage.min() for usage in _row(space, moment, np.inf).usage.values()))
