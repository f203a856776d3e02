"""Plans a traced program: runs the search, the classics beside it, and writes down the Plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from swplan.costmodel.cluster import Cluster
from swplan.errors import PlanMismatchError, UsageError
from swplan.ir.device import DeviceProgram
from swplan.ir.graph import Graph, walk
from swplan.ir.pins import kept_values
from swplan.passes.microbatch import in_micro_batches
from swplan.passes.partition import partition
from swplan.passes.recompute import recomputed
from swplan.passes.timestates import NotInParts
from swplan.plan import FORMAT, Alternative, Certificate, Plan, Precision, Recompute, Trade
from swplan.runtime import describe
from swplan.runtime.alternatives import beside, price_of, runners_up
from swplan.runtime.compiler import xla
from swplan.runtime.infeasible import lacking
from swplan.runtime.maker import JaxMaker
from swplan.runtime.pinned import Hold, hold, prices, with_named
from swplan.runtime.trace import Program
from swplan.search.classics import CLASSICS, classic
from swplan.search.decisions import decision_graph
from swplan.search.exploring import MOST_AXES, Explored, Progress, explore
from swplan.search.fitting import Found
from swplan.search.frame import domain
from swplan.search.planner import find
from swplan.search.pricing import Pricer
from swplan.search.subject import Subject, subject
from swplan.search.variants import AS_WRITTEN, Variant

UNPINNED = "pins are not honoured: a plan of one kind was asked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a user asks of the search; the words are those of `swplan.plan`, `deadline` is of `time.monotonic`."""

    baseline: str | None = None
    max_axes: int | None = None
    deadline: float | None = None
    progress: Progress | None = None
    micro_batches: int | None = None
    recompute: str = "auto"
    pins: Mapping[str, Any] = field(default_factory=dict)
    like: Plan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a plan that was made here remembers: the program as written, and all that the search found."""

    program: Program
    explored: Explored


def make_plan(program: Program, cluster: Cluster, *, name: str, precision: Precision, wish: Wish | None = None) -> Plan:
    """The best plan for a program on a cluster, or the best of a classic kind, which runs the program as written.

    Raises:
      InfeasibleError: nothing fits the memory of a device.
      UsageError: there is no such baseline, or the batch does not come apart as asked for.
    """
    wish = wish or Wish()
    prepared = subject(with_named(program.graph, wish.pins, wish.like), cluster, xla())
    held = hold(prepared, wish.like) if wish.baseline is None else None
    explored, remarks = _search(prepared, wish, held)
    if explored.found is None:
        raise lacking(
            prepared,
            program,
            precision,
            lambda variant: variant_graph(prepared.graph, variant),
            tried=explored.tried,
            asked=wish.baseline or "plan",
            forced=wish.micro_batches is not None or wish.recompute != "auto",
            pins=held.of if held is not None else lambda prepared: None,
            max_axes=wish.max_axes,
        ).error()
    classics = [] if wish.baseline else [beside(prepared, kind, explored.found.best.cost_s) for kind in CLASSICS]
    forced = wish.micro_batches is not None or wish.recompute != "auto" or (held is not None and held.is_held)
    others = [other for _, other in classics if other is not None and not forced]
    explored = _cheapest(prepared, explored, others) if others else explored
    alternatives = runners_up(explored.subject, explored.found) + tuple(row for row, _ in classics)
    planned_program = replace(program, graph=explored.subject.graph)
    plan = write_down(explored, planned_program, name, precision, alternatives, remarks)
    plan = msgspec.structs.replace(plan, pins=prices(explored, held) if held is not None else ())
    msgspec.structs.force_setattr(plan, "program", planned_program)
    msgspec.structs.force_setattr(plan, "origin", Origin(program=program, explored=explored))
    return plan


def _search(prepared: Subject, wish: Wish, held: Hold | None) -> tuple[Explored, list[str]]:
    """What was found, and what is to be said of it."""
    if wish.baseline is not None:
        placement, pins, remark = classic(prepared, wish.baseline)
        one = {"max_axes": 1, "meshes": [placement], "pins": pins}
        found = find(prepared, progress=wish.progress, deadline=wish.deadline, **one)
        remarks = [remark, UNPINNED if prepared.graph.pins else ""]
        explored = Explored(variant=AS_WRITTEN, subject=prepared, found=found, points=(), tried={})
        return explored, list(filter(None, remarks))
    if wish.micro_batches is not None:
        _check_parts(prepared.graph, wish.micro_batches)
    explored = explore(
        prepared,
        lambda variant: variant_graph(prepared.graph, variant),
        max_axes=wish.max_axes or MOST_AXES,
        deadline=wish.deadline,
        progress=wish.progress,
        thorough=wish.max_axes is not None,
        parts=wish.micro_batches,
        recompute=wish.recompute,
        meshes=held.meshes(prepared),
        pins=held.of,
        kept=kept_values(prepared.graph),
        price=price_of,
    )
    return explored, list(filter(None, [held.remark]))


def _check_parts(graph: Graph, parts: int) -> None:
    try:
        in_micro_batches(graph, parts, JaxMaker())
    except NotInParts as error:
        raise UsageError(f"micro_batches={parts}: the step does not come apart so: {error}") from error


def variant_graph(graph: Graph, variant: Variant) -> Graph | None:
    """The program of a variant; None if it does not come apart into so many micro-batches."""
    try:
        return _rewritten(graph, variant.micro_batches, variant.recomputed)
    except NotInParts:
        return None


def _rewritten(graph: Graph, parts: int, dropped: frozenset[int]) -> Graph:
    return in_micro_batches(recomputed(graph, dropped), parts, JaxMaker())


def planned(plan: Plan, program: Program) -> Program:
    """The program that a plan runs: in its micro-batches, with what it computes again.

    Raises:
      PlanMismatchError: the batch of these arguments does not come apart so.
    """
    try:
        graph = _rewritten(program.graph, plan.micro_batches, frozenset(plan.recompute.values))
    except NotInParts as error:
        raise PlanMismatchError(
            f"the plan runs '{plan.step}' in {plan.micro_batches} micro-batches, and these arguments do not come "
            f"apart so: {error}"
        ) from error
    return replace(program, graph=graph)


def write_down(
    explored: Explored,
    program: Program,
    name: str,
    precision: Precision,
    alternatives: tuple[Alternative, ...],
    notes: list[str],
) -> Plan:
    """The plan of what was found."""
    prepared, found = explored.subject, explored.found
    graph, best, cluster = program.graph, found.best, prepared.cluster
    pricer = Pricer(cluster, best.placement, graph, prepared.fused)
    axes = describe.axes_of(prepared, best)
    names = tuple(axis.name for axis in axes)
    inputs, outputs = describe.tensors_of(graph, found.program, names)
    ops, exchanges, costs = describe.prices_of(graph, found.program, pricer, names)
    options, choices = encode_choices(prepared, best.choices)
    return Plan(
        format=FORMAT,
        step=name,
        fingerprint=describe.fingerprint(graph),
        structure=describe.structure(graph),
        cluster=cluster.spec,
        devices=cluster.devices,
        step_time_s=sum(costs.values()),
        breakdown=costs,
        axes=axes,
        inputs=inputs,
        outputs=outputs,
        exchanges=exchanges,
        ops=ops,
        memory=describe.memory_of(found.memory, graph, cluster.memory_bytes),
        alternatives=alternatives,
        certificate=_certificate(prepared, found),
        precision=precision,
        notes=tuple(notes + _lower_bound_notes(graph)),
        options=options,
        choices=choices,
        **_variant_fields(explored),
    )


def _variant_fields(explored: Explored) -> dict[str, Any]:
    variant = explored.variant
    again = Recompute(what=variant.recompute, values=tuple(sorted(variant.recomputed)))
    return {"micro_batches": variant.micro_batches, "recompute": again, "found": _trades(explored)}


def _trades(explored: Explored) -> tuple[Trade, ...]:
    """The plans of which none is faster and takes less memory, fastest first."""
    kept: list[Trade] = []
    for point in sorted(explored.points, key=lambda p: (p.step_s, p.memory_bytes)):
        if not kept or point.memory_bytes < kept[-1].peak_memory_bytes:
            kept.append(
                Trade(
                    step_time_s=point.step_s + explored.subject.cluster.chip.storage_s,
                    peak_memory_bytes=int(point.memory_bytes),
                    mesh=point.placement.sizes,
                    micro_batches=point.variant.micro_batches,
                    recompute=point.variant.recompute,
                )
            )
    return tuple(kept)


def _certificate(prepared: Subject, found: Found) -> Certificate:
    return Certificate(
        cost_s=found.best.cost_s,
        bound_s=found.bound_s,
        method=found.best.method,
        meshes=found.meshes,
        decisions=len(prepared.folded.members),
        decisions_unfolded=len(prepared.decisions.nodes),
    )


def _lower_bound_notes(graph: Graph) -> list[str]:
    unknown = sorted({op.source for op, _ in walk(graph.top) if op.trips is None})
    return [
        f"the trip count of the loop at {s} is not known: it is priced once, so times are lower bounds" for s in unknown
    ]


def encode_choices(prepared: Subject, choices: Any) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Choices as a table of distinct options and one index for each decision, in the order of the decision graph."""
    table: dict[tuple[int, ...], int] = {}
    indices = tuple(table.setdefault(tuple(choices[node.key]), len(table)) for node in prepared.decisions.nodes)
    return tuple(table), indices


