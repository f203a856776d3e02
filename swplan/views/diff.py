"""Two plans side by side: what differs in numbers, mesh, shardings, exchanges and time by cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from swplan.plan import Collective, Plan, Tensor
from swplan.views import units
from swplan.views.folding import fold
from swplan.views.parts import Column, Part, Section, Table, Text
from swplan.views.report import mesh_text
from swplan.views.tables import cause_text, exchange_s, layout_text, ordered_causes, source_text

TOP = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """Exchanges of the same tensors for the same reason in both plans; one side is empty if only the other has them."""

    tensor: str
    before: tuple[Collective, ...]
    after: tuple[Collective, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between two plans.

    Law: nothing differs between a plan and itself.

    Attributes:
      before, after: the plans.
      shardings: (tensor of the one, tensor of the other) where shape, type or layout differ; None where one has none.
      exchanges: where kind, axes, bytes, runs, algorithm or time differ.
    """

    before: Plan
    after: Plan
    shardings: tuple[tuple[Tensor | None, Tensor | None], ...]
    exchanges: tuple[Exchanged, ...]

    @property
    def equal(self) -> bool:
        """Whether the plans are the same, byte by byte."""
        return self.before.to_json() == self.after.to_json()

    def to_json(self) -> bytes:
        """The difference as JSON, headline numbers as [before, after]."""
        pairs = {name: [read(self.before), read(self.after)] for name, read in _HEADLINES.items()}
        found: dict[str, Any] = {"equal": self.equal, **pairs, "shardings": self.shardings, "exchanges": self.exchanges}
        return msgspec.json.encode(found, order="deterministic")


_HEADLINES: dict[str, Callable[[Plan], Any]] = {
    "cluster": lambda plan: plan.cluster,
    "devices": lambda plan: plan.devices,
    "step_time_s": lambda plan: plan.step_time_s,
    "peak_memory_bytes": lambda plan: plan.peak_memory_bytes,
    "mesh": lambda plan: {axis.name: axis.size for axis in plan.axes},
    "breakdown": lambda plan: plan.breakdown,
    "gap": lambda plan: plan.certificate.gap,
    "precision": lambda plan: plan.precision.policy,
}


def difference(before: Plan, after: Plan) -> Difference:
    """What differs between two plans."""
    return Difference(
        before=before, after=after, shardings=_shardings(before, after), exchanges=_exchanges(before, after)
    )


def _shardings(before: Plan, after: Plan) -> tuple[tuple[Tensor | None, Tensor | None], ...]:
    old = {tensor.name: tensor for tensor in (*before.inputs, *before.outputs)}
    new = {tensor.name: tensor for tensor in (*after.inputs, *after.outputs)}
    pairs = ((old.get(name), new.get(name)) for name in dict.fromkeys([*old, *new]))
    return tuple((a, b) for a, b in pairs if _held(a) != _held(b))


def _held(tensor: Tensor | None) -> Any:
    return tensor and (tensor.shape, tensor.dtype, tensor.spec, tensor.device_bytes)


def _exchanges(before: Plan, after: Plan) -> tuple[Exchanged, ...]:
    """Exchanges are the same ones if their tensor, kind, stage and source line are."""
    old, new = _keyed(before.exchanges), _keyed(after.exchanges)
    keys = dict.fromkeys([*old, *new])
    pairs = [Exchanged(tensor=key[0], before=old.get(key, ()), after=new.get(key, ())) for key in keys]
    differing = [pair for pair in pairs if _facts(pair.before) != _facts(pair.after)]
    return tuple(sorted(differing, key=lambda pair: -abs(_time_s(pair.after) - _time_s(pair.before))))


def _keyed(exchanges: Iterable[Collective]) -> dict[Any, tuple[Collective, ...]]:
    keyed: dict[Any, list[Collective]] = {}
    for exchange in exchanges:
        keyed.setdefault((exchange.tensor, exchange.kind, exchange.stage, exchange.source), []).append(exchange)
    return {key: tuple(found) for key, found in keyed.items()}


def _facts(exchanges: Iterable[Collective]) -> Any:
    return sorted((c.axes, c.group_size, c.dtype, c.bytes, c.count, c.algorithm, c.time_s) for c in exchanges)


def _time_s(exchanges: Iterable[Collective]) -> float:
    return sum(exchange.time_s for exchange in exchanges)


def diff_parts(before: Plan, after: Plan, *, names: tuple[str, str] = ("before", "after")) -> Section:
    """What differs between two plans, as parts; headings call them by `names`."""
    found = difference(before, after)
    if found.equal:
        return Section(title=_title(found), parts=(Text(text="The two plans are equal."),))
    parts = (
        _headline_table(found, names),
        Section(title="Time by cause", parts=(_breakdown_table(found, names),)),
        Section(title="Shardings that differ", parts=(_sharding_table(found, names),)),
        Section(title="Exchanges that differ", parts=(_exchange_table(found, names),)),
    )
    return Section(title=_title(found), parts=parts)


def _title(found: Difference) -> str:
    steps = dict.fromkeys([found.before.step, found.after.step])
    return "Two plans of " + " and ".join(steps)


def _columns(first: str, names: tuple[str, str], *, numeric: bool) -> tuple[Column, ...]:
    sides = tuple(Column(title=name, numeric=numeric) for name in names)
    return (Column(title=first), *sides, Column(title="change", numeric=True))


