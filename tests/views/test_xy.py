"""Plots on logarithmic scales, and what is plotted: rooflines and scaling."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import swplan
from models import gpt
from swplan.costmodel.chip import load_chip
from swplan.views.html import words
from swplan.views.parts import Dot, Plot, Trace
from swplan.views.roofline import roofline, scaling
from swplan.views.xy import HEIGHT, LEFT, RIGHT, SMALLEST, TICKS, TOP, WIDTH, plot_svg, scale, ticks
from tests.views.estimates import FITTING, ONE
from tests.views.test_html import parsed

VALUES = st.lists(st.floats(1e-9, 1e18), min_size=1, max_size=20)


@given(VALUES)
def test_a_scale_holds_its_values(values):
    made = scale(values, 10.0, 110.0)
    assert all(10.0 < made.place(value) < 110.0 for value in values)


@given(VALUES)
def test_ticks_lie_within_and_are_few(values):
    made = scale(values, 0.0, 1.0)
    found = ticks(made)
    assert len(found) <= TICKS and found == sorted(found)
    assert all(made.low <= tick <= made.high for tick in found)


@given(VALUES)
def test_a_wide_scale_has_ticks(values):
    assert len(ticks(scale([*values, min(values) * 100], 0.0, 1.0))) >= 2


def plot(values, drawn="dots", weight=0.0):
    """A plot of one trace."""
    dots = tuple(Dot(x=value, y=1 / value, label="<b>", weight=weight * value) for value in values)
    return Plot(traces=(Trace(name="a & b", dots=dots, tone="compute", drawn=drawn),), x_title="x", y_title="y")


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("values", [(), (1.0,), (1e-3, 1.0, 1e9)])
def test_dots_keep_within_the_picture(values, weight):
    text = plot_svg(plot(values, weight=weight), words)
    parsed(text)
    found = re.findall(r'<circle [^>]*cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', text)
    assert len(found) == len(values)
    for x, y, radius in found:
        assert LEFT <= float(x) <= WIDTH - RIGHT and TOP <= float(y) <= TOP + HEIGHT
        assert float(radius) >= SMALLEST


@pytest.mark.parametrize(("drawn", "circles", "lines"), [("dots", 2, 0), ("line", 0, 1), ("both", 2, 1)])
def test_how_a_trace_is_drawn(drawn, circles, lines):
    text = plot_svg(plot((1.0, 2.0), drawn), words)
    assert (text.count("<circle"), text.count("<polyline")) == (circles, lines)


def test_heavier_dots_are_larger_and_behind():
    text = plot_svg(plot((1.0, 4.0), weight=1.0), words)
    first, second = map(float, re.findall(r'r="([\d.]+)"', text))
    assert first > second > SMALLEST


def height(roof, x):
    """What a roof allows at an intensity."""
    left, ridge, right = roof.dots
    assert left.x <= x * (1 + 1e-12) and x <= right.x * (1 + 1e-12)
    return min(ridge.y, x * ridge.y / ridge.x)


@pytest.mark.parametrize("spec", ["a100-80g-sxm:gpus=8", "sw26010pro:nodes=8"])
def test_no_op_is_above_the_roofs(spec):
    step, args = gpt.tiny(only_shapes=True)
    made = swplan.estimate(step, *args, cluster=spec, strategy="mesh=data:8")
    *roofs, forward, backward, optimizer = roofline(made, load_chip(spec.partition(":")[0])).traces
    assert [trace.name for trace in (forward, backward, optimizer)] == ["forward", "backward", "optimizer"]
    for dot in (*forward.dots, *backward.dots, *optimizer.dots):
        assert dot.y <= max(height(roof, dot.x) for roof in roofs) * (1 + 1e-12)


def test_an_op_says_where_it_stands():
    *_, backward = roofline(FITTING, load_chip("a100-80g-sxm")).traces
    (op,) = backward.dots
    assert op.label == "dot_general gpt.py:57 (FeedForward.__call__) and 2 more, 900 ms, limited by compute"


def test_a_roofline_says_what_it_leaves_out():
    assert "not drawn: 10 % of the time of all" in roofline(FITTING, load_chip("a100-80g-sxm")).caption


def test_a_roofline_without_ops_is_that_of_the_chip():
    made = roofline(ONE, load_chip("a100-80g-sxm"))
    assert [trace.drawn for trace in made.traces] == ["line", "line"]
    parsed(plot_svg(made, words))


def test_scaling_starts_at_the_smallest_run():
    perfect, predicted, measured = scaling([10, 40], [1.0, 3.0], [2.0, 6.0], unit="flop/s").traces
    assert [dot.y for dot in perfect.dots] == [2.0, 8.0]
    assert [(dot.x, dot.y) for dot in predicted.dots] == [(10, 2.0), (40, 6.0)]
    assert [dot.y for dot in measured.dots] == [1.0, 3.0]
