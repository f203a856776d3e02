"""How well predicted times rank measured ones: rows, their score, and the table of both. Measures nothing itself."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import spearmanr


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model under one plan; seconds of a step.

    Attributes:
        halves_s: what was measured in every other round, and in the rounds between: how far both agree bounds what any
            prediction can reach.
        causes: predicted seconds of ops by what binds them, and of exchanges by kind.
        counts: how many runs of each of those there are in a step.
    """

    model: str
    plan: str
    predicted_s: float
    measured_s: float
    halves_s: tuple[float, float]
    causes: dict[str, float]
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Score:
    """How well predictions rank the plans of a model.

    Attributes:
        spearman: rank correlation of predicted and measured.
        repeats: the same of one half of the rounds and the other.
        regret: measured time of the plan predicted best, over the best measured.
        ratio: median of measured over predicted.
        under: the plan whose time is most underestimated, beside that median.
        over: the one most overestimated.
    """

    spearman: float
    repeats: float
    regret: float
    ratio: float
    under: Row
    over: Row


def score(rows: Sequence[Row]) -> Score:
    """Of the rows of one model."""
    ratio = lambda row: row.measured_s / row.predicted_s  # noqa: E731
    first = min(rows, key=lambda row: row.predicted_s)
    return Score(
        spearman=float(spearmanr([row.predicted_s for row in rows], [row.measured_s for row in rows]).statistic),
        repeats=float(spearmanr([row.halves_s for row in rows]).statistic),
        regret=first.measured_s / min(row.measured_s for row in rows),
        ratio=statistics.median(map(ratio, rows)),
        under=max(rows, key=ratio),
        over=min(rows, key=ratio),
    )


def _shown(row: Row, what: str) -> str:
    parts = sorted(row.causes.items(), key=lambda part: -part[1])[:4]
    words = ", ".join(f"{cause} {1e3 * s:.2f} ({row.counts[cause]})" for cause, s in parts)
    times = f"predicted {1e3 * row.predicted_s:.2f} ms, measured {1e3 * row.measured_s:.2f} ms"
    return f"    {what} {row.plan}: {times}; {words}"


def lines(rows: Sequence[Row]) -> list[str]:
    """The table, for people."""
    found = []
    models = dict.fromkeys(row.model for row in rows)
    scores = {model: score([row for row in rows if row.model == model]) for model in models}
    for model, each in scores.items():
        count = sum(row.model == model for row in rows)
        found.append(
            f"{model}: {count} plans, Spearman {each.spearman:.3f} (of two halves of the rounds {each.repeats:.3f}), "
            f"predicted best over best {each.regret:.3f}, measured over predicted {each.ratio:.2f}"
        )
        found += [_shown(each.under, "most underestimated:"), _shown(each.over, "most overestimated:")]
    worst = max((each.regret for each in scores.values()), default=1.0)
    mean = statistics.fmean(each.spearman for each in scores.values()) if scores else 0.0
    whole = float(spearmanr([row.predicted_s for row in rows], [row.measured_s for row in rows]).statistic)
    found.append(f"mean Spearman {mean:.3f}, of all rows together {whole:.3f}; worst predicted best {worst:.3f}")
    return found
