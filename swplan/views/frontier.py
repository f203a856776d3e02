"""Time against memory: a plan, and those that take less memory for more time, as a table and a plot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from swplan.plan import Plan, Trade
from swplan.views import units
from swplan.views.parts import Column, Dot, Part, Plot, Section, Table, Text, Trace

ABOUT = "Step time against memory of a device at the peak."


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """Plans of which none takes less memory and less time than another: `str` is text, a notebook shows it drawn.

    Law: from point to point time does not fall and memory does.

    Attributes:
      plan: what it is about.
      points: fastest first.
      dominated: whether a point takes less of both than the plan, which then is not among them.
    """

    plan: Plan
    points: tuple[Trade, ...]
    dominated: bool

    def __iter__(self):
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    def __str__(self) -> str:
        from swplan.views.text import part_text

        return part_text(frontier_parts(self, drawn=False))

    def _repr_html_(self) -> str:
        from swplan.views.html import part_html

        return part_html(frontier_parts(self))

    def to_json(self) -> bytes:
        """The points, as JSON."""
        return msgspec.json.encode({"plan": own(self.plan), "points": self.points}, order="deterministic")


def own(plan: Plan) -> Trade:
    """A plan as a point."""
    return Trade(
        step_time_s=plan.step_time_s,
        peak_memory_bytes=plan.peak_memory_bytes,
        mesh=tuple(axis.size for axis in plan.axes),
        micro_batches=plan.micro_batches,
        recompute=plan.recompute.what,
    )


def frontier(plan: Plan, found: Iterable[Trade]) -> Frontier:
    """The frontier of a plan and of others that were found; where two are equal, the plan stays."""
    first = own(plan)
    kept: list[Trade] = []
    for trade in sorted([first, *found], key=lambda t: (t.step_time_s, t.peak_memory_bytes, t != first)):
        if not kept or trade.peak_memory_bytes < kept[-1].peak_memory_bytes:
            kept.append(trade)
    if first not in kept:
        better = [t for t in kept if t.step_time_s < first.step_time_s]
        tied = [t for t in kept if t.step_time_s >= first.step_time_s]
        beaten = any(t.peak_memory_bytes <= first.peak_memory_bytes for t in better)
        kept = kept if beaten else [*better, first, *tied]
    return Frontier(plan=plan, points=tuple(kept), dominated=first not in kept)


def frontier_parts(found: Frontier, *, drawn: bool = True) -> Section:
    """The frontier as parts: a plot, which as text would only repeat the table, and the table."""
    first = own(found.plan)
    remark = "The plan is not on it: a point found here takes less memory, and no more time, than the plan."
    parts: list[Part] = [Text(text=remark)] if found.dominated else []
    parts += [_plot(found, first)] if drawn else []
    return Section(title=f"Time against memory of {found.plan.step}", parts=(*parts, _table(found, first)))


def _plot(found: Frontier, first: Trade) -> Plot:
    others = tuple(_dot(trade) for trade in found.points if trade != first)
    traces = (
        *((Trace(name="other plans", dots=others, tone="exchange", drawn="both"),) if others else ()),
        Trace(name="this plan", dots=(_dot(first),), tone="compute"),
    )
    return Plot(
        traces=traces,
        x_title="memory at the peak",
        y_title="step time",
        x_unit="B",
        y_unit="s",
        caption=ABOUT if others else "No plan that takes less memory was found.",
    )


def _dot(trade: Trade) -> Dot:
    return Dot(x=float(trade.peak_memory_bytes), y=trade.step_time_s, label=_words(trade))


def _words(trade: Trade) -> str:
    mesh = f"mesh {' x '.join(map(units.count, trade.mesh))}" if trade.mesh else "one device"
    parts = f", {units.count(trade.micro_batches)} micro-batches" if trade.micro_batches > 1 else ""
    again = "" if trade.recompute == "nothing" else f", recomputing {trade.recompute}"
    return mesh + parts + again


def _table(found: Frontier, first: Trade) -> Table:
    return Table(
        columns=(
            Column(title="plan"),
            *(Column(title=title, numeric=True) for title in ("step", "to this", "memory", "to this ")),
        ),
        rows=tuple(
            (
                ("this plan: " if trade == first else "") + _words(trade),
                units.duration(trade.step_time_s),
                units.change(first.step_time_s, trade.step_time_s),
                units.size(trade.peak_memory_bytes),
                units.change(first.peak_memory_bytes, trade.peak_memory_bytes),
            )
            for trade in found.points
        ),
    )
