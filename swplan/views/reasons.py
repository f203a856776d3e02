"""Decisions with their runners-up, as parts: the choice, what the next best costs, what excludes cheaper ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from swplan.plan import Plan, Trade
from swplan.views import units
from swplan.views.parts import Column, KeyValues, Listing, Part, Section, Table, Text
from swplan.views.tables import source_text

if TYPE_CHECKING:
    from swplan.search.reasons import Choice, Reason

SAME = 1e-9
"""Costs that differ by less than this share are equal."""
NEEDS_STEP = "Runners-up need the step: plan.explain(name, step, *args) prices this mesh again with each other choice."


def reason_sections(reasons: Sequence[Reason]) -> tuple[Section, ...]:
    """One section for each decision."""
    return tuple(Section(title=_title(reason), parts=_parts(reason)) for reason in reasons)


def _title(reason: Reason) -> str:
    alike = f" (and {units.count(reason.members - 1)} like it)" if reason.members > 1 else ""
    line = f" at {source_text(reason.source)}" if reason.source else ""
    return f"Decision: {reason.name}{line}{alike}"


def _parts(reason: Reason) -> tuple[Part, ...]:
    chosen, second = reason.chosen, reason.runner_up
    rows = [("choice", f"{chosen.text}: {units.size(chosen.memory_bytes)} at the peak")]
    if second is not None:
        rows.append(("runner-up", f"{second.text}: {beside(second, chosen)}"))
    rest = [choice for choice in reason.others if choice is not second]
    return (
        KeyValues(rows=tuple(rows)),
        *((_others(rest, chosen, reason.untried),) if rest else ()),
        *((Text(text="Nothing else can be chosen on this mesh."),) if second is None else ()),
        *((Listing(items=tuple(excluded_text(c, chosen) for c in reason.excluded)),) if reason.excluded else ()),
    )


def _others(choices: Sequence[Choice], chosen: Choice, untried: int) -> Table:
    rows = tuple(
        (c.text, more(c.cost_s - chosen.cost_s, chosen.cost_s), more_bytes(c.memory_bytes - chosen.memory_bytes))
        for c in choices
    )
    return Table(
        columns=(
            Column(title="other choices"),
            Column(title="time", numeric=True),
            Column(title="at the peak", numeric=True),
        ),
        rows=rows,
        caption=f"{units.count(untried)} more, none cheaper than the runner-up." if untried else "",
    )


def beside(choice: Choice, chosen: Choice) -> str:
    """What another choice costs more than the one that was taken, in seconds and bytes."""
    seconds = more(choice.cost_s - chosen.cost_s, chosen.cost_s)
    return f"{seconds} a step, {more_bytes(choice.memory_bytes - chosen.memory_bytes)} at the peak"


def more(seconds: float, of_s: float) -> str:
    """A difference of times: "1.8 us more (0.3 %)"."""
    if abs(seconds) <= SAME * of_s:
        return "no more"
    return f"{units.duration(abs(seconds))} {'more' if seconds > 0 else 'less'} ({units.share(abs(seconds), of_s)})"


def more_bytes(count: int) -> str:
    """A difference of memory: "12 MiB less"."""
    if not count:
        return "as much memory"
    return f"{units.size(abs(count))} {'more' if count > 0 else 'less'}"


def excluded_text(choice: Choice, chosen: Choice) -> str:
    """What is in the way of a choice, and what it would bring."""
    if choice.excluded == "memory":
        saved = more(choice.cost_s - chosen.cost_s, chosen.cost_s)
        held = f"{units.size(choice.memory_bytes)} at the peak, {units.size(choice.over_bytes)} more than a device has"
        return f"{choice.text} would take {saved}, but for memory: {held}."
    if choice.excluded == "pin":
        return f"{choice.text} would take {beside(choice, chosen)}, but for a pin."
    needs = " and ".join(f"{p.dim} from {units.count(p.extent)} to {units.count(p.padded)}" for p in choice.paddings)
    gain = (
        "what that costs is not priced" if choice.cost_s is None else f"a step would then take {_then(choice, chosen)}"
    )
    return f"{choice.text} does not divide: it would need dim {needs} (padding {_times(choice)}); {gain}."


def _then(choice: Choice, chosen: Choice) -> str:
    return more(choice.cost_s - chosen.cost_s, chosen.cost_s)


def _times(choice: Choice) -> str:
    return ", ".join(units.share(p.padded - p.extent, p.extent) for p in choice.paddings)


FREE = "No other was worth a search: memory costs this plan nothing, micro-batches and recomputation do."
FITS = "Of all others that were searched, none fits and costs less."


def variant_section(plan: Plan, name: str, trades: Iterable[Trade]) -> Section:
    """Other numbers of micro-batches, or other choices of what is computed again, among the plans that were met."""
    own = lambda trade: (trade.micro_batches, trade.recompute)  # noqa: E731
    best: dict[tuple[int, str], Trade] = {}
    for trade in sorted(trades, key=lambda t: (t.step_time_s, t.peak_memory_bytes)):
        best.setdefault(own(trade), trade)
    chosen = (plan.micro_batches, plan.recompute.what)
    rows = tuple(_variant_row(trade, plan) for key, trade in best.items() if key != chosen)
    columns = ("micro-batches", "computed again", "step", "time", "at the peak")
    parts = "1 micro-batch" if chosen[0] == 1 else f"{units.count(chosen[0])} micro-batches"
    current = f"{parts}, computing {chosen[1]} again"
    alone = Text(text=FREE if chosen == (1, "nothing") else FITS)
    table = Table(columns=tuple(Column(title=t, numeric=i != 1) for i, t in enumerate(columns)), rows=rows)
    held = f"{units.duration(plan.step_time_s)} a step, {units.size(plan.peak_memory_bytes)} at the peak"
    intro = Text(text=f"Chosen: {current}; {held}.")
    return Section(title=f"{name} in the plan of {plan.step}", parts=(intro, table if rows else alone))


def _variant_row(trade: Trade, plan: Plan) -> tuple[str, ...]:
    return (
        units.count(trade.micro_batches),
        trade.recompute,
        units.duration(trade.step_time_s),
        more(trade.step_time_s - plan.step_time_s, plan.step_time_s),
        more_bytes(trade.peak_memory_bytes - plan.peak_memory_bytes),
    )
