"""Parts as plain text in 100 columns or any other number, for terminals, files and `print(plan)`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

from rich.cells import cell_len

from swplan.plan import Plan
from swplan.views import units
from swplan.views.parts import (
    TONES,
    Bars,
    Chart,
    Column,
    Grid,
    KeyValues,
    Listing,
    Nest,
    Part,
    Plot,
    Section,
    Table,
    Text,
    clean,
)
from swplan.views.plots import column_totals, extremes
from swplan.views.report import plan_parts

WIDTH = 100
BAR_WIDTH = 32
_NARROWEST = 6
_LABEL = 28
_GAP = "  "
_SIGNS = dict(zip(TONES, "=█▒▓░#-", strict=True))

_PIECES = re.compile(r"[^/_]+[/_]*|[/_]+")

Paint = Callable[[str], str]
"""How to emphasize a title, for example with the colours of a terminal."""


def plan_text(plan: Plan, *, width: int = WIDTH) -> str:
    """The plan as text."""
    return part_text(plan_parts(plan), width=width)


def part_text(part: Part, *, width: int = WIDTH, paint: Paint = str) -> str:
    """Any part as text; ends with a line feed."""
    return "\n".join(line.rstrip() for line in _lines(part, width, 0, paint)).strip("\n") + "\n"


def _lines(part: Part, width: int, depth: int, paint: Paint) -> list[str]:
    if isinstance(part, Section):
        return _section(part, width, depth, paint)
    return _DRAW[type(part)](part, width)


def _section(section: Section, width: int, depth: int, paint: Paint) -> list[str]:
    title = clean(section.title)
    underline = ("=", "-")[depth] * min(width, cell_len(title)) if depth < 2 else ""
    lines = [paint(line) for line in (*wrap(title, width), underline) if line]
    for index, part in enumerate(section.parts):
        lines += [""] if index or depth < 2 else []
        lines += _lines(part, width, depth + 1, paint)
    return lines


def _paragraph(part: Text, width: int) -> list[str]:
    return wrap(clean(part.text), width)


def _listing(part: Listing, width: int) -> list[str]:
    return [line for item in part.items for line in _hanging("- ", clean(item), width)]


def _hanging(label: str, text: str, width: int) -> list[str]:
    """The text after a label, further lines indented as far."""
    lines = wrap(text, max(width - cell_len(label), _NARROWEST))
    return [(label if i == 0 else " " * cell_len(label)) + line for i, line in enumerate(lines)]


def _key_values(part: KeyValues, width: int) -> list[str]:
    rows = [(clean(key), clean(value)) for key, value in part.rows]
    indent = min(max((cell_len(key) for key, _ in rows), default=0), _LABEL)
    return [line for key, value in rows for line in _hanging(pad(shorten(key, indent), indent) + _GAP, value, width)]


def _bars(part: Bars, width: int) -> list[str]:
    full = max([part.full, *(bar.value for bar in part.bars)], default=0.0)
    names = min(max((cell_len(clean(bar.label)) for bar in part.bars), default=0), _LABEL)
    lines = wrap(clean(part.caption), width) if part.caption else []
    for bar in part.bars:
        length = round(BAR_WIDTH * bar.value / full) if full else 0
        drawn = "█" * length or ("▏" if bar.value else "")
        label = pad(shorten(clean(bar.label), names), names)
        lines += _hanging(_GAP.join((label, pad(drawn, BAR_WIDTH), "")), clean(bar.text), width)
    return lines


def _chart(part: Chart, width: int) -> list[str]:
    """One line for each column, its layers in signs of their own."""
    totals = column_totals(part)
    full = max((total for total in totals if total is not None), default=0.0)
    labels = [clean(label) for label in (part.title, *part.labels)]
    names = min(max(map(cell_len, labels)), width // 3)
    lines = [shorten(labels[0], names)]
    for at, total in enumerate(totals):
        drawn = _layers(part, at, full) if total is not None else ""
        label = pad(shorten(labels[at + 1], names), names)
        lines += _hanging(_GAP.join((label, pad(drawn, BAR_WIDTH), "")), units.duration(total), width)
    keys = [f"{_SIGNS[series.tone]} {clean(series.name)}" for series in part.series if any(series.values)]
    return [*lines, *wrap(_GAP.join(keys), width), *(wrap(clean(part.caption), width) if part.caption else [])]


def _layers(part: Chart, at: int, full: float) -> str:
    drawn, until = "", 0.0
    for series in part.series:
        until += series.values[at] or 0.0
        drawn += _SIGNS[series.tone] * (round(BAR_WIDTH * until / full) - len(drawn) if full else 0)
    return drawn


def _plot(part: Plot, width: int) -> list[str]:
    """The points as a table, in their order."""
    titles = (part.x_title, part.y_title)
    columns = (Column(title=""), *(Column(title=title, numeric=True) for title in titles), Column(title="of"))
    dots = ((trace, dot) for trace in part.traces for dot in trace.dots)
    rows = tuple(
        (dot.label, units.quantity(dot.x, part.x_unit), units.quantity(dot.y, part.y_unit), trace.name)
        for trace, dot in dots
    )
    return _table(Table(columns=columns, rows=rows, caption=part.caption), width)


def _grid(part: Grid, width: int) -> list[str]:
    """Tables, as many columns in each as fit, in which the shortest time has a star, and one excluded a cross."""
    heads = [f"{name} " for name in part.columns]
    cells = [[_marked(part, row, column) for column in range(len(heads))] for row in range(len(part.rows))]
    names = max(map(cell_len, (part.row_title, *part.rows)), default=0)
    widest = max(map(cell_len, (*heads, *itertools.chain(*cells))), default=0) + len(_GAP)
    step, lines = max(1, (width - names) // widest), []
    for start in range(0, len(heads), step):
        own = slice(start, start + step)
        columns = (Column(title=part.row_title), *(Column(title=head, numeric=True) for head in heads[own]))
        rows = tuple((name, *row[own]) for name, row in zip(part.rows, cells, strict=True))
        lines += [*_table(Table(columns=columns, rows=rows), width), ""]
    return [
        *lines,
        *wrap(f"Across: {clean(part.column_title)}; * is the shortest. {clean(part.caption)}".strip(), width),
    ]


def _marked(part: Grid, row: int, column: int) -> str:
    value = part.values[row][column]
    mark = "x" if (row, column) in part.excluded else "*" if value == extremes(part)[0] else " "
    return units.duration(value) + mark


def _nest(part: Nest, width: int) -> list[str]:
    """A tree, outermost level first; on each level the mesh axes that lie on it."""
    lines = []
    for depth, (name, axes) in enumerate(part.levels):
        lines += _hanging(_branch(depth), clean(name), width)
        stem = "   " * depth + "│  "
        for axis in axes:
            lines += _hanging(f"{stem}  ", clean(f"{axis.name} = {axis.size:,}  {axis.note}").rstrip(), width)
    return [*lines, *_hanging(_branch(len(part.levels)), clean(part.core), width)]


def _branch(depth: int) -> str:
    return "   " * (depth - 1) + "└─ " if depth else ""


def _table(part: Table, width: int) -> list[str]:
    heading = tuple(column.title for column in part.columns)
    rows = [tuple(clean(cell) for cell in row) for row in part.rows]
    widths = column_widths(part.columns, rows, width)
    lines = _row(heading, part.columns, widths)
    lines.append(_GAP.join("─" * w for w in widths))
    notes = part.notes or ("",) * len(rows)
    for row, note in zip(rows, notes, strict=True):
        lines += _row(row, part.columns, widths)
        lines += _hanging("    ", clean(note), width) if note else []
    caption = wrap(clean(part.caption), width) if part.caption else []
    return [*lines, *caption]


def column_widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """How wide to draw each column: as wide as it wants, or the widest ones with words narrowed until all fit."""
    widths = []
    for index, column in enumerate(columns):
        widths.append(max([cell_len(column.title), *(cell_len(row[index]) for row in rows)]))
    while sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        narrowable = [i for i, column in enumerate(columns) if not column.numeric and widths[i] > _NARROWEST]
        if not narrowable:
            break
        widths[max(narrowable, key=lambda i: widths[i])] -= 1
    return widths


def _row(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    wrapped = [wrap(cell, w) for cell, w in zip(cells, widths, strict=True)]
    lines = []
    for index in range(max(map(len, wrapped), default=0)):
        parts = [lines_of[index] if index < len(lines_of) else "" for lines_of in wrapped]
        lines.append(_GAP.join(pad(p, w, c.numeric) for p, w, c in zip(parts, widths, columns, strict=True)))
    return lines


def pad(text: str, width: int, right: bool = False) -> str:
    """The text filled up to a width in terminal cells (a wide character takes two)."""
    filler = " " * (width - cell_len(text))
    return filler + text if right else text + filler


def shorten(text: str, width: int) -> str:
    """The text, its end replaced by an ellipsis if it takes more than `width` cells."""
    return text if cell_len(text) <= width else _head(text, width - 1) + "…"


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` cells; only words that are longer are broken."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width:
            lines[-1] = joined
        else:
            lines += _broken(word, width)
    return lines[1:] if len(lines) > 1 and not lines[0] else lines


def _broken(word: str, width: int) -> list[str]:
    """One word in lines: in one if it fits, else broken after the signs between the parts of a name, else anywhere."""
    lines = [""]
    for piece in [word] if cell_len(word) <= width else _PIECES.findall(word):
        if lines[-1] and cell_len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
        while cell_len(lines[-1]) > width:
            head = _head(lines[-1], width)
            lines[-1:] = [head, lines[-1][len(head) :]]
    return lines


def _head(text: str, width: int) -> str:
    """As many characters as fit, at least one."""
    length = 1
    while length < len(text) and cell_len(text[: length + 1]) <= width:
        length += 1
    return text[:length]


_DRAW = {Text: _paragraph, Listing: _listing, KeyValues: _key_values, Bars: _bars, Nest: _nest, Table: _table}
_DRAW |= {Chart: _chart, Plot: _plot, Grid: _grid}
