"""The report on an estimate, as parts: what a step costs, where its time and memory go, and what was assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from swplan.estimate.result import Estimate, Exchange, OpPrice
from swplan.views import units
from swplan.views.html import fragment
from swplan.views.parts import Bar, Bars, Chart, Column, KeyValues, Listing, Part, Section, Series, Table, Text
from swplan.views.report import TOP, mesh_part, mesh_text
from swplan.views.tables import source_text
from swplan.views.text import WIDTH, part_text

PARTS = {
    "data": ("reading", "data"),
    "forward": ("forward", "compute"),
    "forward_communication": ("forward exchanges", "exchange"),
    "backward": ("backward", "later"),
    "backward_communication": ("backward exchanges", "later-exchange"),
    "optimizer": ("optimizer", "closing"),
    "bubble": ("bubble", "idle"),
}
"""Parts of a step in their order: in words, and as what kind of time they are drawn."""


def estimate_text(estimate: Estimate, *, width: int = WIDTH) -> str:
    """The estimate as text."""
    return part_text(estimate_parts(estimate), width=width)


def estimate_html(estimate: Estimate) -> str:
    """The estimate as a fragment for a notebook; its plain text if it cannot be drawn."""
    parts = estimate_parts(estimate)
    try:
        return fragment(parts)
    except Exception:  # A failing view never breaks a notebook; what is wrong shows up in the tests of the views.
        return f"<pre>{escape(part_text(parts))}</pre>"


def estimate_parts(estimate: Estimate, *, top: int | None = TOP) -> Section:
    """The whole report.

    Args:
        estimate: what to report on.
        top: rows of each long table at most; None shows all.
    """
    return Section(
        title=f"Estimate of {estimate.step}",
        parts=(
            summary(estimate),
            Section(title="Time by part", parts=(breakdown_bars(estimate),)),
            Section(title="Memory", parts=memory_parts(estimate)),
            *((Section(title="Mesh", parts=(mesh_part(estimate.mesh),)),) if estimate.mesh else ()),
            *((Section(title="Dearest ops", parts=(op_table(estimate.ops, top),)),) if estimate.ops else ()),
            Section(title="Exchanges", parts=(exchange_table(estimate.collectives, top),)),
            Section(title="Assumed", parts=(Listing(items=(*estimate.assumed, fitted_text(estimate))),)),
        ),
    )


def summary(estimate: Estimate) -> Section:
    """What a reader wants first."""
    devices = "one device" if estimate.devices == 1 else f"{units.count(estimate.devices)} devices"
    headline = f"{units.duration(estimate.step_time_s)} a step on {devices}: {rate_text(estimate)}."
    rows = [("cluster", estimate.cluster), ("strategy", estimate.strategy)]
    rows += [("mesh", mesh_text(estimate.mesh))] if estimate.mesh else []
    rows += [("memory", memory_text(estimate))]
    return Section(title="Summary", parts=(Text(text=headline), KeyValues(rows=tuple(rows)), *warning(estimate)))


def rate_text(estimate: Estimate) -> str:
    """The rate of useful work, also against the peak."""
    rate = units.quantity(estimate.flops_per_s, "flop/s")
    return f"{rate}, {units.share(estimate.share_of_peak, 1.0)} of the {estimate.precision} peak"


def memory_text(estimate: Estimate) -> str:
    """The peak against what there is."""
    used = units.share(estimate.peak_memory_bytes, estimate.capacity_bytes)
    held, there = units.size(estimate.peak_memory_bytes), units.size(estimate.capacity_bytes)
    return f"{held} of {there} on a device at the peak ({used})"


def warning(estimate: Estimate) -> tuple[Part, ...]:
    """By how much the memory is short, and what takes most of it; nothing where it fits."""
    if estimate.fits:
        return ()
    over = units.size(estimate.peak_memory_bytes - estimate.capacity_bytes)
    role = max(estimate.memory, key=lambda role: estimate.memory[role])
    return (Text(text=f"Warning: this does not fit. A device lacks {over}; most is held for {_role_text(role)}."),)


def _role_text(role: str) -> str:
    return {"optimizer": "the optimizer", "batch": "the batch"}.get(role, f"{role}s")


def breakdown_bars(estimate: Estimate) -> Bars:
    """The step time by part."""
    return Bars(
        bars=tuple(
            Bar(label=name, value=seconds, text=_share_text(seconds, estimate.step_time_s), tone=tone)
            for part, (name, tone) in PARTS.items()
            if (seconds := estimate.breakdown.get(part, 0.0))
        )
    )


def _share_text(seconds: float, whole_s: float) -> str:
    return f"{units.duration(seconds)}, {units.share(seconds, whole_s)}"


def memory_parts(estimate: Estimate) -> tuple[Part, ...]:
    """The peak against the capacity, then by role."""
    peak = Bar(label="peak", value=estimate.peak_memory_bytes, text=memory_text(estimate), tone="total")
    roles = sorted(estimate.memory.items(), key=lambda item: (-item[1], item[0]))
    whole = estimate.peak_memory_bytes
    by_role = tuple(
        Bar(label=role, value=held, text=f"{units.size(held)}, {units.share(held, whole)}")
        for role, held in roles
        if held
    )
    return (Bars(bars=(peak,), full=estimate.capacity_bytes), Bars(bars=by_role, full=whole))


def op_table(ops: Sequence[OpPrice], top: int | None = None) -> Table:
    """Primitive, runs, work, traffic, time and source line of ops, dearest first, with what limits them."""
    shown, left = ops[:top], ops[len(ops[:top]) :]
    return Table(
        columns=(
            *(Column(title=title) for title in ("op", "stage")),
            *(Column(title=title, numeric=True) for title in ("runs", "work", "traffic", "time")),
            *(Column(title=title) for title in ("limited by", "source")),
        ),
        rows=tuple(_op_row(op) for op in shown),
        caption=_left_text(left),
    )


def _op_row(op: OpPrice) -> tuple[str, ...]:
    amounts = (units.count(op.count), units.quantity(op.flops, "flop"), units.size(op.bytes), units.duration(op.time_s))
    return (op.primitive, op.stage, *amounts, op.binding, source_text(op.source))


def _left_text(left: Sequence[OpPrice | Exchange]) -> str:
    rows = f"{units.count(len(left))} cheaper " + ("row" if len(left) == 1 else "rows")
    return f"{rows}: {units.duration(sum(each.time_s for each in left))} in all." if left else ""


def exchange_table(exchanges: Sequence[Exchange], top: int | None = None) -> Part:
    """Kind, axes, tiers, bytes, runs, algorithm and time of exchanges, dearest first."""
    if not exchanges:
        return Text(text="None: no device needs anything from another.")
    shown, left = exchanges[:top], exchanges[len(exchanges[:top]) :]
    return Table(
        columns=(
            *(Column(title=title) for title in ("exchange", "over", "across", "stage")),
            *(Column(title=title, numeric=True) for title in ("each", "runs")),
            *(Column(title="algorithm"), Column(title="time", numeric=True)),
        ),
        rows=tuple(_exchange_row(exchange) for exchange in shown),
        caption=f"{_left_text(left)} Times are of all runs, also where they are hidden behind computing.".strip(),
    )


def _exchange_row(exchange: Exchange) -> tuple[str, ...]:
    over = f"{' '.join(exchange.axes)} ({units.count(exchange.group_size)})"
    runs = (units.size(exchange.bytes), units.count(exchange.count))
    place = (exchange.kind, over, ", ".join(exchange.tiers), exchange.stage)
    return (*place, *runs, exchange.algorithm, units.duration(exchange.time_s))


def fitted_text(estimate: Estimate) -> str:
    """How many numbers of the chip were fitted, and which."""
    keys = estimate.fitted_parameters
    if not keys:
        return "no number of the chip is fitted to measured runs"
    noun = "number" if len(keys) == 1 else "numbers"
    return f"{len(keys)} {noun} of the chip fitted to measured runs: {', '.join(keys)}"


def comparison_parts(before: Estimate, after: Estimate, *, changed: str) -> Section:
    """An estimate beside another.

    Args:
        before: as given.
        after: with what was changed.
        changed: what that is.
    """
    headline = (
        f"{units.duration(before.step_time_s)} a step as given, {units.duration(after.step_time_s)} with {changed}: "
        f"{units.change(before.step_time_s, after.step_time_s)}."
    )
    drawn = chart((before.breakdown, after.breakdown), ("as given", "changed"), changed, PARTS)
    return Section(
        title="What if",
        parts=(
            Text(text=headline),
            *warning(after),
            Section(title="Time and memory", parts=(drawn, _comparison_table(before, after))),
            Section(title="Assumed", parts=(Listing(items=(*after.assumed, fitted_text(after))),)),
        ),
    )


def _comparison_table(before: Estimate, after: Estimate) -> Table:
    times = {
        name: (before.breakdown.get(part, 0.0), after.breakdown.get(part, 0.0)) for part, (name, _) in PARTS.items()
    }
    roles = sorted({*before.memory, *after.memory})
    held = {f"{role} memory": (before.memory.get(role, 0), after.memory.get(role, 0)) for role in roles}
    rows = [
        _change("step", before.step_time_s, after.step_time_s, units.duration),
        *(_change(name, *pair, units.duration) for name, pair in times.items() if any(pair)),
        _change("rate", before.flops_per_s, after.flops_per_s, lambda x: units.quantity(x, "flop/s")),
        _change("share of peak", before.share_of_peak, after.share_of_peak, lambda x: units.share(x, 1.0)),
        _change("peak memory", before.peak_memory_bytes, after.peak_memory_bytes, units.size),
        *(_change(name, *pair, units.size) for name, pair in held.items() if any(pair)),
    ]
    titles = ("", "as given", "changed", "change")
    return Table(columns=tuple(Column(title=t, numeric=i > 0) for i, t in enumerate(titles)), rows=tuple(rows))


def _change(name: str, before: float, after: float, text) -> tuple[str, ...]:
    return name, text(before), text(after), units.change(before, after)


def chart(
    breakdowns: Sequence[Mapping[str, float] | None],
    labels: Sequence[str],
    title: str,
    parts: Mapping[str, tuple[str, str]],
    *,
    caption: str = "",
) -> Chart:
    """Breakdowns as columns; `parts` says what each key is called, and as what kind of time it is drawn."""
    series = tuple(
        Series(
            name=name,
            tone=tone,
            values=tuple(None if found is None else found.get(part, 0.0) for found in breakdowns),
        )
        for part, (name, tone) in parts.items()
    )
    return Chart(labels=tuple(labels), series=series, title=title, caption=caption)
