"""Which sums a compiler may do in one exchange: those that nothing waits for, of the gradients above all.

XLA joins the all-reduces of a region that do not depend on each other, up to some number of bytes (openxla/xla,
`AllReduceCombiner`), so that starting them is paid for once. Search and finished programs agree on which these are by
asking here; up to how many bytes is a number of the chip (`network.<tier>.joined_bytes`).
"""

from __future__ import annotations

from collections.abc import Iterable

from swplan.ir.again import BACKWARD
from swplan.ir.graph import Graph, Region, reads


def joined_sums(graph: Graph) -> dict[int, int]:
    """How many values there are whose sums may be joined, for each of them: equal for all of one region."""
    found: dict[int, int] = {}
    _visit(graph, graph.top, (), found)
    return found


def _visit(graph: Graph, region: Region, carried: Iterable[int], found: dict[int, int]) -> None:
    """Takes in the floats of a region that go to its end, or from the backward pass to the update, and nowhere else."""
    awaited, made, ends = set(carried), set(), set(region.outputs)
    for op in region.ops:
        if op.stage != "optimizer":
            awaited.update(reads(op))
            made.update(v for v in op.results if op.stage == BACKWARD or v in ends)
        for body in op.regions:
            _visit(graph, body, body.outputs[: op.carries], found)
    last = [value for value in made - awaited if "float" in graph.avals[value].dtype]
    found.update(dict.fromkeys(last, len(last)))