def _headline_table(found: Difference, names: tuple[str, str]) -> Table:
    a, b = found.before, found.after
    exchanged = (exchange_s(a.breakdown), exchange_s(b.breakdown))
    peaks = (a.peak_memory_bytes, b.peak_memory_bytes)
    gaps = (a.certificate.gap, b.certificate.gap)
    rows = (
        ("step time", *map(units.duration, (a.step_time_s, b.step_time_s)), units.change(a.step_time_s, b.step_time_s)),
        ("of it exchanges", *map(units.duration, exchanged), units.change(*exchanged)),
        ("peak memory", *map(units.size, peaks), units.change(*peaks)),
        ("mesh", mesh_text(a.axes), mesh_text(b.axes), _same(a.axes, b.axes)),
        ("cluster", a.cluster, b.cluster, _same(a.cluster, b.cluster)),
        ("precision", a.precision.policy, b.precision.policy, _same(a.precision, b.precision)),
        ("gap to the bound", *(units.share(gap, 1.0) for gap in gaps), _same(*gaps)),
    )
    return Table(columns=_columns("", names, numeric=False), rows=rows)


def _same(before: Any, after: Any) -> str:
    return "same" if before == after else "differs"


def _breakdown_table(found: Difference, names: tuple[str, str]) -> Table:
    old, new = found.before.breakdown, found.after.breakdown
    rows = []
    for cause in ordered_causes(old, new):
        seconds = (old.get(cause, 0.0), new.get(cause, 0.0))
        if any(seconds):
            rows.append((cause_text(cause), *map(units.duration, seconds), units.change(*seconds)))
    return Table(columns=_columns("cause", names, numeric=True), rows=tuple(rows))


def _sharding_table(found: Difference, names: tuple[str, str]) -> Part:
    groups = fold(found.shardings, _name, lambda pair: (_held(pair[0]), _held(pair[1])))
    if not groups:
        return Text(text="None.")
    rows = [
        (name, _layout(pairs[0][0]), _layout(pairs[0][1]), units.count(len(pairs)), _bytes(pairs))
        for name, pairs in groups[:TOP]
    ]
    sides = tuple(Column(title=name) for name in names)
    columns = (Column(title="tensor"), *sides, *(Column(title=t, numeric=True) for t in ("tensors", "per device")))
    caption = f"{units.count(len(groups) - TOP)} more rows." if len(groups) > TOP else ""
    return Table(columns=columns, rows=tuple(rows), caption=caption)


def _name(pair: tuple[Tensor | None, Tensor | None]) -> str:
    return next(tensor.name for tensor in pair if tensor is not None)


def _layout(tensor: Tensor | None) -> str:
    return f"{tensor.dtype} {layout_text(tensor.shape, tensor.spec)}" if tensor else units.NOTHING


def _bytes(pairs: Iterable[tuple[Tensor | None, Tensor | None]]) -> str:
    sides = list(zip(*pairs, strict=True))
    before, after = (sum(tensor.device_bytes for tensor in side if tensor) for side in sides)
    return units.size(before) if before == after else f"{units.size(before)} → {units.size(after)}"


def _exchange_table(found: Difference, names: tuple[str, str]) -> Part:
    groups = fold(found.exchanges, lambda pair: pair.tensor, _alike, least=2)
    if not groups:
        return Text(text="None.")
    rows = [(_verb(pairs[0]), _any(pairs[0]).kind, *_sides(pairs)) for _, pairs in groups[:TOP]]
    notes = [f"{name} @ {source_text(_any(pairs[0]).source)}" for name, pairs in groups[:TOP]]
    columns = (Column(title=""), Column(title="exchange"), *(Column(title=name) for name in names))
    columns += (Column(title="time", numeric=True),)
    caption = f"{units.count(len(groups) - TOP)} more rows." if len(groups) > TOP else ""
    return Table(columns=columns, rows=tuple(rows), notes=tuple(notes), caption=caption)


def _alike(pair: Exchanged) -> Any:
    """Pairs that are alike in this are shown in one row."""
    sides = tuple(tuple((c.axes, c.bytes, c.algorithm, c.dtype) for c in side) for side in (pair.before, pair.after))
    return _any(pair).kind, _any(pair).stage, _any(pair).source, sides


def _any(pair: Exchanged) -> Collective:
    return (*pair.before, *pair.after)[0]


def _verb(pair: Exchanged) -> str:
    if not pair.before:
        return "added"
    return "changed" if pair.after else "removed"


def _sides(pairs: list[Exchanged]) -> tuple[str, str, str]:
    times = (sum(_time_s(pair.before) for pair in pairs), sum(_time_s(pair.after) for pair in pairs))
    time = " → ".join(units.duration(seconds) for seconds in times)
    return _side([pair.before for pair in pairs]), _side([pair.after for pair in pairs]), time


def _side(sides: list[tuple[Collective, ...]]) -> str:
    """Runs, bytes, axes and algorithm of the exchanges of one plan, those that are alike counted together."""
    runs: Counter[str] = Counter()
    for exchange in (exchange for side in sides for exchange in side):
        runs[f"{units.size(exchange.bytes)} over {' '.join(exchange.axes)}, {exchange.algorithm}"] += exchange.count
    return "; ".join(f"{units.count(count)} x {text}" for text, count in runs.items()) or units.NOTHING
