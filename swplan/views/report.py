"""The report on a plan, as parts: what was decided, what it costs, and why it is better than the rest."""

from __future__ import annotations

from collections.abc import Mapping

from swplan.plan import Alternative, Axis, Memory, Plan
from swplan.views import units
from swplan.views.folding import fold
from swplan.views.parts import Bar, Bars, Column, KeyValues, Listing, MeshAxis, Nest, Part, Section, Table, Text
from swplan.views.tables import (
    breakdown_bars,
    cause_text,
    collective_table,
    exchange_s,
    op_table,
    pin_table,
    shown_tensors,
    source_text,
    tensor_table,
)

TOP = 12
REASONS = 6
LAYERS = 8
"""Layers of one precision that are named."""
RUNNER_UP = "runner-up"
_PROVEN = 1e-6


def plan_parts(plan: Plan, *, top: int | None = TOP) -> Section:
    """The whole report.

    Args:
      plan: what to report on.
      top: rows of each long table at most; None shows all.
    """
    return Section(
        title=f"Plan of {plan.step}",
        parts=(
            summary(plan),
            Section(title="Mesh", parts=(mesh_part(plan.axes),)),
            Section(title="Shardings", parts=(tensor_table(shown_tensors(plan), top),)),
            Section(title="Time by cause", parts=(breakdown_bars(plan),)),
            Section(title="Dearest ops", parts=(op_table(plan.ops, top),)),
            Section(title="Exchanges", parts=(collective_table(plan.exchanges, top),)),
            Section(title="Memory", parts=memory_parts(plan.memory, top)),
            Section(title="Alternatives", parts=(alternative_table(plan),)),
            Section(title="Precision", parts=(precision_part(plan),)),
            *((Section(title="Pins", parts=(pin_table(plan.pins, top),)),) if plan.pins else ()),
            *((Section(title="Notes", parts=(Listing(items=plan.notes),)),) if plan.notes else ()),
        ),
    )


def summary(plan: Plan) -> Section:
    """What a reader wants first: time, memory, mesh, proof, and why this plan."""
    devices = "one device" if plan.devices == 1 else f"{units.count(plan.devices)} devices"
    headline = f"{units.duration(plan.step_time_s)} a step on {devices}, {exchange_text(plan)}."
    rows = (
        ("cluster", plan.cluster),
        ("mesh", mesh_text(plan.axes)),
        ("memory", memory_text(plan.memory)),
        ("how good", certificate_text(plan)),
        ("precision", plan.precision.policy),
        *(((("micro-batches", units.count(plan.micro_batches)),)) if plan.micro_batches > 1 else ()),
        *((("computed again", plan.recompute.what),) if plan.recompute.values else ()),
    )
    return Section(title="Summary", parts=(Text(text=headline), KeyValues(rows=rows), why_part(plan)))


def exchange_text(plan: Plan) -> str:
    """How much of a step is exchanges."""
    exchanged_s = exchange_s(plan.breakdown)
    return f"{units.share(exchanged_s, plan.step_time_s)} of it exchanges" if exchanged_s else "without exchanges"


def mesh_text(axes: tuple[Axis, ...]) -> str:
    """The mesh in one line, outermost axis first: "data 375 x expert 256"."""
    ordered = sorted(axes, key=lambda axis: -axis.position)
    return " x ".join(f"{axis.name} {units.count(axis.size)}" for axis in ordered) or "one device"


def memory_text(memory: Memory) -> str:
    """The peak against what there is."""
    used = units.share(memory.peak_bytes, memory.capacity_bytes)
    return f"{units.size(memory.peak_bytes)} of {units.size(memory.capacity_bytes)} on a device at the peak ({used})"


def certificate_text(plan: Plan) -> str:
    """How far from the best possible the plan is, and what that holds for."""
    proof = plan.certificate
    if proof.gap <= _PROVEN:
        good = "the best possible, proven"
    else:
        good = f"no plan is more than {units.digits(100 * proof.gap)} % faster ({units.duration(proof.bound_s)})"
    decisions = f"{units.count(proof.decisions)} decisions"
    if proof.decisions_unfolded > proof.decisions:
        decisions += f" (folded from {units.count(proof.decisions_unfolded)})"
    return f"{good}, over {units.count(proof.meshes)} meshes and {decisions}; {proof.method}"


def why_part(plan: Plan) -> Part:
    """Why this plan and not another: a reason for each of the alternatives, of the runners-up only the first."""
    if not plan.alternatives:
        return Text(text="No other plans were kept beside this one.")
    others = [other for other in plan.alternatives if name_text(other) != RUNNER_UP][:REASONS]
    others += [other for other in plan.alternatives if name_text(other) == RUNNER_UP][:1]
    reasons = tuple(f"{name_text(other)} {reason(other, plan)}" for other in others)
    return Section(title="Why this plan", parts=(Listing(items=reasons),))


def reason(other: Alternative, plan: Plan) -> str:
    """What makes another plan worse, in words that follow its name."""
    if other.step_time_s is None:
        return "is impossible: " + (other.excluded or "no such plan is legal")
    taken = f"takes {units.duration(other.step_time_s)} ({units.ratio(other.step_time_s, plan.step_time_s)})"
    return taken + (f": {other.excluded}" if other.excluded else _difference(other, plan))


