"""Published figures beside predictions: every row, then the errors by table, then how well strategies are chosen."""

from __future__ import annotations

from swplan.validation.score import Errors, Ranking, ScoredRow, ScoredTable, Scores
from swplan.views.parts import Column, Listing, Part, Section, Table

_ROWS = ("row", "use", "quantity")
_FIGURES = ("measured", "predicted", "error")


def validation_parts(scores: Scores) -> Section:
    """All of a validation."""
    tables: list[Part] = [_rows(table) for table in scores.tables]
    parts = [*tables, _summary(scores)]
    if scores.ranking:
        parts.append(_ranking(scores.ranking))
    if scores.left_out:
        parts.append(Section(title="Left out", parts=(Listing(items=scores.left_out),)))
    return Section(title="Validation", parts=tuple(parts))


def _rows(table: ScoredTable) -> Section:
    columns = (*(Column(title=t) for t in _ROWS), *(Column(title=t, numeric=True) for t in _FIGURES))
    rows = tuple(_row(row) for row in table.rows)
    assumed = sorted({text for row in table.rows for text in row.assumed})
    parts: tuple[Part, ...] = (Table(columns=columns, rows=rows),)
    if assumed:
        parts += (Listing(items=tuple(f"assumed: {text}" for text in assumed)),)
    return Section(title=table.name, parts=parts)


def _row(row: ScoredRow) -> tuple[str, ...]:
    unit = "points" if row.quantity == "share" else "%"
    figures = (f"{row.measured:.4g}", f"{row.predicted:.4g}", f"{row.error_pct:+.1f} {unit}")
    return (row.id, row.use, row.quantity, *figures)


def _summary(scores: Scores) -> Section:
    titles = ("rows", "mean abs error", "max", "mean")
    columns = (Column(title="table"), Column(title="use"), *(Column(title=t, numeric=True) for t in titles))
    rows = [
        (table.name, use, *_errors(errors, table))
        for table in scores.tables
        for use, errors in (("fit", table.fit), ("check", table.check))
        if errors is not None
    ]
    fitted = ", ".join(f"{chip} {count}" for chip, count in sorted(scores.fitted_parameters.items()))
    parts = (Table(columns=columns, rows=tuple(rows)), Listing(items=(f"fitted numbers of the chips: {fitted}",)))
    return Section(title="Errors", parts=parts)


def _errors(errors: Errors, table: ScoredTable) -> tuple[str, ...]:
    unit = " points" if table.rows[0].quantity == "share" else " %"
    figures = (errors.mean_abs_error_pct, errors.max_abs_error_pct)
    return (str(errors.rows), *(f"{x:.1f}{unit}" for x in figures), f"{errors.mean_error_pct:+.1f}{unit}")


def _spearman(ranking: Ranking) -> str:
    return "-" if ranking.spearman is None else f"{ranking.spearman:.3f}"


def _ranking(rankings: tuple[Ranking, ...]) -> Section:
    titles = ("groups", "best found", "mean regret", "Spearman")
    columns = (Column(title="table"), *(Column(title=t, numeric=True) for t in titles))
    rows = tuple(
        (r.table, str(r.groups), f"{r.top1:.0%}", f"{r.mean_regret_pct:.1f} %", _spearman(r)) for r in rankings
    )
    return Section(title="Choosing the best strategy", parts=(Table(columns=columns, rows=rows),))
