"""What came out with different numbers, one row each: plans, or estimates of a strategy; one or two numbers drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from swplan.estimate.result import Estimate
from swplan.plan import Plan
from swplan.views import units
from swplan.views.estimate import PARTS, chart
from swplan.views.parts import Column, Grid, Part, Section, Table
from swplan.views.report import mesh_text
from swplan.views.tables import exchange_s

CAUSES = {
    "forward": ("forward", "compute"),
    "forward_comm": ("forward exchanges", "exchange"),
    "backward": ("backward", "later"),
    "backward_comm": ("backward exchanges", "later-exchange"),
    "optimizer": ("optimizer", "closing"),
    "optimizer_comm": ("optimizer exchanges", "data"),
    "local_resharding": ("local resharding", "idle"),
}
"""The causes of a plan's times: in words, and as what kind of time they are drawn."""
MOST_ROWS, MOST_COLUMNS = 200, 120
GIVEN = "as given"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came out with some settings, or why nothing did. The first trial of a sweep has no settings."""

    settings: tuple[tuple[str, str], ...]
    made: Plan | Estimate | None
    problem: str = ""


def sweep_parts(trials: Sequence[Trial]) -> Section:
    """A picture where one or two numbers vary; one row for each trial, compared with the first, the fastest if many."""
    keys = list(dict.fromkeys(key for trial in trials for key, _ in trial.settings))
    first = trials[0].made if trials else None
    shown = [*trials[:1], *sorted(trials[1:], key=_seconds)[: MOST_ROWS - 1]] if len(trials) > MOST_ROWS else trials
    row, titles = (_plan_row, _PLAN_TITLES) if _are_plans(trials) else (_estimate_row, _ESTIMATE_TITLES)
    table = Table(
        columns=(
            *(Column(title=key) for key in keys),
            *(Column(title=title, numeric=True) for title in titles[:-1]),
            Column(title=titles[-1]),
        ),
        rows=tuple((*_cells(trial, keys), *_outcome(trial, first, row, titles)) for trial in shown),
        caption=f"The {len(shown) - 1} fastest of {units.count(len(trials) - 1)}." if shown is not trials else "",
    )
    return Section(title="What if", parts=(*pictures(trials), table))


_PLAN_TITLES = ("step", "to given", "exchanges", "memory", "gap", "mesh")
_ESTIMATE_TITLES = ("step", "to given", "rate", "of peak", "memory", "remark")


def _are_plans(trials: Sequence[Trial]) -> bool:
    return not any(isinstance(trial.made, Estimate) for trial in trials)


def _seconds(trial: Trial) -> float:
    return float("inf") if trial.made is None else trial.made.step_time_s


def _cells(trial: Trial, keys: Sequence[str]) -> tuple[str, ...]:
    settings = dict(trial.settings)
    return tuple(settings.get(key, GIVEN) for key in keys)


def _outcome(trial: Trial, first: Plan | Estimate | None, row, titles: Sequence[str]) -> tuple[str, ...]:
    if trial.made is None:
        return (*[units.NOTHING] * (len(titles) - 1), trial.problem)
    compared = units.ratio(trial.made.step_time_s, first.step_time_s) if first else units.NOTHING
    return (units.duration(trial.made.step_time_s), compared, *row(trial.made))


def _plan_row(plan: Plan) -> tuple[str, ...]:
    return (
        units.share(exchange_s(plan.breakdown), plan.step_time_s),
        units.size(plan.peak_memory_bytes),
        units.share(plan.certificate.gap, 1.0),
        mesh_text(plan.axes),
    )


def _estimate_row(estimate: Estimate) -> tuple[str, ...]:
    over = estimate.peak_memory_bytes - estimate.capacity_bytes
    return (
        units.quantity(estimate.flops_per_s, "flop/s"),
        units.share(estimate.share_of_peak, 1.0),
        units.size(estimate.peak_memory_bytes),
        "" if estimate.fits else f"lacks {units.size(over)}",
    )


def pictures(trials: Sequence[Trial]) -> tuple[Part, ...]:
    """A chart of the parts of a step against the one number that varies, or a grid of step times against two."""
    varied = _varied(trials[1:])
    if len(varied) == 1:
        return (_chart(trials, varied[0]),)
    return (_grid(trials[1:], *varied),) if len(varied) == 2 else ()


def _varied(trials: Sequence[Trial]) -> list[str]:
    values: dict[str, set[str]] = {}
    for trial in trials:
        for key, value in trial.settings:
            values.setdefault(key, set()).add(value)
    return [key for key, found in values.items() if len(found) > 1]


def _chart(trials: Sequence[Trial], key: str) -> Part:
    every = -(-len(trials) // MOST_COLUMNS)
    shown = [trials[0], *trials[1::every]]
    labels = [GIVEN, *(dict(trial.settings)[key] for trial in shown[1:])]
    found = [None if trial.made is None else trial.made.breakdown for trial in shown]
    large = [label for label, trial in zip(labels, shown, strict=True) if _is_large(trial)]
    caption = f"Too large for the memory: {', '.join(large)}." if large else ""
    return chart(found, labels, key, CAUSES if _are_plans(trials) else PARTS, caption=caption)


def _is_large(trial: Trial) -> bool:
    return isinstance(trial.made, Estimate) and not trial.made.fits


def _grid(trials: Sequence[Trial], *keys: str) -> Grid:
    """The key with the longer names runs down."""
    names = {key: list(dict.fromkeys(dict(t.settings)[key] for t in trials)) for key in keys}
    across, down = sorted(keys, key=lambda key: sum(map(len, names[key])))
    cells = {(dict(t.settings)[down], dict(t.settings)[across]): t for t in trials if t.made}
    table = [[cells.get((row, column)) for column in names[across]] for row in names[down]]
    pairs = ((i, j, trial) for i, row in enumerate(table) for j, trial in enumerate(row))
    large = frozenset((i, j) for i, j, trial in pairs if trial and _is_large(trial))
    return Grid(
        rows=tuple(names[down]),
        columns=tuple(names[across]),
        values=tuple(tuple(trial.made.step_time_s if trial else None for trial in row) for row in table),
        row_title=down,
        column_title=across,
        excluded=large,
        caption="Crossed out: too large for the memory." if large else "",
    )


def sweep_json(trials: Sequence[Trial]) -> bytes:
    """The trials as JSON: their settings with the plan or estimate, or with the problem."""
    name = "plan" if _are_plans(trials) else "estimate"
    rows = [{"settings": dict(t.settings), name: t.made, "problem": t.problem} for t in trials]
    return msgspec.json.encode(rows, order="deterministic")