def _difference(other: Alternative, plan: Plan) -> str:
    """The cause in which another plan loses most."""
    losses = {cause: seconds - plan.breakdown.get(cause, 0.0) for cause, seconds in other.breakdown.items()}
    if not losses or max(losses.values()) <= 0:
        return ""
    worst = max(losses, key=lambda cause: losses[cause])
    return f", mostly for {cause_text(worst)}: {units.duration(losses[worst])} more"


def name_text(other: Alternative) -> str:
    """The name of an alternative in words; one that is named by its mesh only is a runner-up."""
    by_mesh = " x ".join(f"{name}:{size}" for name, size in other.mesh)
    return RUNNER_UP if other.name == by_mesh else other.name.replace("_", " ")


def mesh_part(axes: tuple[Axis, ...]) -> Part:
    """The mesh axes on the tiers of the network: each on the outermost tier that an exchange along it crosses."""
    if not axes:
        return Text(text="One device: nothing is split.")
    inner_first = sorted(axes, key=lambda axis: axis.position)
    tiers = list(dict.fromkeys(tier for axis in inner_first for tier in axis.tiers)) or ["network"]
    levels = []
    for tier in reversed(tiers):
        own = [axis for axis in reversed(inner_first) if (axis.tiers or tiers)[-1] == tier]
        levels.append((tier, tuple(MeshAxis(name=a.name, size=a.size, note=_crossing(a)) for a in own)))
    return Nest(levels=tuple(levels), core="device")


def _crossing(axis: Axis) -> str:
    return f"(spans {' and '.join(axis.tiers)})" if len(axis.tiers) > 1 else ""


def memory_parts(memory: Memory, top: int | None) -> tuple[Part, ...]:
    """The peak against the capacity, then by role, where the peak is, and the largest values there."""
    peak = Bar(label="peak", value=memory.peak_bytes, text=memory_text(memory), tone="total")
    roles = sorted(memory.by_role.items(), key=lambda item: (-item[1], item[0]))
    by_role = tuple(_role_bar(role, held, memory) for role, held in roles if held)
    where = f"The peak is at {memory.peak_op}, {source_text(memory.peak_source)}."
    return (
        Bars(bars=(peak,), full=memory.capacity_bytes),
        *((Bars(bars=by_role, full=memory.peak_bytes),) if by_role else ()),
        *((Text(text=where),) if memory.peak_op else ()),
        *((_largest_table(memory, top),) if memory.largest else ()),
    )


def _largest_table(memory: Memory, top: int | None) -> Table:
    """The largest values at the peak, equal ones in one row."""
    groups = fold(memory.largest, lambda item: item[0] or "an intermediate value", lambda item: item[1], least=2)
    return Table(
        columns=(
            Column(title="largest at the peak"),
            *(Column(title=title, numeric=True) for title in ("values", "each, per device")),
        ),
        rows=tuple((name, units.count(len(held)), units.size(held[0][1])) for name, held in groups[:top]),
    )


def _role_bar(role: str, held: int, memory: Memory) -> Bar:
    return Bar(label=role, value=held, text=f"{units.size(held)}, {units.share(held, memory.peak_bytes)}")


def alternative_table(plan: Plan) -> Part:
    """The other plans beside this one."""
    if not plan.alternatives:
        return Text(text="No other plans were kept beside this one.")
    numbers = (units.duration(plan.step_time_s), units.ratio(1, 1), units.size(plan.peak_memory_bytes))
    chosen = ("this plan", mesh_text(plan.axes), *numbers, "")
    return Table(
        columns=(
            *(Column(title="plan"), Column(title="mesh")),
            *(Column(title=title, numeric=True) for title in ("step", "to this", "memory")),
            Column(title="remark"),
        ),
        rows=(chosen, *(_alternative_row(other, plan) for other in plan.alternatives)),
    )


def _alternative_row(other: Alternative, plan: Plan) -> tuple[str, ...]:
    mesh = " x ".join(f"{name} {units.count(size)}" for name, size in other.mesh) or units.NOTHING
    compared = units.NOTHING if other.step_time_s is None else units.ratio(other.step_time_s, plan.step_time_s)
    memory = units.size(other.peak_memory_bytes)
    return (name_text(other), mesh, units.duration(other.step_time_s), compared, memory, other.excluded)


def _layer_rows(layers: Mapping[str, str]) -> list[tuple[str, str]]:
    """By precision the layers that have it though their class has another: the first ones, and how many more."""
    rows = []
    for precision in sorted(set(layers.values())):
        names = sorted(name for name, found in layers.items() if found == precision)
        more = [f"{units.count(len(names) - LAYERS)} more"] if len(names) > LAYERS else []
        rows.append((f"{precision} in", ", ".join([*names[:LAYERS], *more])))
    return rows


def precision_part(plan: Plan) -> Part:
    """The precision of each class of ops and of layers that differ, and why."""
    precision = plan.precision
    scaling = "the loss is scaled" if precision.loss_scaling else "none"
    rows = (
        ("policy", precision.policy),
        *sorted(precision.classes.items()),
        *_layer_rows(precision.layers),
        ("loss scaling", scaling),
        ("why", precision.why),
    )
    return KeyValues(rows=tuple((key, value) for key, value in rows if value))
