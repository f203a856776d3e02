"""Plans a traced program: runs the search, the classics beside it, and writes down the Plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from swplan.costmodel.cluster import Cluster
from swplan.costmodel.network import Placement
from swplan.errors import InfeasibleError, PlanMismatchError
from swplan.ir.device import DeviceProgram
from swplan.ir.graph import Graph, walk
from swplan.passes.partition import partition
from swplan.plan import FORMAT, Alternative, Certificate, Plan, Precision
from swplan.runtime import describe
from swplan.runtime.compiler import xla
from swplan.runtime.trace import Program
from swplan.search.classics import CLASSICS, classic, price_unlimited
from swplan.search.decisions import decision_graph
from swplan.search.fitting import Found
from swplan.search.planner import Progress, find
from swplan.search.pricing import Pricer
from swplan.search.space import domain
from swplan.search.subject import Subject, subject

SMALL = 20_000
"""Decisions up to which the memory of what does not fit is measured exactly."""


def make_plan(
    program: Program,
    cluster: Cluster,
    *,
    name: str,
    precision: Precision,
    baseline: str | None = None,
    max_axes: int | None = None,
    time_limit_s: float | None = None,
    progress: Progress | None = None,
) -> Plan:
    """The best plan for a program on a cluster, or the best of a classic kind.

    Raises:
      InfeasibleError: nothing fits the memory of a device.
      UsageError: there is no such baseline.
    """
    prepared = subject(program.graph, cluster, xla())
    axes = max_axes or default_axes(cluster)
    remark = ""
    if baseline is not None:
        placement, pins, remark = classic(prepared, baseline)
        found = find(prepared, max_axes=1, meshes=[placement], pins=pins, progress=progress)
    else:
        thorough = max_axes is not None
        found = find(prepared, max_axes=axes, time_limit_s=time_limit_s, progress=progress, thorough=thorough)
    if found is None:
        raise InfeasibleError(_too_large(prepared, cluster, baseline))
    classics = [] if baseline else [_classic(prepared, kind) for kind in CLASSICS]
    found = _cheapest(prepared, found, [other for _, other in classics if other is not None])
    alternatives = _runners_up(prepared, found) + tuple(row for row, _ in classics)
    plan = _write(prepared, program, found, name, precision, alternatives, [remark] if remark else [])
    msgspec.structs.force_setattr(plan, "program", program)
    return plan


def default_axes(cluster: Cluster) -> int:
    """How many mesh axes are searched: two, and three on a machine of several tiers if nothing fits on two."""
    return 3 if len(cluster.tiers) > 1 else 2


def _write(
    prepared: Subject,
    program: Program,
    found: Found,
    name: str,
    precision: Precision,
    alternatives: tuple[Alternative, ...],
    notes: list[str],
) -> Plan:
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
    )


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


def _runners_up(prepared: Subject, found: Found) -> tuple[Alternative, ...]:
    best = {}
    for candidate in found.runners_up:
        best.setdefault(candidate.placement.sizes, candidate)
    rows = []
    for candidate in list(best.values())[:5]:
        names = describe.axes_of(prepared, candidate)
        mesh = tuple((axis.name, axis.size) for axis in names)
        rows.append(
            _alternative(" x ".join(f"{n}:{s}" for n, s in mesh), mesh, candidate.cost_s, candidate.memory_bytes, "")
        )
    return tuple(rows)


def _alternative(name: str, mesh: Sequence, seconds: float | None, memory: float | None, excluded: str) -> Alternative:
    held = None if memory is None else int(memory)
    return Alternative(name=name, mesh=tuple(mesh), step_time_s=seconds, peak_memory_bytes=held, excluded=excluded)


def _classic(prepared: Subject, name: str) -> tuple[Alternative, Found | None]:
    """A classic beside the plan; one that does not fit is priced all the same, with what it lacks."""
    placement, pins, remark = classic(prepared, name)
    found = find(prepared, max_axes=1, meshes=[placement], pins=pins)
    if found is None:
        return _unlimited(prepared, name, placement, pins), None
    mesh = tuple((axis.name, axis.size) for axis in describe.axes_of(prepared, found.best))
    costs = _costs(prepared, found)
    row = _alternative(name, mesh, sum(costs.values()), found.best.memory_bytes, remark)
    return msgspec.structs.replace(row, breakdown=costs), found


def _costs(prepared: Subject, found: Found) -> dict[str, float]:
    """Seconds by cause of the finished program."""
    pricer = Pricer(prepared.cluster, found.best.placement, prepared.graph, prepared.fused)
    names = tuple(axis.name for axis in describe.axes_of(prepared, found.best))
    return describe.prices_of(prepared.graph, found.program, pricer, names)[2]


def _cheapest(prepared: Subject, found: Found, classics: Sequence[Found]) -> Found:
    """What was found, or a classic whose finished program costs less: exchanges that readers share count once there."""
    seconds = {id(one): sum(_costs(prepared, one).values()) for one in (found, *classics)}
    best = min([found, *classics], key=lambda one: seconds[id(one)])
    if best is found:
        return found
    others = (replace(found.best, cost_s=seconds[id(found)]), *found.runners_up)
    bound_s = min(found.bound_s, best.best.cost_s)
    return replace(best, runners_up=others, bound_s=bound_s, meshes=found.meshes)


def _unlimited(prepared: Subject, name: str, placement: Placement, pins: Any) -> Alternative:
    candidate = price_unlimited(prepared, placement, pins, exactly=len(prepared.decisions.nodes) <= SMALL)
    over = candidate.memory_bytes - prepared.cluster.memory_bytes
    mesh = tuple((axis.name, axis.size) for axis in describe.axes_of(prepared, candidate))
    text = f"needs {_size(candidate.memory_bytes)} a device, {_size(over)} more than there are"
    return _alternative(name, mesh, candidate.cost_s, candidate.memory_bytes, text)


def _too_large(prepared: Subject, cluster: Cluster, baseline: str | None) -> str:
    graph = prepared.graph
    kept = sorted(((graph.avals[v].bytes, n) for v, n in zip(graph.top.inputs, graph.names, strict=True)), reverse=True)
    largest = ", ".join(f"{name} ({_size(size)})" for size, name in kept[:3])
    state = sum(size for size, _ in kept) / cluster.devices
    return (
        f"no {baseline or 'plan'} fits: a device of {cluster.chip.name} has {_size(cluster.memory_bytes)}.\n"
        f"  The arguments alone, split evenly over {cluster.devices} devices, take {_size(state)} each;\n"
        f"  largest: {largest}.\n"
        "  Use more devices, a smaller batch, or a lower precision."
    )


def _size(count: float) -> str:
    unit, name = next(((u, n) for u, n in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")) if count >= u), (1, "B"))
    return f"{count / unit:.3g} {name}" if count < 1000 * unit else f"{count / unit:,.0f} {name}"
