"""The tables of a plan: tensors, exchanges and ops, with equal rows of different layers folded into one.

`report` shows all of them, `explain` those that concern one name, `diff` those that differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from swplan.plan import Collective, OpCost, Plan, PlannedPin, Tensor
from swplan.views import units
from swplan.views.folding import fold
from swplan.views.parts import Bar, Bars, Column, Part, Table, Text

CAUSES = ("forward", "forward_comm", "backward", "backward_comm", "optimizer", "optimizer_comm")
_COMM = "_comm"

# The function around a function, as in "(make_step.<locals>.step)".
_OUTER = re.compile(r"\(\S*<locals>\.")


def layout_text(shape: Sequence[int], spec: Sequence[Sequence[str]]) -> str:
    """A shape with the axes that split each dim, major first: "[51200/data/model, 4096]"."""
    padded = [*spec, *((),) * (len(shape) - len(spec))]
    return "[" + ", ".join("/".join((str(n), *axes)) for n, axes in zip(shape, padded, strict=False)) + "]"


def source_text(source: str) -> str:
    """A source line without the folders that lead to it: "gpt.py:88 (attention)"."""
    path, separator, rest = source.partition(".py:")
    rest = _OUTER.sub("(", rest)
    return path.replace("\\", "/").rpartition("/")[2] + separator + rest if separator else source


def cause_text(cause: str) -> str:
    """A cause of the breakdown in words: "backward_comm" is "backward exchanges"."""
    return cause.removesuffix(_COMM) + " exchanges" if cause.endswith(_COMM) else cause.replace("_", " ")


def ordered_causes(*breakdowns: dict[str, float]) -> list[str]:
    """The causes of breakdowns in the order of a step, others after these by name (JSON does not keep an order)."""
    causes = {cause for breakdown in breakdowns for cause in breakdown}
    return sorted(causes, key=lambda cause: (CAUSES.index(cause) if cause in CAUSES else len(CAUSES), cause))


def shown_tensors(plan: Plan) -> list[Tensor]:
    """The inputs, and the results that are not an input updated in place with the same sharding."""
    inputs = {tensor.name: tensor for tensor in plan.inputs}
    replaced = [(tensor, inputs.get(tensor.replaces)) for tensor in plan.outputs]
    return [*plan.inputs, *(t for t, before in replaced if before is None or before.spec != t.spec)]


def tensor_table(tensors: Iterable[Tensor], top: int | None = None) -> Part:
    """Name, role, layout and bytes of tensors; the `top` largest on a device, in the order of the program."""
    groups = fold(
        tensors, lambda t: t.name, lambda t: (t.shape, t.dtype, t.role, t.spec, t.device_bytes, bool(t.replaces))
    )
    if not groups:
        return Text(text="None.")
    largest = sorted(groups, key=lambda g: -_device_bytes(g[1]))[:top]
    shown = [group for group in groups if any(group is kept for kept in largest)]
    left = [member for group in groups if group not in shown for member in group[1]]
    caption = f"{units.count(len(left))} smaller ones: {units.size(_device_bytes(left))} on a device."
    return Table(
        columns=(
            *(Column(title=title) for title in ("tensor", "role", "type", "layout")),
            *(Column(title=title, numeric=True) for title in ("tensors", "whole", "per device")),
        ),
        rows=tuple(_tensor_row(name, members) for name, members in shown),
        caption=caption if left else "",
    )


def _tensor_row(name: str, members: Sequence[Tensor]) -> tuple[str, ...]:
    first = members[0]
    whole = sum(member.bytes for member in members)
    sizes = (units.count(len(members)), units.size(whole), units.size(_device_bytes(members)))
    return (name, first.role, first.dtype, layout_text(first.shape, first.spec), *sizes)


def _device_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.device_bytes for tensor in tensors)


def fold_collectives(collectives: Iterable[Collective]) -> list[tuple[str, list[Collective]]]:
    """Exchanges that differ only in the layer, as (name of what is exchanged, exchanges), dearest first."""
    groups = fold(
        collectives,
        lambda c: c.tensor,
        lambda c: (c.kind, c.axes, c.dtype, c.bytes, c.algorithm, c.stage, c.source, c.why),
        least=2,
    )
    return sorted(groups, key=lambda group: -_time_s(group[1]))


def collective_table(collectives: Sequence[Collective], top: int | None = None) -> Part:
    """Kind, axes, bytes, runs, algorithm and time of exchanges, dearest first; below each what, why and where."""
    groups = fold_collectives(collectives)
    if not groups:
        return Text(text="None: no device needs anything from another.")
    shown, left = groups[:top], groups[len(groups[:top]) :]
    return Table(
        columns=(
            *(Column(title=title) for title in ("exchange", "over", "type")),
            *(Column(title=title, numeric=True) for title in ("each", "runs")),
            *(Column(title="algorithm"), Column(title="time", numeric=True)),
        ),
        rows=tuple(_collective_row(members) for _, members in shown),
        notes=tuple(_reason(name, members[0]) for name, members in shown),
        caption=_left_text(len(left), sum(_time_s(members) for _, members in left)),
    )


def _collective_row(members: Sequence[Collective]) -> tuple[str, ...]:
    first = members[0]
    runs = units.count(sum(member.count for member in members))
    over = " ".join(first.axes) + f" ({units.count(first.group_size)})"
    row = (first.kind, over, first.dtype, units.size(first.bytes), runs, first.algorithm)
    return (*row, units.duration(_time_s(members)))


def _reason(name: str, collective: Collective) -> str:
    """What is exchanged, why, and where."""
    return f"{name}: {collective.why}" + (f" @ {source_text(collective.source)}" if collective.source else "")


def op_table(ops: Sequence[OpCost], top: int | None = None) -> Part:
    """Primitive, split, runs, work and time of ops by source line, dearest first."""
    if not ops:
        return Text(text="None.")
    ordered = sorted(ops, key=lambda op: -op.time_s)
    shown, left = ordered[:top], ordered[len(ordered[:top]) :]
    return Table(
        columns=(
            *(Column(title=title) for title in ("op", "stage", "split")),
            *(Column(title=title, numeric=True) for title in ("runs", "work", "traffic", "time")),
            *(Column(title="limited by"), Column(title="source")),
        ),
        rows=tuple(_op_row(op) for op in shown),
        caption=_left_text(len(left), _time_s(left)),
    )


def pin_table(pins: Sequence[PlannedPin], top: int | None = None) -> Part:
    """What the user fixed, in the words of `swplan.pin`, on which mesh axes, and what that costs, dearest first."""
    ordered = sorted(pins, key=lambda pin: -pin.price_s)
    shown, left = ordered[:top], ordered[len(ordered[:top]) :]
    return Table(
        columns=(
            *(Column(title=title) for title in ("tensor", "pinned to", "mesh axes")),
            *(Column(title="costs", numeric=True), Column(title="source")),
        ),
        rows=tuple(_pin_row(pin) for pin in shown),
        caption=f"{units.count(len(left))} cheaper pins." if left else "",
    )


def _pin_row(pin: PlannedPin) -> tuple[str, ...]:
    entries = ["..." if entry is None else "+".join(entry) or "None" for entry in pin.spec]
    axes = "; ".join(f"{name}: {' x '.join(held) or 'none'}" for name, held in pin.axes)
    source = "" if pin.source == pin.tensor else source_text(pin.source)
    return (pin.tensor, f"({', '.join(entries)})", axes, units.duration(pin.price_s), source)


def _op_row(op: OpCost) -> tuple[str, ...]:
    amounts = (units.count(op.count), units.quantity(op.flops, "flop"), units.size(op.bytes), units.duration(op.time_s))
    return (op.primitive, op.stage, op.split or "whole", *amounts, op.binding, source_text(op.source))


def _left_text(rows: int, seconds: float) -> str:
    return f"{units.count(rows)} cheaper rows: {units.duration(seconds)} in all." if rows else ""


def _time_s(items: Iterable[Collective | OpCost]) -> float:
    return sum(item.time_s for item in items)


def breakdown_bars(plan: Plan) -> Bars:
    """The step time by cause."""
    return Bars(
        bars=tuple(
            Bar(
                label=cause_text(cause),
                value=seconds,
                text=f"{units.duration(seconds)}, {units.share(seconds, plan.step_time_s)}",
                tone="exchange" if cause.endswith(_COMM) else "compute",
            )
            for cause in ordered_causes(plan.breakdown)
            if (seconds := plan.breakdown[cause])
        ),
    )


def exchange_s(breakdown: dict[str, float]) -> float:
    """Seconds of a breakdown that are exchanges."""
    return sum(seconds for cause, seconds in breakdown.items() if cause.endswith(_COMM))
