"""Plots, drawn: one quantity against another on logarithmic scales, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swplan.views import units
from swplan.views.parts import Dot, Plot, Trace

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 860, 360, 92, 14, 24, 46
SMALLEST, LARGEST = 3.5, 18.0
MARGIN = 0.04
TICKS = 9

Words = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Scale:
    """A logarithmic scale from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where a value is drawn."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)


def scale(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale that holds values with a margin on both sides."""
    low, high = (min(values), max(values)) if values else (1.0, 10.0)
    margin = max(high / low, 2.0) ** MARGIN
    return Scale(low / margin, high * margin, start, end)


def ticks(within: Scale) -> list[float]:
    """Round numbers within a scale: 1 to 9 times powers of ten, or fewer of them where those are too many."""
    decades = range(math.floor(math.log10(within.low)), math.ceil(math.log10(within.high)) + 1)
    for steps in (range(1, 10), (1, 2, 5), (1, 3), (1,)):
        found = [s * 10.0**d for d in decades for s in steps if within.low <= s * 10.0**d <= within.high]
        if len(found) <= TICKS:
            return found
    return found[:: math.ceil(len(found) / TICKS)]


def plot_svg(plot: Plot, words: Words) -> str:
    """The plot as SVG; the heaviest dots come first, so that none hides another.

    Args:
        plot: what to draw.
        words: escapes a text.
    """
    dots = [dot for trace in plot.traces for dot in trace.dots]
    across = scale([dot.x for dot in dots], LEFT, WIDTH - RIGHT)
    up = scale([dot.y for dot in dots], TOP + HEIGHT, TOP)
    heaviest = max((dot.weight for dot in dots), default=0.0)
    lines = [_line(trace, across, up, words) for trace in plot.traces if trace.drawn != "dots"]
    marks = [(dot, trace) for trace in plot.traces if trace.drawn != "line" for dot in trace.dots]
    circles = [
        _circle(dot, trace, plot, (across.place(dot.x), up.place(dot.y), _radius(dot, heaviest)), words)
        for dot, trace in sorted(marks, key=lambda mark: -mark[0].weight)
    ]
    height = TOP + HEIGHT + BOTTOM
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    label = words(f"{plot.y_title} against {plot.x_title}: {', '.join(trace.name for trace in plot.traces)}")
    title = _text((LEFT + WIDTH - RIGHT) / 2, height - 4, plot.x_title, "middle", words)
    drawn = "".join([*_axes(plot, across, up, words), title, *lines, *circles])
    return f'<svg class="chart plot" {size} role="img" aria-label="{label}">{drawn}</svg>{_legend(plot, words)}'


def _axes(plot: Plot, across: Scale, up: Scale, words: Words) -> list[str]:
    found = []
    for tick in ticks(across):
        x = across.place(tick)
        found.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{TOP + HEIGHT}"/>')
        found.append(_text(x, TOP + HEIGHT + 18, units.quantity(tick, plot.x_unit), "middle", words))
    for tick in ticks(up):
        y = up.place(tick)
        found.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        found.append(_text(LEFT - 8, y + 4, units.quantity(tick, plot.y_unit), "end", words))
    return found


def _line(trace: Trace, across: Scale, up: Scale, words: Words) -> str:
    points = " ".join(f"{across.place(dot.x):.1f},{up.place(dot.y):.1f}" for dot in trace.dots)
    return f'<polyline class="{words(trace.tone)}" points="{points}"><title>{words(trace.name)}</title></polyline>'


def _radius(dot: Dot, heaviest: float) -> float:
    return SMALLEST + (LARGEST - SMALLEST) * math.sqrt(dot.weight / heaviest) if heaviest else SMALLEST + 1


def _circle(dot: Dot, trace: Trace, plot: Plot, place: tuple[float, float, float], words: Words) -> str:
    x, y, radius = place
    where, hint = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"', words(_hint(trace, dot, plot))
    return f'<circle class="{words(trace.tone)}" {where}><title>{hint}</title></circle>'


def _hint(trace: Trace, dot: Dot, plot: Plot) -> str:
    name = f"{trace.name}: {dot.label}" if dot.label else trace.name
    return f"{name}: {units.quantity(dot.y, plot.y_unit)} at {units.quantity(dot.x, plot.x_unit)}"


def _legend(plot: Plot, words: Words) -> str:
    items = (f'<span><i class="{words(trace.tone)}"></i>{words(trace.name)}</span>' for trace in plot.traces)
    caption = f'<p class="note">{words(plot.caption)}</p>' if plot.caption else ""
    return f'<div class="legend"><span>{words(plot.y_title)}:</span>{"".join(items)}</div>{caption}'


def _text(x: float, y: float, text: str, anchor: str, words: Words) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words(text)}</text>'
