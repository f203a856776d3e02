"""Charts and grids of times, drawn: a chart as inline SVG with the colours of the style sheet, a grid as a table.

Columns share an axis of seconds that starts at zero; the cells of a grid are the darker the longer they take, on a
logarithmic scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from swplan.views import units
from swplan.views.parts import Chart, Grid

WIDTH, HEIGHT, LEFT, TOP, RIGHT = 860, 260, 76, 26, 12
WIDEST, NARROWEST, GAP = 96, 320, 0.28
LETTER, LINE, SLANT = 7.2, 20, 35
LONGEST = 34
STEPS = (1, 2, 2.5, 5, 10)
TICKS = 5

Words = Callable[[str], str]


def chart_svg(chart: Chart, words: Words) -> str:
    """The chart as SVG.

    Args:
        chart: what to draw.
        words: escapes a text.
    """
    totals = column_totals(chart)
    ticks = ticks_to(max((total for total in totals if total is not None), default=0.0))
    pitch = min(WIDEST, (WIDTH - LEFT - RIGHT) / max(1, len(totals)))
    right = LEFT + max(NARROWEST, pitch * len(totals))
    rise = HEIGHT / (ticks[-1] or 1.0)
    columns = [_column(chart, at, LEFT + pitch * at, pitch, rise, words) for at in range(len(totals))]
    labels, below = _labels(chart.labels, pitch, words)
    height = TOP + HEIGHT + below + LINE
    title = _text(LEFT, height - 5, chart.title, "note", words)
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    label = words(f"step time by {chart.title}: {', '.join(map(_total_text, zip(chart.labels, totals, strict=True)))}")
    drawn = "".join([*_lines(ticks, rise, right, words), *columns, *labels, title])
    return f'<svg class="chart" {size} role="img" aria-label="{label}">{drawn}</svg>{_legend(chart, words)}'


def column_totals(chart: Chart) -> list[float | None]:
    """Seconds of each column; None where there is none."""
    found: list[float | None] = []
    for at in range(len(chart.labels)):
        own = [series.values[at] for series in chart.series]
        found.append(None if not own or None in own else sum(own))
    return found


def ticks_to(most: float) -> tuple[float, ...]:
    """Round numbers from zero to at least `most`, about `TICKS` of them."""
    if most <= 0:
        return (0.0,)
    rough = most / TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * s for s in STEPS if unit * s >= rough * (1 - 1e-9))
    return tuple(step * i for i in range(math.ceil(most / step - 1e-9) + 1))


def _total_text(column: tuple[str, float | None]) -> str:
    return f"{column[0]} {units.duration(column[1])}"


def _lines(ticks: Sequence[float], rise: float, right: float, words: Words) -> list[str]:
    found = []
    for tick in ticks:
        y = TOP + HEIGHT - tick * rise
        found.append(f'<line x1="{LEFT}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        found.append(_text(LEFT - 8, y + 4, units.duration(tick), "tick", words, "end"))
    return found


def _column(chart: Chart, at: int, left: float, pitch: float, rise: float, words: Words) -> str:
    """The layers of one column, the first at the bottom, and its total above."""
    width, base, drawn = pitch * (1 - GAP), float(TOP + HEIGHT), []
    for series in chart.series:
        seconds = series.values[at]
        if seconds:
            base -= seconds * rise
            hint = f"{chart.labels[at]}: {series.name} {units.duration(seconds)}"
            size = f'x="{left + pitch * GAP / 2:.1f}" y="{base:.1f}" width="{width:.1f}" height="{seconds * rise:.1f}"'
            drawn.append(f'<g><title>{words(hint)}</title><rect class="{words(series.tone)}" {size}/></g>')
    total = column_totals(chart)[at] if pitch >= 44 else None
    if total is not None:
        drawn.append(_text(left + pitch / 2, base - 6, units.duration(total), "tick", words, "middle"))
    return "".join(drawn)


def _labels(labels: Sequence[str], pitch: float, words: Words) -> tuple[list[str], int]:
    """Names of the columns and the height that they take: upright where they fit, else slanted, some left out."""
    short = [label if len(label) <= LONGEST else "…" + label[1 - LONGEST :] for label in labels]
    longest = max(map(len, short), default=0) * LETTER
    top = TOP + HEIGHT + 16
    if longest <= pitch:
        places = enumerate(short)
        return [_text(LEFT + pitch * (i + 0.5), top, t, "tick", words, "middle") for i, t in places], LINE
    every = math.ceil(LINE / pitch)
    found = []
    for i in range(0, len(short), every):
        x = LEFT + pitch * (i + 0.5) + 4
        turned = f'<g transform="rotate(-{SLANT} {x:.1f} {top})">{_text(x, top, short[i], "tick", words, "end")}</g>'
        found.append(turned)
    return found, round(LINE + longest * math.sin(math.radians(SLANT)))


def _legend(chart: Chart, words: Words) -> str:
    shown = [series for series in chart.series if any(series.values)]
    items = (f'<span><i class="{words(series.tone)}"></i>{words(series.name)}</span>' for series in shown)
    caption = f'<p class="note">{words(chart.caption)}</p>' if chart.caption else ""
    return f'<div class="legend">{"".join(items)}</div>{caption}'


def _text(x: float, y: float, text: str, kind: str, words: Words, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words(text)}</text>'


def grid_table(grid: Grid, words: Words) -> str:
    """The grid as a table with coloured cells; the shortest time is marked.

    Args:
        grid: what to draw.
        words: escapes a text.
    """
    least, most = extremes(grid)
    heading = "".join(f'<th class="number">{words(column)}</th>' for column in grid.columns)
    corner = f"<th>{words(grid.row_title)} \\ {words(grid.column_title)}</th>"
    rows = []
    for at, (name, values) in enumerate(zip(grid.rows, grid.values, strict=True)):
        cells = "".join(
            _cell(value, least, most, excluded=(at, column) in grid.excluded) for column, value in enumerate(values)
        )
        rows.append(f"<tr><th>{words(name)}</th>{cells}</tr>")
    table = f'<table class="grid"><thead><tr>{corner}{heading}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    caption = f'<p class="note">{words(grid.caption)}</p>' if grid.caption else ""
    return f'<div class="scroll">{table}</div>{caption}'


def extremes(grid: Grid) -> tuple[float, float]:
    """The shortest and the longest time of a grid, without those excluded; ones if it has none."""
    cells = ((row, column, v) for row, values in enumerate(grid.values) for column, v in enumerate(values))
    found = [value for row, column, value in cells if value and (row, column) not in grid.excluded]
    return (min(found), max(found)) if found else (1.0, 1.0)


def _cell(value: float | None, least: float, most: float, *, excluded: bool) -> str:
    if value is None:
        return f'<td class="number">{units.NOTHING}</td>'
    if excluded:
        return f'<td class="number excluded">{units.duration(value)}</td>'
    depth = math.log(value / least) / math.log(most / least) if most > least and value else 0.0
    kind = "number best" if value == least else "number"
    return f'<td class="{kind}" style="--heat:{60 * depth:.0f}%">{units.duration(value)}</td>'
