"""Removes what nothing reads: ops, and what crosses the border of a loop in vain.

XLA does the same, so a collective planned for a dead value would never run.
"""

from __future__ import annotations

from dataclasses import replace

from msgspec import structs

from swplan.ir.graph import Graph, Op, Region, free_values


def eliminate_dead(graph: Graph) -> Graph:
    """The same graph without dead ops, loop carries, scanned arrays and stacked results."""
    return replace(graph, top=_live_region(graph.top, set(graph.top.outputs)))


def _live_region(region: Region, live: set[int]) -> Region:
    kept: list[Op] = []
    for op in reversed(region.ops):
        if live.isdisjoint(op.results):
            continue
        op = LIVE[op.kind](op, live)
        live.update(op.operands if op.after is None else (*op.operands, op.after))
        for body in op.regions:
            live |= free_values(body)
        kept.append(op)
    return replace(region, ops=tuple(reversed(kept)))


def _keep(op: Op, live: set[int]) -> Op:
    return op


def _live_scan(op: Op, live: set[int]) -> Op:
    body, carries = op.regions[0], op.carries
    results = {i for i, value in enumerate(op.results) if value in live}
    while True:
        trimmed = _live_region(body, {body.outputs[i] for i in results})
        needed = _needed(trimmed, {body.outputs[i] for i in results})
        more = {i for i in range(carries) if body.inputs[i] in needed} - results
        if not more:
            break
        results |= more
    inputs = [i for i, value in enumerate(body.inputs) if (i in results if i < carries else value in needed)]
    outputs = sorted(results)
    region = Region(tuple(body.inputs[i] for i in inputs), tuple(body.outputs[i] for i in outputs), trimmed.ops)
    return structs.replace(
        op,
        operands=tuple(op.operands[i] for i in inputs),
        results=tuple(op.results[i] for i in outputs),
        regions=(region,),
        carries=sum(i < carries for i in outputs),
    )


def _live_while(op: Op, live: set[int]) -> Op:
    condition, body = op.regions
    condition = _live_region(condition, set(condition.outputs))
    asked = _needed(condition, set(condition.outputs))
    kept = {i for i, value in enumerate(op.results) if value in live or condition.inputs[i] in asked}
    while True:
        trimmed = _live_region(body, {body.outputs[i] for i in kept})
        needed = _needed(trimmed, {body.outputs[i] for i in kept})
        more = {i for i, value in enumerate(body.inputs) if value in needed} - kept
        if not more:
            break
        kept |= more
    order = sorted(kept)
    pick = lambda values: tuple(values[i] for i in order)  # noqa: E731
    regions = (
        Region(pick(condition.inputs), condition.outputs, condition.ops),
        Region(pick(body.inputs), pick(body.outputs), trimmed.ops),
    )
    operands, results = pick(op.operands), pick(op.results)
    return structs.replace(op, operands=operands, results=results, regions=regions, carries=len(order))


def _live_cond(op: Op, live: set[int]) -> Op:
    kept = [i for i, value in enumerate(op.results) if value in live]
    regions = []
    for body in op.regions:
        outputs = tuple(body.outputs[i] for i in kept)
        regions.append(replace(_live_region(body, set(outputs)), outputs=outputs))
    return structs.replace(op, results=tuple(op.results[i] for i in kept), regions=tuple(regions))


def _needed(region: Region, outputs: set[int]) -> set[int]:
    """Every value that the ops of a region read, and its outputs."""
    needed = set(outputs)
    for op in region.ops:
        needed.update(op.operands if op.after is None else (*op.operands, op.after))
        for body in op.regions:
            needed |= free_values(body)
    return needed


LIVE = {"op": _keep, "scan": _live_scan, "while": _live_while, "cond": _live_cond}
