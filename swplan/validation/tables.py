"""The files of published figures: the copies that come with swplan, and any of the same formats."""

from __future__ import annotations

import tomllib
from pathlib import Path

from swplan.errors import UsageError
from swplan.validation import bagualu, published, vtrain
from swplan.validation.case import Case
from swplan.validation.rows import rows_of

PACKAGED = Path(__file__).parent / "data"
FILES = ("bagualu.toml", "published_training.csv", "vtrain_single_node.csv", "vtrain_multi_node.csv")


def packaged_cases() -> list[Case]:
    """The cases of the packaged tables of whole runs."""
    return [case for name in FILES for case in cases_of(PACKAGED / name)[0]]


def cases_of(path: Path) -> tuple[list[Case], list[str]]:
    """The cases of a file, and why rows of it are left out; the format is known by the columns, in any order.

    Raises:
        UsageError: the file cannot be read, or has other columns.
    """
    if path.suffix == ".toml":
        return bagualu.cases(_content(path))
    rows, columns = rows_of(path)
    if {"id", "chip", "n_chips"} <= set(columns):
        return published.cases(rows)
    if {"gpus", "global_batch", "micro_batch", "iter_ms"} <= set(columns):
        return vtrain.cases(path.stem, rows)
    raise UsageError(
        f"{path}: columns {', '.join(columns) or 'none'} are those of no known table; "
        "see published_training.csv and vtrain_*.csv"
    )


def _content(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
