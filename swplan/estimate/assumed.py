"""What an estimate takes for granted: what neither the program nor the strategy says, in words."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from swplan.costmodel.cluster import Cluster
from swplan.estimate.detail import Detail
from swplan.estimate.rows import MICRO
from swplan.estimate.strategy import Strategy
from swplan.estimate.template import examples
from swplan.ir.graph import Graph, walk

SHOWN = 4
"""Lengths that are named where an axis divides many unevenly."""


def assumptions(detail: Detail, strategy: Strategy, decided_on: Cluster) -> tuple[str, ...]:
    """What was assumed to price a strategy.

    Args:
        detail: the strategy, row by row.
        strategy: what was asked for.
        decided_on: the cluster on which what the strategy leaves open was decided.
    """
    graph = detail.prices.rows.template.graph
    found = [*_batch(graph, strategy), *_uneven(detail, strategy), *_layers(detail, strategy)]
    found += [*_precisions(graph, detail.cluster), *_unknown_trips(graph)]
    found.append("the examples of a step are in memory when it begins")
    if decided_on.chip != detail.cluster.chip:
        found.append(f"what the strategy leaves open was decided by the prices of {decided_on.spec}")
    return tuple(found)


def _batch(graph: Graph, strategy: Strategy) -> Iterator[str]:
    traced = examples(graph)
    if strategy.global_batch and strategy.global_batch != traced:
        yield f"a step has {strategy.global_batch:,} examples, and the work of the {traced:,} traced in proportion"


def _uneven(detail: Detail, strategy: Strategy) -> Iterator[str]:
    """Axes that do not divide what they split, with the lengths that they leave uneven."""
    found: dict[str, set[int]] = {}
    for row in detail.prices.rows.ops:
        sizes = detail.sizes(row.place.rate == MICRO)
        for position, factor in enumerate(row.op.rule.factors):
            own = [a for a, entry in enumerate(row.split) if entry == position]
            parts = 1.0
            for axis in own:
                parts *= sizes[axis]
            if factor.size % parts:
                text = " and ".join(_axis_text(detail.axes[a], sizes[a], strategy) for a in own)
                found.setdefault(text, set()).add(factor.size)
    for text, lengths in sorted(found.items()):
        shown = ", ".join(str(length) for length in sorted(lengths)[:SHOWN])
        more = f" and {len(lengths) - SHOWN} other lengths" if len(lengths) > SHOWN else ""
        yield f"priced as if {text} divided {shown}{more} evenly"


def _axis_text(axis: str, parts: float, strategy: Strategy) -> str:
    size = strategy.degree(axis)
    if parts == size:
        return f"{axis}:{size}"
    micro = f", {strategy.micro_batches} micro-batches" if strategy.micro_batches > 1 else ""
    return f"{axis}:{size} (the batch in {parts:,.6g} parts{micro})"


def _layers(detail: Detail, strategy: Strategy) -> Iterator[str]:
    layers, chunks = detail.prices.rows.layers, strategy.degree("pipe") * strategy.interleave
    if layers % chunks:
        most = ceil(layers / chunks) * strategy.interleave
        yield f"of {layers} layers, the fullest of {strategy.degree('pipe')} pipeline stages holds {most}"
    if strategy.degree("pipe") > 1:
        yield "what stands outside the layers runs on the fullest pipeline stage"


def _precisions(graph: Graph, cluster: Cluster) -> Iterator[str]:
    used = {graph.avals[op.operands[0]].precision for op, _ in walk(graph.top) if _is_product(op)}
    for precision in sorted(used & cluster.chip.fallbacks.keys()):
        yield f"{cluster.chip.name} multiplies {precision} matrices as {cluster.chip.fallbacks[precision]}"


def _is_product(op: object) -> bool:
    return op.rule is not None and op.rule.work.unit == "matmul"


def _unknown_trips(graph: Graph) -> Iterator[str]:
    for source in sorted({op.source for op, _ in walk(graph.top) if op.trips is None}):
        yield f"the loop at {source}, whose trip count is not known, is run once: times are lower bounds"
