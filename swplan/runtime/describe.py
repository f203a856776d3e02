"""Writes down a found plan: prices its device program op by op, names its axes, and says why each exchange is there."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from swplan.costmodel.collectives import algorithm_names
from swplan.costmodel.compute import breakdown
from swplan.ir.device import Compute, DeviceProgram, Move, walk_device
from swplan.ir.graph import Aval, Graph, walk
from swplan.ir.layout import JOIN, Layout, spec
from swplan.passes.memory import MemoryReport
from swplan.plan import Axis, Collective, Memory, OpCost, Tensor
from swplan.runtime.axes import axis_names
from swplan.search.pricing import Pricer, op_work, split_of
from swplan.search.subject import Candidate, Subject


def fingerprint(graph: Graph) -> str:
    """A hash of the program: its ops, shapes and wiring. Equal programs have equal fingerprints."""
    digest = hashlib.sha256()
    digest.update(repr((graph.names, graph.top.inputs, graph.top.outputs, sorted(graph.aliases.items()))).encode())
    for op, trips in walk(graph.top):
        shapes = tuple(str(graph.avals[v]) for v in op.results)
        digest.update(repr((op.primitive, op.operands, op.results, shapes, trips)).encode())
    return digest.hexdigest()[:32]


def structure(graph: Graph) -> str:
    """A hash of the ops and their wiring, whatever their shapes: what a rehearsal must share with its plan."""
    digest = hashlib.sha256()
    digest.update(repr((graph.names, graph.top.inputs, graph.top.outputs)).encode())
    for op, _ in walk(graph.top):
        ranks = tuple(len(graph.avals[v].shape) for v in op.results)
        digest.update(repr((op.primitive, op.operands, op.results, ranks)).encode())
    return digest.hexdigest()[:32]


def axes_of(subject: Subject, candidate: Candidate) -> tuple[Axis, ...]:
    """The mesh axes, named after what they split."""
    placement = candidate.placement
    names = axis_names(subject, candidate)
    return tuple(
        Axis(name=name, size=size, position=placement.order.index(i), tiers=placement.tiers_of_axis(i))
        for i, (name, size) in enumerate(zip(names, placement.sizes, strict=True))
    )


def tensors_of(
    graph: Graph, program: DeviceProgram, names: Sequence[str]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs and results with their shardings."""
    inputs = tuple(
        _tensor(graph, program, name, local, names, graph.role(value), "")
        for name, value, local in zip(graph.names, graph.top.inputs, program.top.inputs, strict=True)
    )
    outputs = []
    for position, (name, local) in enumerate(zip(graph.output_names, program.top.outputs, strict=True)):
        source = graph.aliases.get(position)
        role = inputs[source].role if source is not None else "output"
        replaced = inputs[source].name if source is not None else ""
        outputs.append(_tensor(graph, program, name, local, names, role, replaced))
    return inputs, tuple(outputs)


def _tensor(
    graph: Graph, program: DeviceProgram, name: str, local: int, names: Sequence[str], role: str, replaces: str
) -> Tensor:
    held = program.values[local]
    whole = graph.avals[held.origin]
    return Tensor(
        name=name,
        shape=whole.shape,
        dtype=whole.dtype,
        role=role,
        spec=spec(held.layout, len(whole.shape), names),
        bytes=whole.bytes,
        device_bytes=held.aval.bytes,
        replaces=replaces,
    )


def collectives_of(
    graph: Graph, program: DeviceProgram, pricer: Pricer, names: Sequence[str]
) -> tuple[Collective, ...]:
    """Every exchange, equal ones (same line, same tensor) counted together, dearest first."""
    inputs = dict(zip(graph.top.inputs, graph.names, strict=True))
    totals: dict[Any, list] = {}
    for op, trips in walk_device(program.top):
        if isinstance(op, Move) and op.is_collective:
            held = program.values[op.operands[0]]
            seconds, algorithm = pricer.step_s(op.step, graph.avals[held.origin])
            what = _tensor_text(graph, held.origin, inputs)
            key = (op.step, what, held.aval, op.source, op.stage, op.reader, algorithm)
            entry = totals.setdefault(key, [0, 0.0, program.buffer_bytes(op)])
            entry[0] += trips
            entry[1] += seconds * trips
    rows = [_collective(key, entry, program, names) for key, entry in totals.items()]
    return tuple(sorted(rows, key=lambda c: (-c.time_s, c.kind, c.tensor, c.source)))


def _collective(key: tuple, entry: list, program: DeviceProgram, names: Sequence[str]) -> Collective:
    step, what, aval, source, stage, reader, algorithm = key
    count, seconds, buffer_bytes = entry
    return Collective(
        kind=step.kind,
        axes=tuple(names[a] for a in step.axes),
        group_size=program.degree(step.axes),
        dtype=aval.dtype,
        bytes=buffer_bytes,
        count=count,
        algorithm=algorithm_names(step.kind)[algorithm],
        time_s=seconds,
        stage=stage,
        tensor=what,
        source=source,
        why=_why(step.before, step.after, reader, stage, len(aval.shape), names),
    )


def _tensor_text(graph: Graph, value: int, inputs: dict[int, str]) -> str:
    return inputs.get(value) or f"{graph.role(value)} {graph.avals[value]}"


