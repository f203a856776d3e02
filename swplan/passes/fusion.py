"""Which values never reach memory: a compiler computes them inside the loop of the op that reads them.

An elementwise result with one reader that is a loop itself (elementwise or a reduction) is fused into it; broadcasts
and iotas are recomputed by every such reader. This is what XLA does on every backend, stated conservatively; traffic
and peak memory count only what is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swplan.ir.graph import Graph, Op, Region

CHEAP = {"broadcast_in_dim", "iota", "convert_element_type"}


@dataclass(frozen=True, slots=True)
class OnChip:
    """What does not go through memory.

    Attributes:
        values: never written.
        at_hand: (first result of an op, operand) where the kernel of the op made the operand, or has read it before.
        inside: of the values, those that one kernel makes and reads whatever its ops: nothing can move them.
    """

    values: frozenset[int] = frozenset()
    at_hand: frozenset[tuple[int, int]] = frozenset()
    inside: frozenset[int] = frozenset()

    def __contains__(self, value: int) -> bool:
        return value in self.values

    def and_values(self, values: Iterable[int]) -> OnChip:
        """The same with more values, inside of kernels of their own."""
        more = frozenset(values)
        return OnChip(self.values | more, self.at_hand, self.inside | more)

    def traffic(self, op: Op) -> tuple[bool, ...]:
        """For each operand, then each result, whether it goes through memory."""
        first = op.results[0]
        reads = (v not in self.values and (first, v) not in self.at_hand for v in op.operands)
        return (*reads, *(v not in self.values for v in op.results))


def fused_values(graph: Graph) -> OnChip:
    """Values that are not written to memory."""
    fused: set[int] = set()
    _visit(graph.top, fused)
    return OnChip(frozenset(fused))


def _visit(region: Region, fused: set[int]) -> None:
    readers: dict[int, list[Op]] = {}
    for op in region.ops:
        for value in op.operands:
            readers.setdefault(value, []).append(op)
        for body in op.regions:
            _visit(body, fused)
            for value in _reads_inside(body):
                readers.setdefault(value, []).append(op)
    kept = set(region.outputs)
    for op in region.ops:
        for value in op.results:
            if value not in kept and _is_fused(op, readers.get(value, [])):
                fused.add(value)


def _reads_inside(region: Region) -> set[int]:
    found = set(region.outputs)
    for op in region.ops:
        found.update(op.operands)
        for body in op.regions:
            found |= _reads_inside(body)
    return found


def _is_fused(op: Op, readers: list[Op]) -> bool:
    if op.rule is None or not op.rule.fusible:
        return False
    return (len(readers) == 1 or op.primitive in CHEAP) and all(map(is_loop, readers))


def is_loop(op: Op) -> bool:
    """Whether an op is one loop over its operands, element by element or reducing them."""
    return op.rule is not None and (op.rule.fusible or op.primitive.startswith("reduce_"))
