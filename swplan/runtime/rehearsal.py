"""Rehearses a plan made for a bigger machine: the same decisions, on smaller arguments and the devices at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from swplan.errors import PlanMismatchError
from swplan.ir.graph import Graph
from swplan.ir.strategy import strategies
from swplan.passes.partition import partition
from swplan.plan import Plan
from swplan.runtime.planning import decode_choices, planned
from swplan.runtime.prepare import Prepared
from swplan.runtime.step import built
from swplan.search.decisions import Node, decision_graph
from swplan.search.frame import domain


def rehearsed(plan: Plan, prepared: Prepared, devices: int) -> Callable[[tuple, dict], Any]:
    """The step on `devices` devices with the axes of the plan, each axis larger than one still larger than one.

    Raises:
      PlanMismatchError: the program has another structure, or no mesh of so many devices can hold the decisions.
    """
    exact = planned(plan, prepared.exact(plan.precision))
    choices = decode_choices(plan, exact.graph)
    nodes = decision_graph(exact.graph).nodes
    axes = len(plan.axes)
    problems: list[str] = []
    for sizes in sorted(shrunk(devices, axes), key=lambda s: _distance(s, plan)):
        wrong = next((n for n in nodes if not _legal(n, choices[n.key], sizes)), None)
        if wrong is None:
            return built(plan, exact, partition(exact.graph, sizes, choices), donate=False)
        problems.append(f"{' x '.join(map(str, sizes))}: {_text(wrong, choices[wrong.key], exact.graph)}")
    raise PlanMismatchError(_message(plan, devices, problems))


def _distance(sizes: tuple[int, ...], plan: Plan) -> float:
    """How far the proportions of a mesh are from those of the plan's."""
    return sum(
        abs(size**0.5 - axis.size ** (1 / max(len(sizes), 1))) for size, axis in zip(sizes, plan.axes, strict=True)
    )


def shrunk(devices: int, axes: int) -> Iterator[tuple[int, ...]]:
    """Every mesh of this many axes, each larger than one, over at most this many devices, fullest first."""
    if axes == 0:
        yield ()
        return
    for total in sorted((n for n in range(2**axes, devices + 1) if devices % n == 0), reverse=True):
        yield from _factored(total, axes)


def _factored(total: int, axes: int) -> Iterator[tuple[int, ...]]:
    if axes == 1:
        yield (total,)
        return
    for size in range(2, total // 2 ** (axes - 1) + 1):
        if total % size == 0:
            for rest in _factored(total // size, axes - 1):
                yield (size, *rest)


def _legal(node: Node, option: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    options = strategies(node.op.rule, sizes) if node.op is not None else domain(node, sizes)
    return option in options


def _text(node: Node, option: tuple[int, ...], graph: Graph) -> str:
    if node.op is not None:
        shapes = ", ".join(str(graph.avals[v]) for v in node.op.operands)
        return f"{node.op.primitive} ({shapes}) at {node.op.source} cannot be split as {option}"
    return f"{node.key[0]} {node.aval} cannot be laid out as {option}"


def _message(plan: Plan, devices: int, problems: list[str]) -> str:
    mesh = " x ".join(f"{axis.name}:{axis.size}" for axis in plan.axes)
    if not problems:
        return (
            f"{devices} devices cannot hold the mesh {mesh} with every axis larger than one: it takes at least "
            f"{2 ** len(plan.axes)}. Rehearse on more devices (jax_num_cpu_devices)."
        )
    tried = "\n    ".join(problems)
    return (
        f"the decisions of this plan (mesh {mesh}) do not fit these arguments on {devices} devices:\n    {tried}\n"
        "  Give arguments whose split dims are divisible by the sizes of the axes."
    )
