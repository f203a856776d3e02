"""Rows of published tables as they are read: cells by column, empty where a table lacks the column."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from swplan.errors import UsageError


class Row(dict[str, str]):
    """A row; a column that its table does not have is empty."""

    def __missing__(self, column: str) -> str:
        return ""


def rows_of(path: Path) -> tuple[list[Row], list[str]]:
    """The rows of a file, and its columns.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            found = [Row({k.strip(): v.strip() for k, v in row.items() if k is not None}) for row in reader]
            return found, [name.strip() for name in reader.fieldnames or ()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def count(row: Mapping[str, str], column: str, default: int | None = None) -> int:
    """The whole number in a cell.

    Args:
        row: where it stands.
        column: its column.
        default: what an empty cell means; None where it must not be empty.

    Raises:
        UsageError: it is empty, or no whole number of at least 0.
    """
    if not row[column] and default is not None:
        return default
    number = positive(row, column) if row[column] != "0" else 0.0
    if number != int(number):
        raise UsageError(f"{column}={row[column]!r} is no whole number")
    return int(number)


def positive(row: Mapping[str, str], column: str) -> float:
    """The number in a cell.

    Raises:
        UsageError: it is empty, or no number above 0.
    """
    try:
        number = float(row[column])
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise UsageError(f"{column}={row[column]!r} is no number above 0")
    return number