def _why(before: Layout, after: Layout, reader: str, stage: str, rank: int, names: Sequence[str]) -> str:
    """One sentence: how the value is left, and how its reader needs it."""
    left, needed = layout_text(before, rank, names), layout_text(after, rank, names)
    return f"it is {left}; {reader} ({stage}) needs it {needed}"


def layout_text(layout: Layout, rank: int, names: Sequence[str]) -> str:
    """A layout in words: "split [data, -]", "whole", "to be joined by sum over model"."""
    parts = spec(layout, rank, names)
    words = []
    if any(parts):
        words.append("split [" + ", ".join("+".join(p) or "-" for p in parts) + "]")
    for entry, how in JOIN.items():
        waiting = [names[a] for a, e in enumerate(layout) if e == entry]
        words += [f"to be joined by {how} over {'+'.join(waiting)}"] if waiting else []
    return " and ".join(words) or "whole"


def ops_of(graph: Graph, program: DeviceProgram, pricer: Pricer, names: Sequence[str]) -> tuple[OpCost, ...]:
    """Local work by source line, dearest first."""
    prices: dict[Any, tuple] = {}
    totals: dict[Any, list] = defaultdict(lambda: [0, 0.0, 0.0, 0.0])
    for op, trips in walk_device(program.top):
        if not isinstance(op, Compute):
            continue
        priced = _price(op, graph, pricer, prices)
        if priced[0] or priced[1]:
            entry = totals[op.op.primitive, op.op.source, op.op.stage, _split_text(op, names), priced[3]]
            for i, amount in enumerate((1, *priced[:3])):
                entry[i] += amount * trips
    rows = [
        OpCost(
            primitive=k[0],
            source=k[1],
            stage=k[2],
            split=k[3],
            count=v[0],
            flops=v[1],
            bytes=v[2],
            time_s=v[3],
            binding=k[4],
        )
        for k, v in totals.items()
    ]
    return tuple(sorted(rows, key=lambda o: (-o.time_s, o.primitive, o.source, o.split)))


def _price(op: Compute, graph: Graph, pricer: Pricer, prices: dict) -> tuple[float, float, float, str]:
    """(flops, bytes, seconds, binding resource) of one run."""
    key = (id(op.op.rule), op.strategy, pricer.fused.traffic(op.op))
    if key not in prices:
        work = op_work(op.op, graph, split_of(op.op.rule, (op.strategy,), pricer.sizes), pricer.fused)
        parts = breakdown(work, pricer.cluster.chip)
        flops = sum(_first(n) for n in work.flops.values()) + _first(work.special_flops)
        prices[key] = (flops, _first(work.bytes), _first(parts.time_s), str(_first(parts.binding)))
    return prices[key]


def _first(x: Any) -> Any:
    return x.flat[0].item() if hasattr(x, "flat") else x


def _split_text(op: Compute, names: Sequence[str]) -> str:
    factors = op.op.rule.factors
    return ", ".join(f"{factors[e].name}/{names[a]}" for a, e in enumerate(op.strategy) if e >= 0)


def local_moves_s(graph: Graph, program: DeviceProgram, pricer: Pricer) -> float:
    """Seconds of the slices and masks of a step."""
    moves = ((op, trips) for op, trips in walk_device(program.top) if isinstance(op, Move) and not op.is_collective)
    return sum((pricer.step_s(op.step, _whole(graph, program, op))[0] * trips for op, trips in moves), 0.0)


def _whole(graph: Graph, program: DeviceProgram, op: Move) -> Aval:
    return graph.avals[program.values[op.operands[0]].origin]


def breakdown_of(
    ops: Iterable[OpCost], collectives: Iterable[Collective], local_s: float, data_s: float = 0.0
) -> dict[str, float]:
    """Seconds by cause; they add up to the step time."""
    causes = {f"{stage}{kind}": 0.0 for stage in ("forward", "backward", "optimizer") for kind in ("", "_comm")}
    for op in ops:
        causes[op.stage] += op.time_s
    for collective in collectives:
        causes[f"{collective.stage}_comm"] += collective.time_s
    causes["local_resharding"] = local_s
    return causes | ({"data": data_s} if data_s else {})


def prices_of(
    graph: Graph, program: DeviceProgram, pricer: Pricer, names: Sequence[str]
) -> tuple[tuple[OpCost, ...], tuple[Collective, ...], dict[str, float]]:
    """Local work, exchanges, and seconds by cause, of a whole device program."""
    ops = ops_of(graph, program, pricer, names)
    exchanges = collectives_of(graph, program, pricer, names)
    local_s, data_s = local_moves_s(graph, program, pricer), pricer.cluster.chip.storage_s
    return ops, exchanges, breakdown_of(ops, exchanges, local_s, data_s)


def memory_of(report: MemoryReport, graph: Graph, capacity_bytes: int) -> Memory:
    """Memory at the peak, in the plan's terms."""
    peak_op, _, peak_source = report.peak_op.partition(" at ")
    return Memory(
        peak_bytes=int(report.peak_bytes),
        capacity_bytes=capacity_bytes,
        by_role={role: int(size) for role, size in sorted(report.by_role.items())},
        peak_op=peak_op,
        peak_source=peak_source,
        largest=tuple((held.name or _tensor_text(graph, held.origin, {}), int(held.bytes)) for held in report.largest),
    )
