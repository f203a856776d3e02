"""The space of one mesh: domains, costs and memory rows of the folded graph, as a Problem for the solver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

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
      frame: what it shares with other meshes.
      kept: for every class, which of the options of the frame it has.
      degrees: into how many parts every set of axes splits.
    """

    folded: Folded
    pricer: Pricer
    frame: Frame
    kept: tuple[np.ndarray, ...]
    degrees: np.ndarray

    @cached_property
    def domains(self) -> Domains:
        """The options of every class: strategies of an op, layouts of a variable."""
        kept = zip(self.frame.domains, self.kept, strict=True)
        return tuple(tuple(options[i] for i in positions) for options, positions in kept)

    @cached_property
    def costs(self) -> tuple[list[np.ndarray], list[tuple[int, int, np.ndarray]]]:
        """Seconds of the options of every class, and of the pairs of options along edges."""
        nodes, tables = self.frame.costs(self.pricer)
        names: dict[bytes, int] = {}
        name = [names.setdefault(positions.tobytes(), len(names)) for positions in self.kept]
        known: dict[tuple[int, int, int], np.ndarray] = {}  # links share tables, and classes what they have
        edges = []
        for link, table in zip(self.frame.links, tables, strict=True):
            key = (id(table), name[link.source], name[link.target])
            if key not in known:
                known[key] = table[self.kept[link.source][:, None], self.kept[link.target]]
            edges.append((link.source, link.target, known[key]))
        zero = {id(table) for table in known.values() if not table.any()}
        return self.some(nodes), [edge for edge in edges if id(edge[2]) not in zero]

    def some(self, numbers: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Of numbers for all options of the frame, those of this mesh."""
        return [of_class[positions] for of_class, positions in zip(numbers, self.kept, strict=True)]

    def choices(self, picked: tuple[int, ...]) -> dict[tuple[str, int], Option]:
        """What the solver picked, for every node of the program, by its key."""
        kept = zip(self.frame.domains, self.kept, picked, strict=True)
        chosen = [options[positions[pick]] for options, positions, pick in kept]
        return {n.key: chosen[cls] for n, cls in zip(self.folded.decisions.nodes, self.folded.class_of, strict=True)}


def space(folded: Folded, pricer: Pricer, pins: Mapping[int, tuple[Option, ...]] | None = None) -> Space:
    """The space of one mesh.

    Args:
      folded: the folded graph.
      pricer: prices on the mesh.
      pins: classes that may only choose among these options (where legal).
    """
    shared, degrees = frame(folded, pricer.fused, len(pricer.sizes), prod(pricer.sizes)), degrees_of(pricer.sizes)
    kept = shared.legal(degrees)
    for cls, options in (pins or {}).items():
        wanted = set(options)
        some = [i for i in kept[cls] if shared.domains[cls][i] in wanted]
        kept[cls] = np.array(some) if some else kept[cls]
    return Space(folded=folded, pricer=pricer, frame=shared, kept=tuple(kept), degrees=degrees)


def problem(space: Space, moments: tuple[Moment, ...] = (), memory_bytes: float = np.inf) -> Problem:
    """Costs in seconds, and a row in bytes for every moment at which memory may be short.

    An op that alone needs more than there is cannot run so.
    """
    costs, edges = space.costs
    if memory_bytes == np.inf:
        return Problem(costs=tuple(costs), edges=tuple(edges))
    held = zip(costs, space.frame.held(space.pricer.sizes), space.kept, strict=True)
    within = [c if h is None else np.where(h[kept] <= memory_bytes, c, np.inf) for c, h, kept in held]
    rows = tuple(_row(space, moment, memory_bytes) for moment in moments)
    return Problem(costs=tuple(within), edges=tuple(edges), rows=rows)


def _row(space: Space, moment: Moment, memory_bytes: float) -> Row:
    usage: dict[int, np.ndarray] = {}
    for (cls, out), held in moment.held.items():
        usage[cls] = usage.get(cls, 0.0) + held * _parts(space, cls, out)
    return Row(usage=usage, limit=memory_bytes, label=moment.label)


def _parts(space: Space, cls: int, out: int) -> np.ndarray:
    """The share of a value that one device holds, for each option of the class that produces it."""
    return 1.0 / space.degrees[space.frame.split(cls, out)[space.kept[cls]]]


def lower_bound(space: Space) -> float:
    """Seconds of all ops, each split in its best way, with every exchange free."""
    return float(sum(costs.min() for costs in space.some(space.frame.node_costs(space.pricer))))


def needed_bytes(space: Space, moments: Sequence[Moment]) -> float:
    """Bytes that one device must hold at some moment, even if each value is split as far as it can be."""
    rows = (_row(space, moment, np.inf) for moment in moments)
    return max((float(sum(usage.min() for usage in row.usage.values())) for row in rows), default=0.0)
