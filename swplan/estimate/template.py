"""Template: what a kind of strategy means for a program, decided once for all degrees.

The decisions are those of the search, held to what the strategy says: which inputs each axis splits, that products
with weights split along the model axis, those of experts along the expert axis. A strategy of an op names factors, a
layout names dims, neither knows how long an axis is: so the device program that they make prices every degree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd, prod

import numpy as np

from swplan.costmodel.network import Placement
from swplan.errors import UsageError
from swplan.estimate.attention import Cores, cores_of
from swplan.estimate.dims import batch_dims
from swplan.estimate.pins import pins, weight_sources
from swplan.estimate.strategy import Strategy
from swplan.ir.device import DeviceProgram
from swplan.ir.graph import Graph
from swplan.passes.fusion import OnChip
from swplan.passes.partition import Choices, partition
from swplan.search.frame import Option, domain
from swplan.search.space import space
from swplan.search.subject import LIMITLESS, Pins, Subject, pricer_on, solve_space

SPLITTING = ("data", "replica", "expert", "context", "model")
"""Axes that split values; `pipe` splits the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A program with its decisions.

    Attributes:
        graph: the program.
        axes: names of the axes of the layouts, in their order.
        program: the program of one device, at some degrees.
        choices: the decisions, which hold at all degrees.
        fused: what does not go through memory.
        cores: the attentions of the program.
        batch: value -> its dims of examples.
    """

    graph: Graph
    axes: tuple[str, ...]
    program: DeviceProgram
    choices: Mapping[tuple[str, int], Option]
    fused: OnChip
    cores: Cores
    batch: Mapping[int, frozenset[int]]


def template(subject: Subject, strategy: Strategy, known: Choices | None = None) -> Template:
    """Decides for a kind of strategy, at its degrees where they divide the program.

    Args:
        subject: the program and the chip.
        strategy: one of its kind.
        known: decisions for the same program with other shapes, which are taken where these shapes allow it.

    Raises:
        UsageError: the program has nothing that an axis could split.
    """
    graph = subject.graph
    batch = batch_dims(graph, 0)
    cores = cores_of(graph, frozenset(weight_sources(graph)))
    if strategy.attention == "fused":
        subject = replace(subject, fused=subject.fused.and_values(cores.values))
    degrees = _degrees(graph, strategy)
    axes = tuple(axis for axis in SPLITTING if axis in degrees)
    sizes = tuple(degrees[axis] for axis in axes)
    inner = [axis for axis, _ in strategy.mesh if axis in axes]
    inner += [axis for axis in axes if axis not in inner]
    cluster = subject.cluster.replace({f"{subject.cluster.chip.device}s": prod(sizes)})
    placement = Placement(cluster=cluster, sizes=sizes, order=tuple(axes.index(axis) for axis in inner))
    choices = known
    if known is None or not _are_legal(subject, sizes, known):
        choices = _decided(subject, placement, pins(subject.folded, strategy, axes, sizes))
    program = partition(graph, sizes, choices)
    return Template(
        graph=graph, axes=axes, program=program, choices=choices, fused=subject.fused, cores=cores, batch=batch
    )


def _are_legal(subject: Subject, sizes: tuple[int, ...], choices: Choices) -> bool:
    """Whether decisions are for this program, and divide it on a mesh."""
    folded = subject.folded
    nodes = [folded.representative(cls) for cls in range(len(folded.members))]
    return all(node.key in choices and choices[node.key] in domain(node, sizes) for node in nodes)


def _decided(subject: Subject, placement: Placement, held: Pins) -> dict[tuple[str, int], Option]:
    """The best decisions within pins; a value that its kernel hands on as it is takes the layout that its reader has.

    Where that contradicts its own pin, the pin gives way.
    """
    while True:
        area = space(subject.folded, pricer_on(subject, placement), held)
        solution, stated = solve_space(subject, area, LIMITLESS)
        if solution.choice is not None:
            return area.choices(solution.choice)
        stuck = {source for source, _, seconds in stated.edges if not np.isfinite(seconds).any()} & held.keys()
        assert stuck, "swplan bug: no decisions agree with the strategy"
        held = {cls: options for cls, options in held.items() if cls not in stuck}


def examples(graph: Graph) -> int:
    """Examples of a step.

    Raises:
        UsageError: no argument is a batch.
    """
    batches = [graph.avals[v] for v in graph.top.inputs if graph.role(v) == "batch" and graph.avals[v].shape]
    if not batches:
        raise UsageError("the program has no batch among its arguments, which strategies split")
    return gcd(*(aval.shape[0] for aval in batches))


def _degrees(graph: Graph, strategy: Strategy) -> dict[str, int]:
    """A degree for each axis that lies on values, at which the program divides; the batch axis counts micro-batches."""
    rows = examples(graph)
    wanted = {axis: strategy.degree(axis) for axis in SPLITTING}
    found = {"model": wanted["model"], "context": wanted["context"]}
    for axis in ("expert", "replica"):
        found[axis] = gcd(wanted[axis], rows)
        rows //= found[axis]
    found["data"] = gcd(max(1, int(batch_parts(strategy, examples(graph)))), rows)
    if strategy.zero:
        found["data"] = _even(gcd(found["data"], wanted["data"]) if wanted["data"] > 1 else found["data"])
    for axis, size in found.items():
        if wanted[axis] > 1 and size == 1:
            count = examples(graph)
            raise UsageError(f"{axis}:{wanted[axis]} splits nothing: the batch of {count} cannot be divided by it")
    return {axis: size for axis, size in found.items() if size > 1}


def _even(degree: int) -> int:
    """The power of two in a degree, which divides the dims of state; the degree itself where that is 1."""
    return gcd(degree, 1 << 20) if degree % 2 == 0 else degree


def batch_parts(strategy: Strategy, rows: int) -> float:
    """Into how many parts the examples of a program are divided along the data axis, one after the other included."""
    parts = strategy.degree("data") * strategy.micro_batches
    return rows * parts / strategy.global_batch if strategy.global_batch else parts
