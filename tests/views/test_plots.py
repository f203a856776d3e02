"""Charts and grids: axes that hold what is drawn, and nothing outside the picture."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.views.html import words
from swplan.views.parts import TONES, Chart, Grid, Series
from swplan.views.plots import TICKS, WIDTH, chart_svg, extremes, grid_table, ticks_to
from tests.views.test_html import parsed


@given(st.floats(1e-9, 1e9))
def test_ticks_are_round_and_reach_the_top(most):
    ticks = ticks_to(most)
    assert ticks[0] == 0 and ticks[-2] < most <= ticks[-1] * (1 + 1e-9)
    assert len(ticks) <= TICKS + 2


def test_nothing_has_one_tick():
    assert ticks_to(0.0) == (0.0,)


def chart(columns, length=3):
    """A chart of two series."""
    series = (
        Series(name="a", tone="compute", values=tuple(1.0 + i for i in range(columns))),
        Series(name="b", tone="exchange", values=(0.5,) * columns),
    )
    return Chart(labels=tuple(f"{i}".zfill(length) for i in range(columns)), series=series, title="key")


@pytest.mark.parametrize("columns", [1, 2, 8, 60, 120])
@pytest.mark.parametrize("length", [1, 12, 80])
def test_columns_keep_within_the_picture(columns, length):
    text = chart_svg(chart(columns, length), words)
    parsed(text)
    height = float(re.search(r'<svg[^>]* height="(\d+)"', text)[1])
    for x, y, width, tall in re.findall(
        r'<rect [^>]*x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', text
    ):
        assert float(x) >= 0 and float(x) + float(width) <= WIDTH
        assert float(y) >= 0 and float(y) + float(tall) <= height
    assert text.count("<rect") == 2 * columns


def test_a_chart_without_times_is_drawn():
    empty = Chart(labels=("a",), series=(Series(name="a", tone="compute", values=(None,)),), title="key")
    assert "<rect" not in chart_svg(empty, words)


def test_every_tone_has_a_colour():
    from swplan.views.style import STYLE

    assert [tone for tone in TONES if f".swplan .{tone}{{--own" not in STYLE] == []


def test_the_shortest_time_stands_out():
    grid = Grid(
        rows=("a",), columns=("x", "y", "z"), values=((3.0, 2.0, 1.0),), row_title="r", column_title="c",
        excluded=frozenset({(0, 2)}),
    )  # fmt: skip
    assert extremes(grid) == (2.0, 3.0)
    text = grid_table(grid, words)
    assert 'best" style="--heat:0%">2 s' in text and '--heat:60%">3 s' in text and 'excluded">1 s' in text
