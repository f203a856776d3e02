"""Explanations that ask the search again: what a decision of a plan competes with, and what forcing that costs.

A plan that was made here knows its program. One from a file needs the step: `swplan.explain(plan, name, step, *args)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from swplan.costmodel.cluster import Cluster
from swplan.costmodel.network import Placement
from swplan.errors import PlanMismatchError
from swplan.ir.graph import Graph
from swplan.ir.layout import reshard
from swplan.ir.strategy import NOTHING
from swplan.plan import Plan, Trade
from swplan.runtime import describe
from swplan.runtime.compiler import xla
from swplan.runtime.planning import decode_choices, planned, write_down
from swplan.runtime.prepare import prepare
from swplan.runtime.trace import Program, Statics
from swplan.search.decisions import Edge, Node
from swplan.search.exploring import Explored
from swplan.search.frame import Option, demanded, presented
from swplan.search.planner import find
from swplan.search.reasons import Choice, Decided, Reason
from swplan.search.subject import subject
from swplan.search.variants import Variant

MOST_DECISIONS = 3
"""Decisions explained for one name, the dearest first."""


def explain(plan: Plan, name: str, step: Callable | None = None, *args: Any, **kwargs: Any) -> Any:
    """Why something is as it is, with the runner-up of each decision: `plan.explain`, also for a plan from a file.

    Args:
      plan: the plan.
      name: of an input or output, a primitive, a kind of collective, part of a source line; or "mesh",
        "micro_batches", "recompute".
      step: the step of the plan; absent for a plan that was made here.
      *args: its arguments: arrays, or `jax.ShapeDtypeStruct`s.
      **kwargs: its keyword arguments.

    Raises:
      UsageError: nothing has this name; lists near names.
      PlanMismatchError: the plan is for another step.
    """
    return plan.explain(name, step, *args, **kwargs)


def explained(found: Any, plan: Plan, step: Callable | None, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """An explanation from the records of a plan, with what asking the search again adds to it."""
    plan = plan if step is None else attached(plan, step, args, kwargs)
    origin = getattr(plan, "origin", None)
    if found.trades or not (found.tensors or found.ops or found.exchanges):
        return replace(found, plan=plan, trades=met(origin.explored) if origin else found.trades)
    return replace(found, plan=plan, reasons=reasons(plan, found.name))


def met(explored: Explored) -> tuple[Trade, ...]:
    """Every plan that the search met."""
    return tuple(
        Trade(
            step_time_s=float(point.step_s) + explored.subject.cluster.chip.storage_s,
            peak_memory_bytes=int(point.memory_bytes),
            mesh=point.placement.sizes,
            micro_batches=point.variant.micro_batches,
            recompute=point.variant.recompute,
        )
        for point in explored.points
    )


def attached(plan: Plan, step: Callable, args: Sequence[Any], kwargs: dict[str, Any]) -> Plan:
    """The same plan, which knows its program again.

    Raises:
      PlanMismatchError: the plan is for another step, or for other shapes.
    """
    prepared = prepare(getattr(step, "undecorated", step), args, kwargs, Statics())
    program = planned(plan, prepared.exact(plan.precision))
    if describe.fingerprint(program.graph) != plan.fingerprint:
        raise PlanMismatchError(
            f"the plan of '{plan.step}' was made for another step, or for arguments of other shapes"
        )
    copy = msgspec.structs.replace(plan)
    msgspec.structs.force_setattr(copy, "program", program)
    return copy


def decided(plan: Plan, program: Program) -> Decided:
    """A plan as the search knows it."""
    graph = program.graph
    cluster = Cluster.parse(plan.cluster)
    prepared, choices = subject(graph, cluster, xla()), decode_choices(plan, graph)
    order = tuple(sorted(range(len(plan.axes)), key=lambda axis: plan.axes[axis].position))
    names = tuple(axis.name for axis in plan.axes)
    return Decided(
        subject=prepared,
        placement=Placement(cluster=cluster, sizes=tuple(axis.size for axis in plan.axes), order=order),
        choices=choices,
        cost_s=plan.certificate.cost_s,
        memory_bytes=plan.peak_memory_bytes,
        words=lambda node, option: option_text(node, option, names),
        pins={
            cls: (choices[node.key],)
            for cls, node in enumerate(map(prepared.folded.representative, range(len(prepared.folded.members))))
            if getattr(node, "pins", ())
        },
    )


def option_text(node: Node, option: Option, names: Sequence[str]) -> str:
    """An option in words: "split [data, -]" of a tensor, "m over data, k over model" of an op."""
    if node.op is None:
        return describe.layout_text(option, len(node.aval.shape), names)
    factors = node.op.rule.factors
    parts = [f"{factors[entry].name} over {names[a]}" for a, entry in enumerate(option) if entry >= 0]
    parts += [f"partial sums over {names[a]}" for a, entry in enumerate(option) if entry < NOTHING]
    return ", ".join(parts) or "every device does all of it"


def reasons(plan: Plan, name: str) -> tuple[Reason, ...]:
    """Why the decisions of this name are as they are; none for a plan without its program."""
    program = getattr(plan, "program", None)
    if program is None:
        return ()
    held = decided(plan, program)
    return tuple(held.reason(cls, text) for cls, text in named(held, name)[:MOST_DECISIONS])


def forced(plan: Plan, reason: Reason, choice: Choice) -> Plan | None:
    """The best plan on the same mesh with another choice of a decision; None if nothing that has it fits."""
    held = decided(plan, plan.program)
    pins = held.pins | {held.subject.folded.class_of[held.subject.decisions.index[reason.key]]: (choice.option,)}
    found = find(held.subject, max_axes=len(plan.axes), meshes=[held.placement], pins=pins)
    if found is None:
        return None
    again = plan.recompute
    variant = Variant(micro_batches=plan.micro_batches, recomputed=frozenset(again.values), recompute=again.what)
    explored = Explored(variant=variant, subject=held.subject, found=found, points=(), tried={})
    made = write_down(explored, plan.program, plan.step, plan.precision, (), [])
    msgspec.structs.force_setattr(made, "program", plan.program)
    return made


def named(held: Decided, name: str) -> list[tuple[int, str]]:
    """The classes of decisions of a name, with what each decides: tensors, else ops, else both ends of exchanges."""
    folded, graph = held.subject.folded, held.subject.graph
    tensors = _tensors(graph, name)
    found = [folded.class_of[folded.decisions.index[key]] for key in tensors if key in folded.decisions.index]
    exact = name in (*graph.names, *graph.output_names)
    found += [] if exact else _ops(held, name)
    found += [] if found else _ends(held, name)
    free = [cls for cls in dict.fromkeys(found) if len(held.area.domains[cls]) > 1]
    return [(cls, node_text(folded.representative(cls), graph)) for cls in free or dict.fromkeys(found)]


def _tensors(graph: Graph, name: str) -> list[tuple[str, int]]:
    """Keys of the decisions about inputs and results of a name; the larger first, where a part of a name is given."""
    exact = name in (*graph.names, *graph.output_names)
    fits = (lambda text: text == name) if exact else (lambda text: bool(name) and name in text)
    inputs = [(value, text) for value, text in zip(graph.top.inputs, graph.names, strict=True)]
    found = [(graph.avals[value].bytes, ("input", value)) for value, text in inputs if fits(text)]
    for position, (value, text) in enumerate(zip(graph.top.outputs, graph.output_names, strict=True)):
        if fits(text):
            source = graph.aliases.get(position)
            key = ("output", position) if source is None else ("input", graph.top.inputs[source])
            found.append((graph.avals[value].bytes, key))
    return list(dict.fromkeys(key for _, key in sorted(found, key=lambda pair: -pair[0])))


def _ops(held: Decided, name: str) -> list[int]:
    """Classes of ops of a primitive or source line, those first that take most time."""
    folded = held.subject.folded
    found = []
    for cls, members in enumerate(folded.members):
        node = folded.representative(cls)
        if node.op is not None and name and (name == node.op.primitive or name in node.op.source):
            runs = sum(folded.decisions.nodes[member].count for member in members)
            seconds = float(held.pricer.op_s(node.op, (held.choices[node.key],))[0]) * runs
            found.append((-seconds, cls))
    return [cls for _, cls in sorted(found)]


def _ends(held: Decided, name: str) -> list[int]:
    """Classes at both ends of the exchanges of a kind, or of values described so, the dearest first."""
    found = []
    for edge, count in held.subject.folded.edges:
        before, after = _layouts(held, edge, presented), _layouts(held, edge, demanded)
        steps = reshard(before, after)
        what = f"{held.subject.decisions.nodes[edge.source].role} {edge.aval}"
        if any(step.kind == name for step in steps) or (steps and name == what):
            seconds = sum(held.pricer.step_s(step, edge.aval)[0] for step in steps) * count
            found.append((-seconds, edge.source, edge.target))
    ends = [end for _, *both in sorted(found) for end in both]
    return [held.subject.folded.class_of[end] for end in ends]


def _layouts(held: Decided, edge: Edge, side: Callable) -> Option:
    """The layout in which the plan leaves, or needs, what goes along an edge."""
    end = edge.source if side is presented else edge.target
    cls = held.subject.folded.class_of[end]
    chosen = held.choices[held.subject.decisions.nodes[end].key]
    return side(held.area.folded, held.area.domains, edge)[held.area.domains[cls].index(chosen)]


def node_text(node: Node, graph: Graph) -> str:
    """What a decision decides, in words."""
    if node.op is not None:
        return f"split of {node.op.primitive}"
    kind, value = node.key
    names = dict(zip(graph.top.inputs, graph.names, strict=True))
    what = names.get(value) or f"{node.role} {node.aval}"
    if kind == "output":
        return f"layout of {graph.output_names[value]}"
    words = {"copy": "the copy that its readers share of ", "again": "the copy that the backward pass reads of "}
    return f"layout of {words.get(kind, '')}{what}"
