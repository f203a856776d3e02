"""Which sums a compiler may do in one exchange: those that nothing waits for, of the gradients above all.

XLA joins the all-reduces of a region that do not depend on each other, up to some number of bytes (openxla/xla,
`AllReduceCombiner`), so that starting them is paid for once. Search and finished programs agree on which these are by
asking here; up to how many bytes is a number of the chip (`network.<tier>.joined_bytes`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from swplan.ir.again import BACKWARD
from swplan.ir.graph import Graph, Op, Region, reads


def joined_sums(graph: Graph) -> dict[int, int]:
    """How many values there are whose sums may be joined, for each of them: equal for all of one region."""
    found: dict[int, int] = {}
    _visit(graph, graph.top, (), found)
    return found


def _visit(graph: Graph, region: Region, carried: Iterable[int], found: dict[int, int]) -> None:
    """Takes in the floats of a region that go to its end, or from the backward pass to the update, and nowhere else.

    What is only rearranged or scaled into one of them may be summed before, in its place.
    """
    awaited, made, ends = Counter(carried), set(), set(region.outputs)
    for op in region.ops:
        if op.stage != "optimizer":
            awaited.update(reads(op))
            made.update(v for v in op.results if op.stage == BACKWARD or v in ends)
        for body in op.regions:
            _visit(graph, body, body.outputs[: op.carries], found)
    last = [value for value in made if value not in awaited and "float" in graph.avals[value].dtype]
    joined = dict.fromkeys(last, len(last))
    for op in reversed(region.ops):
        value = _rearranged(graph, op)
        if value in made and awaited[value] == 1 and op.results[0] in joined:
            joined[value] = len(last)
    found.update(joined)


def _rearranged(graph: Graph, op: Op) -> int | None:
    """The one array that goes into an op, if each of its elements becomes one of the result."""
    arrays = [v for v in op.operands if graph.avals[v].shape]
    alone = op.kind == "op" and len(arrays) == len(op.results) == 1
    return arrays[0] if alone and graph.avals[arrays[0]].size == graph.avals[op.results[0]].size else None
