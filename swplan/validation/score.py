"""Scores: how far predictions are from measurements, by table, and how well they choose among strategies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy.stats import spearmanr

from swplan.validation.case import Case


class ScoredRow(msgspec.Struct, frozen=True, kw_only=True):
    """A figure beside its prediction."""

    id: str
    use: str
    quantity: str
    measured: float
    predicted: float
    assumed: tuple[str, ...]

    @property
    def error_pct(self) -> float:
        """Error in per cent of the measured figure; of a share, in points."""
        if self.quantity == "share":
            return 100.0 * (self.predicted - self.measured)
        return 100.0 * (self.predicted / self.measured - 1.0)


class Errors(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of some rows, in per cent (of shares: in points)."""

    rows: int
    mean_abs_error_pct: float
    max_abs_error_pct: float
    mean_error_pct: float


class ScoredTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table; its two figures are those of the rows for checking, or of all where there are none."""

    name: str
    rows: tuple[ScoredRow, ...]
    mean_abs_error_pct: float
    max_abs_error_pct: float
    fit: Errors | None
    check: Errors | None


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """How well predicted times choose among the strategies of each group of two or more.

    Attributes:
        table: its name.
        use: of the rows; "all", since a user chooses among all.
        groups: how many.
        top1: share of groups of which the best predicted is the best measured.
        mean_regret_pct: how much longer the best predicted takes than the best measured.
        spearman: mean of the groups of three or more; None where there is none.
    """

    table: str
    use: str
    groups: int
    top1: float
    mean_regret_pct: float
    spearman: float | None


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """All tables, the rankings, what was left out, and how many numbers of each chip are fitted."""

    tables: tuple[ScoredTable, ...]
    ranking: tuple[Ranking, ...]
    fitted_parameters: dict[str, int]
    left_out: tuple[str, ...]


def score(cases: Sequence[Case], predicted: Sequence[float], fitted: dict[str, int], left_out: Sequence[str]) -> Scores:
    """Scores of cases and what was predicted for them."""
    tables = defaultdict(list)
    for case, value in zip(cases, predicted, strict=True):
        tables[case.table].append(_row(case, value))
    chosen = [(case, value) for case, value in zip(cases, predicted, strict=True) if case.group is not None]
    names = sorted({case.table for case, _ in chosen})
    return Scores(
        tables=tuple(_table(name, rows) for name, rows in tables.items()),
        ranking=tuple(ranking for name in names for ranking in _rankings(name, chosen)),
        fitted_parameters=fitted,
        left_out=tuple(left_out),
    )


def _row(case: Case, value: float) -> ScoredRow:
    return ScoredRow(
        id=case.id,
        use=case.use,
        quantity=case.quantity,
        measured=case.measured,
        predicted=float(value),
        assumed=case.assumed,
    )


def _table(name: str, rows: Sequence[ScoredRow]) -> ScoredTable:
    by_use = {use: [row for row in rows if row.use == use] for use in ("fit", "check")}
    errors = {use: _errors(own) if own else None for use, own in by_use.items()}
    main = errors["check"] or _errors(rows)
    return ScoredTable(
        name=name,
        rows=tuple(rows),
        mean_abs_error_pct=main.mean_abs_error_pct,
        max_abs_error_pct=main.max_abs_error_pct,
        fit=errors["fit"],
        check=errors["check"],
    )


def _errors(rows: Sequence[ScoredRow]) -> Errors:
    errors = np.array([row.error_pct for row in rows])
    return Errors(
        rows=len(rows),
        mean_abs_error_pct=float(np.abs(errors).mean()),
        max_abs_error_pct=float(np.abs(errors).max()),
        mean_error_pct=float(errors.mean()),
    )


def _rankings(table: str, chosen: Sequence[tuple[Case, float]]) -> list[Ranking]:
    """Over all rows of a table, since a user chooses among all strategies; groups of one are no choice."""
    groups = defaultdict(list)
    for case, value in chosen:
        if case.table == table:
            groups[case.group].append((case.measured, value))
    pairs = [np.array(group) for group in groups.values() if len(group) > 1]
    if not pairs:
        return []
    hits, regrets, rhos = zip(*map(_choice, pairs), strict=True)
    orders = [rho for rho in rhos if not np.isnan(rho)]
    return [
        Ranking(
            table=table,
            use="all",
            groups=len(pairs),
            top1=float(np.mean(hits)),
            mean_regret_pct=float(np.mean(regrets)),
            spearman=float(np.mean(orders)) if orders else None,
        )
    ]


def _choice(pairs: np.ndarray) -> tuple[bool, float, float]:
    """Whether the best predicted is the best measured, how much longer it takes in per cent, and Spearman's rho."""
    measured, predicted = pairs.T
    picked, best = measured[predicted.argmin()], measured.min()
    is_order = len(pairs) > 2 and np.ptp(measured) > 0 and np.ptp(predicted) > 0
    rho = spearmanr(measured, predicted).statistic if is_order else np.nan
    return bool(picked == best), float(100.0 * (picked / best - 1.0)), float(rho)
