"""What a view is made of: a small tree of values that says what to show and leaves how to the renderers.

`report`, `explain` and `diff` build parts; `text` and `html` draw them. To add a kind of part: one class here, one
function in each of the two renderers; a test asks for both.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Short paragraphs, one below the other."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValues:
    """Names and what they stand for."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table: its heading, and whether it holds numbers, which stand at the right and are never broken."""

    title: str
    numeric: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells, one for each column; below a row, where there are notes, its note in full width."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a chart: `value` is its length in any unit, `text` is what to write at its end."""

    label: str
    value: float
    text: str
    tone: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """A bar chart; `full` is the value of a bar of full length (the largest value, if that is more)."""

    bars: tuple[Bar, ...]
    full: float = 0.0
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One layer of a chart of columns: its seconds in every column, None where there is no column; see `TONES`."""

    name: str
    values: tuple[float | None, ...]
    tone: str


TONES = ("data", "compute", "exchange", "later", "later-exchange", "closing", "idle")
"""Kinds of time: reading, forward work and exchanges, backward work and exchanges, the optimizer, waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Times as columns side by side, each made of one layer of every series; `labels` name the columns."""

    labels: tuple[str, ...]
    series: tuple[Series, ...]
    title: str
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A point of a plot, both numbers above zero; `weight` is what its area stands for, 0 for a small one."""

    x: float
    y: float
    label: str = ""
    weight: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Points of a plot that belong together: drawn as "dots", as a "line", or as "both"; see `TONES`."""

    name: str
    dots: tuple[Dot, ...]
    tone: str
    drawn: str = "dots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One quantity against another, both on logarithmic scales."""

    traces: tuple[Trace, ...]
    x_title: str
    y_title: str
    x_unit: str = ""
    y_unit: str = ""
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Times by two properties, the shorter the better: a cell for each pair, None where there is none.

    `excluded` are (row, column) of times that do not count, for the reason that the caption gives.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    row_title: str
    column_title: str
    excluded: frozenset[tuple[int, int]] = frozenset()
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshAxis:
    """A mesh axis to be drawn."""

    name: str
    size: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nest:
    """Levels that lie in one another, outermost first, each with the mesh axes on it; `core` is in the middle."""

    levels: tuple[tuple[str, tuple[MeshAxis, ...]], ...]
    core: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A title with parts below it, which may be sections again; `folded` may be shown closed at first."""

    title: str
    parts: tuple[Part, ...]
    folded: bool = False


Part = Text | Listing | KeyValues | Table | Bars | Chart | Plot | Grid | Nest | Section


def clean(text: str) -> str:
    """The text with all that cannot be printed (control characters, changes of direction) written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
