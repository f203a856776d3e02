"""The space of one mesh: domains, costs and memory rows of the folded graph, as a Problem for the solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from swplan.ir.layout import replicated
from swplan.ir.strategy import layouts, strategies
from swplan.search.decisions import Node
from swplan.search.fold import Folded
from swplan.search.frame import Domains, Frame, Option, frame
from swplan.search.lifetime import Moment
from swplan.search.pricing import Pricer
from swplan.search.stack import degrees_of
from swplan.solver.problem import Problem, Row


@dataclass(frozen=True, kw_only=True)
class Space:
    """Everything that can be chosen on one mesh.

    Attributes:
      folded: the folded graph.
      pricer: prices on this mesh.
      domains: the options of every class: strategies of an op, layouts of a variable.
    """

    folded: Folded
    pricer: Pricer
    domains: Domains

    @cached_property
    def frame(self) -> Frame:
        """What spaces with these options share."""
        return frame(self.folded, self.pricer.fused, self.domains)

    @cached_property
    def costs(self) -> tuple[list[np.ndarray], list[tuple[int, int, np.ndarray]]]:
        """Seconds of the options of every class, and of the pairs of options along edges."""
        return self.frame.costs(self.pricer)

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
    costs, edges = space.costs
    if memory_bytes == np.inf:
        return Problem(costs=tuple(costs), edges=tuple(edges))
    held = space.frame.held(space.pricer.sizes)
    within = [c if h is None else np.where(h <= memory_bytes, c, np.inf) for c, h in zip(costs, held, strict=True)]
    rows = tuple(_row(space, moment, memory_bytes) for moment in moments)
    return Problem(costs=tuple(within), edges=tuple(edges), rows=rows)


def _row(space: Space, moment: Moment, memory_bytes: float) -> Row:
    usage: dict[int, np.ndarray] = {}
    for (cls, out), held in moment.held.items():
        usage[cls] = usage.get(cls, 0.0) + held * _parts(space, cls, out)
    return Row(usage=usage, limit=memory_bytes, label=moment.label)


def _parts(space: Space, cls: int, out: int) -> np.ndarray:
    """The share of a value that one device holds, for each option of the class that produces it."""
    return 1.0 / degrees_of(space.pricer.sizes)[space.frame.split(cls, out)]


def lower_bound(space: Space) -> float:
    """Seconds of all ops, each split in its best way, with every exchange free."""
    return float(sum(costs.min() for costs in space.frame.node_costs(space.pricer)))


def least_usage(space: Space, moment: Moment) -> float:
    """The fewest bytes that one device can hold at a moment, each value split as far as it can be."""
    return float(sum(usage.min() for usage in _row(space, moment, np.inf).usage.values()))