def decode_choices(plan: Plan, graph: Graph) -> dict[tuple[str, int], tuple[int, ...]]:
    """The choices of a plan for a program of the same structure.

    Raises:
      PlanMismatchError: the program has another number of decisions.
    """
    nodes = decision_graph(graph).nodes
    if len(nodes) != len(plan.choices) or plan.structure != describe.structure(graph):
        raise PlanMismatchError(
            f"the plan for '{plan.step}' ({len(plan.choices)} decisions; this program has {len(nodes)}) was made for "
            "another step, or for arguments of another structure"
        )
    return {node.key: plan.options[index] for node, index in zip(nodes, plan.choices, strict=True)}


def device_program(plan: Plan, graph: Graph) -> DeviceProgram:
    """The program of one device that a plan describes.

    Raises:
      PlanMismatchError: the plan was made for another program.
    """
    if plan.fingerprint != describe.fingerprint(graph):
        raise PlanMismatchError(
            f"the plan was made for another program than this '{plan.step}': its shapes, dtypes or operations differ.\n"
            "  Plan again for these arguments, or use rehearse() to run a plan's decisions on smaller ones."
        )
    sizes, choices = tuple(axis.size for axis in plan.axes), decode_choices(plan, graph)
    for node in decision_graph(graph).nodes:
        if choices[node.key] not in domain(node, sizes):
            raise PlanMismatchError(
                f"the plan for '{plan.step}' is not valid: {node.key[0]} cannot choose {choices[node.key]}"
            )
    return partition(graph, sizes, choices)


def _cheapest(written: Subject, explored: Explored, classics: Sequence[Found]) -> Explored:
    """What was found, or a classic whose finished program costs less: exchanges that readers share count once there."""
    found = explored.found
    seconds = {id(one): price_of(written, one) for one in classics} | {id(found): price_of(explored.subject, found)}
    best = min([found, *classics], key=lambda one: seconds[id(one)])
    if best is found:
        return explored
    others = (replace(found.best, cost_s=seconds[id(found)]), *found.runners_up) if explored.subject is written else ()
    bound_s = min(found.bound_s, best.best.cost_s)
    best = replace(best, runners_up=others, bound_s=bound_s, meshes=found.meshes)
    return replace(explored, variant=AS_WRITTEN, subject=written, found=best)
