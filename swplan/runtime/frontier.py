"""Time against memory: meshes and variants of a plan solved within less and less memory, each point a finished plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from swplan.costmodel.network import Placement
from swplan.ir.graph import Graph
from swplan.passes.partition import partition
from swplan.plan import Plan, Trade
from swplan.runtime import describe
from swplan.runtime.compiler import xla
from swplan.runtime.explaining import decided
from swplan.runtime.infeasible import variants_of
from swplan.runtime.planning import Origin, variant_graph
from swplan.search.exploring import MOST_PARTS
from swplan.search.pricing import Pricer
from swplan.search.space import needed_bytes, space
from swplan.search.subject import Candidate, Subject, candidate_of, pricer_on, solve_space, subject
from swplan.search.variants import Variant, levels, micro_batch_counts

LIMITS = 8
"""Memory limits between the least that must be held and the plan's peak."""
MESHES = 3


def points(plan: Plan) -> tuple[Trade, ...]:
    """Plans that take less memory than a plan, or as little time, as far as was looked; some beat others.

    Args:
      plan: one that was made here, or that knows its program.
    """
    origin: Origin | None = getattr(plan, "origin", None)
    held = decided(plan, plan.program)
    own = Variant(
        micro_batches=plan.micro_batches, recomputed=frozenset(plan.recompute.values), recompute=plan.recompute.what
    )
    programs = {own: plan.program.graph} | (_variants(origin.program.graph) if origin is not None else {})
    meshes = [held.placement, *(_other_meshes(origin, held.placement) if origin is not None else ())]
    found = []
    for variant, graph in programs.items():
        prepared = held.subject if variant == own else subject(graph, held.subject.cluster, xla())
        for mesh in meshes:
            found += _descent(prepared, mesh, variant, plan.peak_memory_bytes)
    return tuple(found)


def _variants(written: Graph) -> dict[Variant, Graph]:
    """The program as written, the one that recomputes most, and that in many micro-batches."""
    chosen = variants_of(levels(written, lambda op: 1.0), micro_batch_counts(written, MOST_PARTS))
    graphs = ((variant, variant_graph(written, variant)) for variant in chosen)
    return {variant: graph for variant, graph in graphs if graph is not None}


def _other_meshes(origin: Origin, own: Placement) -> Sequence[Placement]:
    """Meshes on which the search found plans: the fastest and the smallest."""
    met = sorted(origin.explored.points, key=lambda point: point.step_s)
    small = sorted(met, key=lambda point: point.memory_bytes)
    meshes = dict.fromkeys(p.placement for pair in zip(met, small, strict=True) for p in pair)
    return [mesh for mesh in meshes if mesh != own][: MESHES - 1]


def _descent(prepared: Subject, mesh: Placement, variant: Variant, most: int) -> Iterator[Trade]:
    """The best plans on one mesh within less and less memory."""
    area = space(prepared.folded, pricer_on(prepared, mesh))
    least = needed_bytes(area, prepared.moments)
    held = float("inf")
    for step in range(LIMITS):
        limit = most - (most - least) * step / LIMITS
        if held <= limit:
            continue
        solution, stated = solve_space(prepared, area, limit)
        if solution.choice is None:
            return
        candidate = candidate_of(area, solution, stated)
        held = candidate.memory_bytes
        yield _point(prepared, candidate, variant)


def _point(prepared: Subject, candidate: Candidate, variant: Variant) -> Trade:
    """What the finished program of a candidate takes."""
    sizes = candidate.placement.sizes
    program = partition(prepared.graph, sizes, candidate.choices)
    pricer = Pricer(prepared.cluster, candidate.placement, prepared.graph, prepared.fused)
    names = tuple(map(str, range(len(sizes))))
    costs = describe.prices_of(prepared.graph, program, pricer, names)[2]
    return Trade(
        step_time_s=float(sum(costs.values())),
        peak_memory_bytes=int(prepared.peak(program).peak_bytes),
        mesh=sizes,
        micro_batches=variant.micro_batches,
        recompute=variant.recompute,
    )
