"""Why something is as it is: all that a plan says about one tensor, primitive, kind of exchange or source line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from swplan.errors import UsageError
from swplan.plan import Collective, OpCost, Plan, Tensor, Trade
from swplan.views import units
from swplan.views.parts import Column, KeyValues, Part, Section, Table, Text
from swplan.views.reasons import NEEDS_STEP, reason_sections, variant_section
from swplan.views.report import alternative_table, mesh_part, mesh_text, name_text, reason
from swplan.views.tables import collective_table, layout_text, op_table, source_text, tensor_table

if TYPE_CHECKING:
    from swplan.search.reasons import Reason

TOP = 40
WHOLE = ("mesh", "micro_batches", "recompute")
"""What a plan decides once for all."""
_NEAR = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """An explanation: `str` is text, a notebook shows it drawn.

    Attributes:
      plan: the plan it is about.
      name: what was asked for.
      tensors, exchanges, ops: all that has this name.
      reasons: the decisions of this name with their runners-up; empty where the plan does not know its program.
      trades: other plans that the search met, where the name is that of a choice about the whole program.
    """

    plan: Plan
    name: str
    tensors: tuple[Tensor, ...]
    exchanges: tuple[Collective, ...]
    ops: tuple[OpCost, ...]
    reasons: tuple[Reason, ...] = ()
    trades: tuple[Trade, ...] = ()

    def __str__(self) -> str:
        from swplan.views.text import part_text

        return part_text(explanation_parts(self))

    def _repr_html_(self) -> str:
        from swplan.views.html import part_html

        return part_html(explanation_parts(self))

    def to_json(self) -> bytes:
        """What was found, as JSON."""
        found = {"name": self.name, "tensors": self.tensors, "exchanges": self.exchanges, "ops": self.ops}
        found |= {"reasons": self.reasons} if self.reasons else {}
        found |= {"chosen": _chosen(self), "others": _others(self)} if self.name in WHOLE else {}
        return msgspec.json.encode(found, order="deterministic")


def explain(plan: Plan, name: str) -> Explanation:
    """All about an input or output, a primitive, a kind of exchange, part of a name or source line, or one of `WHOLE`.

    Raises:
      UsageError: nothing has this name; lists near names.
    """
    tensors = (*plan.inputs, *plan.outputs)
    if name in WHOLE:
        return Explanation(plan=plan, name=name, tensors=(), exchanges=(), ops=(), trades=plan.found)
    exact = [tensor for tensor in tensors if tensor.name == name]
    if exact:
        names = {name, *(tensor.replaces for tensor in exact)} - {""}
        related = [tensor for tensor in tensors if tensor.name in names or tensor.replaces == name]
        return Explanation(plan=plan, name=name, tensors=tuple(related), exchanges=_of_tensors(plan, names), ops=())
    found = Explanation(
        plan=plan,
        name=name,
        tensors=tuple(tensor for tensor in tensors if name and name in tensor.name),
        exchanges=tuple(c for c in plan.exchanges if name == c.kind or _mentions(name, (c.source, c.tensor))),
        ops=tuple(op for op in plan.ops if name == op.primitive or _mentions(name, (op.source,))),
    )
    if not (found.tensors or found.exchanges or found.ops):
        raise UsageError(_nothing(plan, name))
    return found


def _of_tensors(plan: Plan, names: set[str]) -> tuple[Collective, ...]:
    return tuple(c for c in plan.exchanges if c.tensor in names)


def _mentions(name: str, texts: Iterable[str]) -> bool:
    return bool(name) and any(name in text for text in texts)


def _nothing(plan: Plan, name: str) -> str:
    """What to say where nothing matches: the nearest of all names."""
    names = {tensor.name for tensor in (*plan.inputs, *plan.outputs)}
    names |= {c.kind for c in plan.exchanges} | {op.primitive for op in plan.ops}
    names |= {source_text(item.source).partition(" ")[0] for item in (*plan.exchanges, *plan.ops)} - {""}
    hint = ", ".join(_near(name, sorted(names))) or "it has no tensors, ops or exchanges"
    return (
        f"the plan of '{plan.step}' has nothing called {name!r}; near: {hint}\n"
        "  Give an input or output, a primitive, a kind of exchange, or part of a source line such as model.py:31"
    )


def _near(name: str, names: list[str]) -> list[str]:
    """The names most like one, by their last parts too; the first few if none is."""
    last = {each.rpartition("/")[2]: each for each in names}
    near = [last[short] for short in difflib.get_close_matches(name, list(last), _NEAR, 0.6)]
    near += difflib.get_close_matches(name, names, _NEAR, 0.4)
    return list(dict.fromkeys(near))[:_NEAR] or names[:_NEAR]


def explanation_parts(found: Explanation) -> Section:
    """The explanation as parts."""
    if found.name in WHOLE:
        return _whole_parts(found)
    single = next((tensor for tensor in found.tensors if tensor.name == found.name), None)
    parts = _tensor_parts(found, single) if single else _group_parts(found)
    decisions = reason_sections(found.reasons) or (Text(text=NEEDS_STEP),)
    return Section(title=f"{found.name} in the plan of {found.plan.step}", parts=(*parts, *decisions))


def _chosen(found: Explanation) -> object:
    plan = found.plan
    return {"mesh": plan.axes, "micro_batches": plan.micro_batches, "recompute": plan.recompute}[found.name]


def _others(found: Explanation) -> object:
    return found.plan.alternatives if found.name == "mesh" else found.trades


def _whole_parts(found: Explanation) -> Section:
    """What was decided once for the whole program, beside what else the search met."""
    if found.name != "mesh":
        return variant_section(found.plan, found.name, found.trades)
    parts = (mesh_part(found.plan.axes), alternative_table(found.plan))
    return Section(title=f"mesh in the plan of {found.plan.step}", parts=parts)


def _tensor_parts(found: Explanation, tensor: Tensor) -> tuple[Part, ...]:
    held = [size for name, size in found.plan.memory.largest if name in {tensor.name, tensor.replaces}]
    rows = (
        ("role", tensor.role),
        ("type", tensor.dtype),
        ("layout", f"{layout_text(tensor.shape, tensor.spec)}: {_layout_words(tensor, found.plan)}"),
        ("memory", f"{units.size(tensor.device_bytes)} on a device, {units.size(tensor.bytes)} in all"),
        *((("at the peak", f"among the largest values, {units.size(max(held))}"),) if held else ()),
        *((("replaces", tensor.replaces),) if tensor.replaces else ()),
    )
    others = [t for t in found.tensors if t is not tensor]
    return (
        KeyValues(rows=rows),
        *((Section(title="Comes back as", parts=(tensor_table(others),)),) if others else ()),
        Section(title="Exchanges of it", parts=_exchange_parts(found)),
        Section(title="Other plans", parts=(_other_plans(found.plan),)),
    )


def _layout_words(tensor: Tensor, plan: Plan) -> str:
    """How a tensor is held, in words."""
    sizes = {axis.name: axis.size for axis in plan.axes}
    split = [
        f"dim {dim} over {' and '.join(f'{axis} ({sizes.get(axis, 1):,})' for axis in axes)}"
        for dim, axes in enumerate(tensor.spec)
        if axes
    ]
    used = {axis for axes in tensor.spec for axis in axes}
    copied = [axis.name for axis in plan.axes if axis.name not in used]
    whole = "every device holds all of it" if not split else "split " + ", ".join(split)
    return whole + (f"; the same along {', '.join(copied)}" if split and copied else "")


def _group_parts(found: Explanation) -> tuple[Part, ...]:
    parts: list[Part] = []
    if found.tensors:
        parts.append(Section(title="Tensors", parts=(tensor_table(found.tensors, TOP),)))
    if found.ops:
        parts.append(Section(title="Ops", parts=(_totals(found.ops, found.plan), op_table(found.ops, TOP))))
    if found.exchanges:
        parts.append(Section(title="Exchanges", parts=_exchange_parts(found)))
    return tuple(parts)


def _exchange_parts(found: Explanation) -> tuple[Part, ...]:
    if not found.exchanges:
        return (Text(text="None: it is used as it is held."),)
    return (_totals(found.exchanges, found.plan), collective_table(found.exchanges, TOP))


def _totals(items: Sequence[OpCost | Collective], plan: Plan) -> Part:
    """Runs, work and time of all rows together."""
    seconds = sum(item.time_s for item in items)
    runs = sum(item.count for item in items)
    time = f"{units.duration(seconds)}, {units.share(seconds, plan.step_time_s)} of a step"
    ops = [item for item in items if isinstance(item, OpCost)]
    if ops:
        work, traffic = units.quantity(sum(op.flops for op in ops), "flop"), units.size(sum(op.bytes for op in ops))
        return Text(text=f"{units.count(runs)} runs a step on a device: {work}, {traffic} of traffic, {time}.")
    sent = sum(item.bytes * item.count for item in items)
    return Text(text=f"{units.count(runs)} runs a step, {units.size(sent)} of buffers, {time}.")


def _other_plans(plan: Plan) -> Part:
    """The alternatives of the plan as a whole: a plan does not price other layouts of single tensors."""
    if not plan.alternatives:
        return Text(text="No other plans were kept beside this one.")
    return Table(
        columns=(Column(title="plan"), Column(title="mesh"), Column(title="beside this")),
        rows=tuple((name_text(other), _mesh(other.mesh), reason(other, plan)) for other in plan.alternatives),
        caption=f"This plan: {mesh_text(plan.axes)}, {units.duration(plan.step_time_s)}.",
    )


def _mesh(mesh: Iterable[tuple[str, int]]) -> str:
    return " x ".join(f"{name} {units.count(size)}" for name, size in mesh) or units.NOTHING
