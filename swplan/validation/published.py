"""`published_training.csv`: one row a published training run; see the README beside it.

What a row states (mesh, micro-batches, recomputation) is read alike for all, by `setup`; what all rows of a source have
in common stands in `sources`.
"""

from __future__ import annotations

from collections.abc import Iterable

from swplan.errors import UsageError
from swplan.validation.case import Case, Run
from swplan.validation.rows import Row, positive
from swplan.validation.setup import Setup, run_of, setup_of
from swplan.validation.sources import SOURCES

RATES = ("iter_time_s", "tok_s_chip", "tflops_per_chip")
"""Figures that say the same of a run, the surest first."""
COUNT_AGAIN = ("sc21t1", "sc21t2", "mtnlg")
"""Sources whose rates count what is recomputed too: F = 96 B s l h^2 (1 + s/6h + V/16lh), Narayanan et al., eq. 3."""


def cases(rows: Iterable[Row]) -> tuple[list[Case], list[str]]:
    """All cases, and why rows are left out."""
    found: list[Case] = []
    left: list[str] = []
    for row in rows:
        try:
            found += _cases(row)
        except UsageError as error:
            left.append(f"{row['id'] or 'a row without id'}: {error}")
    return found, left


def _cases(row: Row) -> list[Case]:
    table = row["id"].split("-")[0]
    if table not in SOURCES:
        raise UsageError(f"source {table!r} is not known; known: {', '.join(SOURCES)}")
    measured = _measured(row)
    setup = setup_of(row)
    SOURCES[table](row, setup)
    run = run_of(setup)
    return [_case(row, setup, run, table, key) for key in measured]


def _measured(row: Row) -> list[str]:
    """The figures of a row that say different things: time or rate, and memory."""
    rates = [key for key in RATES if row[key]]
    found = rates[:1] + (["mem_gib"] if row["mem_gib"] else [])
    if not found:
        raise UsageError(f"no figure in {', '.join(RATES)} or mem_gib")
    return found


def _case(row: Row, setup: Setup, run: Run, table: str, key: str) -> Case:
    return Case(
        table=table if key != "mem_gib" else f"{table} memory",
        id=row["id"],
        use=row["use"] or "check",
        quantity=key,
        measured=positive(row, key),
        run=run,
        assumed=tuple(setup.assumed),
        amount=_amount(run, table, key),
    )


def _amount(run: Run, table: str, key: str) -> float:
    """What a rate counts; 0 for a time, a size, and the operations that the model needs."""
    if key == "tok_s_chip":
        return run.tokens / run.strategy.devices
    sizes = dict(run.keywords)
    if key != "tflops_per_chip" or table not in COUNT_AGAIN or run.strategy.recompute != "full":
        return 0.0
    hidden, layers, vocab = sizes["hidden"], sizes["layers"], sizes.get("vocab", 51200)
    ratio = 1 + sizes["seq"] / (6 * hidden) + vocab / (16 * layers * hidden)
    return 96.0 * run.tokens * layers * hidden**2 * ratio / run.strategy.devices
