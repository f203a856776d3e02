"""Expert capacity: how many slots experts have, whatever the traced program rounds them to.

A program with fixed shapes gives each expert a whole number of slots for every routing group, at least one, although
most may stay empty; exchanges of varying length on a real machine send what there is. `capacity` says how many slots
there are for each choice of a token on average; rows of slots are scaled to that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from swplan.errors import UsageError
from swplan.estimate.pins import weight_sources
from swplan.estimate.rows import MoveRow, OpRow, Rows
from swplan.ir.graph import Graph, Op, walk

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of a program: of `experts`, `each` for every one of `groups` of `tokens` with `choices` a token."""

    experts: int
    each: int
    groups: int
    tokens: int
    choices: int

    def holds(self, shape: Shape) -> bool:
        """Whether a value has one entry (or row) for every slot."""
        if self.groups not in shape or self.tokens in shape:
            return False
        split = self.experts in shape and (self.each == 1 or self.each in shape)
        return split or self.experts * self.each in shape

    def hold(self, op: Op, graph: Graph) -> bool:
        """Whether an op works on slots."""
        return any(self.holds(graph.avals[v].shape) for v in (*op.operands, *op.results))

    def scale(self, capacity: float) -> float:
        """Slots at a capacity, as a multiple of those of the program."""
        return capacity * self.choices * self.tokens / (self.experts * self.each)


def scaled(rows: Rows, capacity: float) -> Rows:
    """The rows with another number of slots.

    Raises:
        UsageError: the program has no experts.
    """
    graph = rows.template.graph
    slots = slots_of(graph)
    if slots is None:
        raise UsageError(f"capacity={capacity}: the program has no routed experts")
    times = slots.scale(capacity)
    return replace(
        rows,
        ops=tuple(_op(row, graph, slots, times) for row in rows.ops),
        moves=tuple(_move(row, slots, times) for row in rows.moves),
    )


def _op(row: OpRow, graph: Graph, slots: Slots, times: float) -> OpRow:
    return replace(row, count=row.count * times) if slots.hold(row.op, graph) else row


def _move(row: MoveRow, slots: Slots, times: float) -> MoveRow:
    return replace(row, whole_bytes=int(row.whole_bytes * times)) if slots.holds(row.shape) else row


def slots_of(graph: Graph) -> Slots | None:
    """The slots of a program: the rows of products that are batched over a dim of a parameter."""
    weights = weight_sources(graph)
    inputs = [graph.avals[v].shape for v in graph.top.inputs if graph.role(v) == "batch"]
    sequences = next((shape for shape in inputs if len(shape) > 1), None)
    choices = [graph.avals[op.results[0]].shape[-1] for op, _ in walk(graph.top) if op.primitive == "top_k"]
    for op, _ in walk(graph.top):
        names = op.rule.work.matmul if op.rule is not None else ()
        if not names or not names[0] or sequences is None or not any(v in weights for v in op.operands):
            continue
        size = {factor.name: factor.size for factor in op.rule.factors}
        rows = [size[name] for name in (*names[1], *names[2]) if size[name] != sequences[0]]
        others = {n for v in op.operands if v in weights for n in graph.avals[v].shape}
        each = next((n for n in rows if n not in others), 1)
        return Slots(size[names[0][0]], each, *sequences[:2], choices[0] if choices else 1)
    return None
