"""The oracle of the whole search: every choice of every variant on every mesh, and what of these is ever best.

It knows of each choice what it costs and the memory that it needs: by the rows of its problem, and as a finished device
program. Those of which none is cheaper and needs less are the best plans of all memory limits at once. It shares the
prices of one mesh with the search (`space.problem`), and no algorithm.

Of programs that are too large to list, it lists what costs up to `reach` times the plan that has memory enough.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from swplan.costmodel import Cluster
from swplan.costmodel.network import Placement
from swplan.ir.graph import Graph
from swplan.ir.layout import replicated
from swplan.passes.partition import partition
from swplan.runtime.planning import variant_graph
from swplan.runtime.trace import trace
from swplan.search.exploring import Explored, explore
from swplan.search.meshes import candidate_meshes
from swplan.search.space import Space, problem, space
from swplan.search.subject import LIMITLESS, Subject, pricer_on, subject
from swplan.search.variants import AS_WRITTEN, Variant, levels, seconds_by_op
from swplan.solver.problem import Problem

COUNTS = {1: (1,), 4: (1, 2, 4), 6: (1, 2, 6)}
"""Micro-batches that are looked at, by batch: divisors, each at least twice the one before."""
MOST = 1_000_000
"""Choices on one mesh: more would take too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A program on a cluster."""

    loss: Callable
    weight: tuple[int, ...]
    batch: tuple[int, ...]
    cluster: str
    axes: int = 1
    reach: float = np.inf

    @property
    def name(self) -> str:
        """As pytest shows it."""
        shapes = "-".join("x".join(map(str, shape)) for shape in (self.weight, self.batch))
        chip = self.cluster.split(",")[0].replace(":", "-").replace("=", "")
        return f"{self.loss.__name__}-{shapes}-{chip}-{self.axes}d"


def step_of(loss: Callable) -> Callable:
    """A step of gradient descent."""

    def step(weight, batch):
        return weight - 0.1 * jax.grad(loss)(weight, batch)

    return step


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Every choice of a variant on a mesh: options `[n, classes]`, seconds and bytes `[n]` as the search estimates."""

    variant: Variant
    subject: Subject
    area: Space
    picked: np.ndarray
    cost_s: np.ndarray
    bytes: np.ndarray

    def needed_bytes(self, number: int) -> float:
        """What a choice needs: the estimate, or what its finished program holds if that is more."""
        choices = self.area.choices(tuple(map(int, self.picked[number])))
        program = partition(self.subject.graph, self.area.pricer.sizes, choices)
        return max(float(self.bytes[number]), float(self.subject.peak(program).peak_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """No choice is cheaper and needs less."""

    cost_s: float
    bytes: float
    variant: Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """A case, its variants, and of what costs up to a ceiling the best by memory: dearer, and smaller, one by one."""

    case: Case
    written: Subject
    graphs: Mapping[Variant, Graph]
    ceiling_s: float = np.inf
    best: tuple[Best, ...] = ()

    def within(self, limit_bytes: int) -> Best | None:
        """The best within a limit."""
        return next((one for one in self.best if one.bytes <= limit_bytes), None)


def assignments(stated: Problem, ceiling_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Every choice `[n, nodes]` that costs no more than a ceiling, if finite, and the costs `[n]`."""
    picked, cost = np.zeros((1, 0), np.int16), np.zeros(1)
    left_s = sum(own.min() for own in stated.costs)
    for node, own in enumerate(stated.costs):
        options = np.tile(np.arange(len(own), dtype=np.int16), len(picked))
        picked = np.column_stack([np.repeat(picked, len(own), axis=0), options])
        cost, left_s = np.repeat(cost, len(own)) + own[options], left_s - own.min()
        for i, j, table in stated.edges:
            cost = cost + table[picked[:, i], picked[:, j]] if max(i, j) == node else cost
        kept = np.isfinite(cost) & (cost + left_s <= ceiling_s)
        picked, cost = picked[kept], cost[kept]
        assert len(cost) <= MOST, f"more than {MOST} choices: {node} of {len(stated.costs)}"
    return picked, cost


def estimated_bytes(stated: Problem, picked: np.ndarray) -> np.ndarray:
    """What choices need at least: the rows of the problem `[n]`."""
    needs = np.zeros(len(picked))
    for row in stated.rows:
        needs = np.maximum(needs, sum(usage[picked[:, node]] for node, usage in row.usage.items()))
    return needs


def variants(written: Subject, batch: int) -> Iterator[Variant]:
    """Every count of micro-batches with every level of recomputation."""
    devices = written.cluster.devices
    pricer = pricer_on(written, Placement(cluster=written.cluster, sizes=(devices,), order=(0,)))
    seconds = seconds_by_op(lambda op: float(pricer.op_s(op, (replicated(1),))[0]) if op.rule is not None else 0.0)
    for parts in COUNTS[batch]:
        for level in levels(written.graph, seconds):
            yield Variant(micro_batches=parts, recomputed=level.values, recompute=level.name)


def listed(known: Oracle, variant: Variant) -> Iterator[Listed]:
    """Every choice of a variant on every mesh."""
    prepared = subject(known.graphs[variant], known.written.cluster)
    for mesh in candidate_meshes(prepared.cluster, prepared.decisions, known.case.axes):
        area = space(prepared.folded, pricer_on(prepared, mesh))
        stated = problem(area, prepared.moments, LIMITLESS)
        picked, cost = assignments(stated, known.ceiling_s)
        needs = estimated_bytes(stated, picked)
        yield Listed(variant=variant, subject=prepared, area=area, picked=picked, cost_s=cost, bytes=needs)


def frontier(lists: list[Listed]) -> tuple[Best, ...]:
    """The cheapest of all, then always the cheapest that needs less."""
    cost, needs = (np.concatenate([getattr(one, name) for one in lists]) for name in ("cost_s", "bytes"))
    ends = np.cumsum([len(one.cost_s) for one in lists])
    found, least = [], np.inf
    for place in np.lexsort((needs, cost)):
        if needs[place] >= least:
            continue
        number = int(np.searchsorted(ends, place, side="right"))
        one = lists[number]
        needed = one.needed_bytes(place - ends[number])
        if needed < least:
            least = needed
            found.append(Best(cost_s=float(cost[place]), bytes=needed, variant=one.variant))
    return tuple(found)


@functools.cache
def oracle(case: Case) -> Oracle:
    """All that the oracle knows of a case."""
    arguments = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (case.weight, case.batch))
    graph = trace(step_of(case.loss), tuple(arguments), {}).graph
    written = subject(graph, Cluster.parse(case.cluster))
    graphs = {one: variant_graph(graph, one) for one in variants(written, case.batch[0])} | {AS_WRITTEN: graph}
    known = Oracle(case=case, written=written, graphs=graphs)
    if case.reach < np.inf:
        known = replace(known, ceiling_s=case.reach * searched(known, written.cluster.memory_bytes).found.best.cost_s)
    return replace(known, best=frontier([one for variant in graphs for one in listed(known, variant)]))


def searched(known: Oracle, limit_bytes: int) -> Explored:
    """What the search finds within a limit."""
    written = replace(known.written, cluster=known.written.cluster.replace({"memory.bytes": limit_bytes}))
    return explore(written, known.graphs.get, max_axes=known.case.axes)
