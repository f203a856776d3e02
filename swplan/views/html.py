"""Parts as HTML: a fragment for notebooks, a page for files. No script, no network, every string escaped."""

from __future__ import annotations

from html import escape

from swplan.plan import Plan
from swplan.views.drawing import nest_svg
from swplan.views.parts import (
    Bar,
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
from swplan.views.plots import chart_svg, grid_table
from swplan.views.report import plan_parts
from swplan.views.style import STYLE
from swplan.views.text import part_text, plan_text
from swplan.views.xy import plot_svg

TOP = 100
_FOLD_ROWS = 12


def plan_html(plan: Plan) -> str:
    """The plan as a fragment for a notebook; its plain text if it cannot be drawn."""
    try:
        return fragment(plan_parts(plan, top=TOP))
    except Exception:  # A failing view never breaks a notebook; what is wrong shows up in the tests of the views.
        return f"<pre>{escape(plan_text(plan))}</pre>"


def part_html(part: Part) -> str:
    """Any part as a fragment for a notebook; its plain text if it cannot be drawn."""
    try:
        return fragment(part)
    except Exception:
        return f"<pre>{escape(part_text(part))}</pre>"


def page_html(plan: Plan) -> str:
    """The plan as a whole page."""
    return page(plan_parts(plan, top=TOP), title=f"Plan of {plan.step}")


def fragment(part: Part) -> str:
    """A part with the style that it needs."""
    return f'<div class="swplan"><style>{STYLE}</style>{_draw(part, 0)}</div>'


def page(part: Part, *, title: str) -> str:
    """A part as a whole page."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{words(title)}</title></head>"
        f'<body class="swplan-page">{fragment(part)}</body></html>\n'
    )


def words(text: str) -> str:
    """Any text, safe inside an element or a quoted attribute."""
    return escape(clean(text), quote=True)


def _draw(part: Part, depth: int) -> str:
    if isinstance(part, Section):
        return _section(part, depth)
    return _DRAW[type(part)](part)


def _section(section: Section, depth: int) -> str:
    heading = f"h{min(depth + 2, 5)}"
    content = "".join(_draw(part, depth + 1) for part in section.parts)
    title = f"<{heading}>{words(section.title)}</{heading}>"
    if section.folded:
        return f"<details><summary>{title}</summary>{content}</details>"
    return f"<section>{title}{content}</section>"


def _paragraph(part: Text) -> str:
    return f"<p>{words(part.text)}</p>"


def _listing(part: Listing) -> str:
    return "<ul>" + "".join(f"<li>{words(item)}</li>" for item in part.items) + "</ul>"


def _key_values(part: KeyValues) -> str:
    rows = "".join(f"<dt>{words(key)}</dt><dd>{words(value)}</dd>" for key, value in part.rows)
    return f"<dl>{rows}</dl>"


def _table(part: Table) -> str:
    notes = part.notes or ("",) * len(part.rows)
    rows = [_row(row, part.columns, note) for row, note in zip(part.rows, notes, strict=True)]
    heading = "".join(_cell("th", column.title, column) for column in part.columns)
    caption = f'<p class="note">{words(part.caption)}</p>' if part.caption else ""
    table = f"<thead><tr>{heading}</tr></thead><tbody>{''.join(rows[:_FOLD_ROWS])}</tbody>"
    shown = f'<div class="scroll"><table>{table}</table></div>'
    return shown + _more(rows[_FOLD_ROWS:], heading) + caption


def _more(rows: list[str], heading: str) -> str:
    """The rest of a long table, closed at first."""
    if not rows:
        return ""
    table = f"<table><thead><tr>{heading}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<details><summary>{len(rows)} more rows</summary><div class="scroll">{table}</div></details>'


def _row(cells: tuple[str, ...], columns: tuple[Column, ...], note: str) -> str:
    row = "".join(_cell("td", cell, column) for cell, column in zip(cells, columns, strict=True))
    if not note:
        return f"<tr>{row}</tr>"
    return f'<tr class="noted">{row}</tr><tr class="why"><td colspan="{len(columns)}">{words(note)}</td></tr>'


def _cell(tag: str, text: str, column: Column) -> str:
    kind = ' class="number"' if column.numeric else ""
    return f"<{tag}{kind}>{words(text)}</{tag}>"


def _bars(part: Bars) -> str:
    full = max([part.full, *(bar.value for bar in part.bars)], default=0.0)
    rows = "".join(_bar(bar, bar.value / full if full else 0.0) for bar in part.bars)
    caption = f'<p class="note">{words(part.caption)}</p>' if part.caption else ""
    return f'<div class="bars">{rows}</div>{caption}'


def _bar(bar: Bar, length: float) -> str:
    drawn = f'<div class="bar {words(bar.tone)}" style="width:{100 * length:.2f}%"></div>'
    label, value = f'<div class="label">{words(bar.label)}</div>', f'<div class="value">{words(bar.text)}</div>'
    return f'{label}<div class="track">{drawn}</div>{value}'


def _nest(part: Nest) -> str:
    return f'<div class="scroll">{nest_svg(part, words)}</div>'


def _chart(part: Chart) -> str:
    return f'<div class="scroll">{chart_svg(part, words)}</div>'


def _plot(part: Plot) -> str:
    return f'<div class="scroll">{plot_svg(part, words)}</div>'


def _grid(part: Grid) -> str:
    return grid_table(part, words)


_DRAW = {Text: _paragraph, Listing: _listing, KeyValues: _key_values, Bars: _bars, Nest: _nest, Table: _table}
_DRAW |= {Chart: _chart, Plot: _plot, Grid: _grid}
