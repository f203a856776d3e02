"""Plans of the same model with different numbers, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from swplan.plan import Plan
from swplan.views import units
from swplan.views.parts import Column, Section, Table
from swplan.views.report import mesh_text
from swplan.views.tables import exchange_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came out with some settings: a plan, or why there is none. The first trial of a sweep has no settings."""

    settings: tuple[tuple[str, str], ...]
    plan: Plan | None
    problem: str = ""


def sweep_parts(trials: Sequence[Trial]) -> Section:
    """One row for each trial, compared with the first."""
    keys = list(dict.fromkeys(key for trial in trials for key, _ in trial.settings))
    first = trials[0].plan if trials else None
    table = Table(
        columns=(
            *(Column(title=key) for key in keys),
            *(Column(title=title, numeric=True) for title in ("step", "to given", "exchanges", "memory", "gap")),
            Column(title="mesh"),
        ),
        rows=tuple(_row(trial, keys, first) for trial in trials),
    )
    return Section(title="What if", parts=(table,))


def _row(trial: Trial, keys: Sequence[str], first: Plan | None) -> tuple[str, ...]:
    settings = dict(trial.settings)
    cells = [settings.get(key, "as given") for key in keys]
    plan = trial.plan
    if plan is None:
        return (*cells, *[units.NOTHING] * 5, trial.problem)
    return (
        *cells,
        units.duration(plan.step_time_s),
        units.ratio(plan.step_time_s, first.step_time_s) if first else units.NOTHING,
        units.share(exchange_s(plan.breakdown), plan.step_time_s),
        units.size(plan.peak_memory_bytes),
        units.share(plan.certificate.gap, 1.0),
        mesh_text(plan.axes),
    )


def sweep_json(trials: Sequence[Trial]) -> bytes:
    """The trials as JSON: their settings with the plan, or with the problem."""
    rows = [{"settings": dict(t.settings), "plan": t.plan, "problem": t.problem} for t in trials]
    return msgspec.json.encode(rows, order="deterministic")
