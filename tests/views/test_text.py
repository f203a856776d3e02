"""Text: within its columns, aligned, nothing lost, nothing that a terminal would obey."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from swplan.plan import PlannedPin, Precision
from swplan.views.parts import (
    Bar,
    Bars,
    Chart,
    Column,
    Dot,
    Grid,
    KeyValues,
    Listing,
    MeshAxis,
    Nest,
    Part,
    Plot,
    Section,
    Series,
    Table,
    Text,
    Trace,
    clean,
)
from swplan.views.text import part_text, plan_text, shorten, wrap
from tests.views import plans

PARTS = {
    Text: Text(text="words"),
    Listing: Listing(items=("one", "two")),
    KeyValues: KeyValues(rows=(("key", "value"),)),
    Table: Table(columns=(Column(title="a"), Column(title="b", numeric=True)), rows=(("x", "1"),), caption="c"),
    Bars: Bars(bars=(Bar(label="a", value=1.0, text="1 s"), Bar(label="b", value=0.0, text="0 s"))),
    Chart: Chart(
        labels=("a", "b", "c"),
        series=(
            Series(name="forward", tone="compute", values=(1.0, 2.0, None)),
            Series(name="bubble", tone="idle", values=(3.0, 0.0, None)),
        ),
        title="key",
    ),
    Plot: Plot(
        traces=(
            Trace(name="roof", dots=(Dot(x=1.0, y=2e9), Dot(x=300.0, y=6e11)), tone="idle", drawn="line"),
            Trace(name="ops", dots=(Dot(x=20.0, y=3e10, label="add", weight=2.0),), tone="compute"),
        ),
        x_title="intensity",
        y_title="rate",
        x_unit="flop/B",
        y_unit="flop/s",
        caption="note",
    ),
    Grid: Grid(
        rows=("a", "b"),
        columns=("x", "y"),
        values=((1.0, 2.0), (None, 0.5)),
        row_title="down",
        column_title="over",
        excluded=frozenset({(1, 1)}),
    ),
    Nest: Nest(levels=(("machine", (MeshAxis(name="data", size=4),)), ("node", ())), core="device"),
    Section: Section(title="title", parts=(Text(text="words"),)),
}


def test_every_kind_of_part_has_an_example():
    assert set(PARTS) == set(Part.__args__)


@pytest.mark.parametrize("part", PARTS.values(), ids=lambda part: type(part).__name__)
def test_every_kind_of_part_is_drawn(part):
    assert part_text(part).strip()


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("name", ["small", "deep", "bare"])
def test_plans_keep_within_the_columns(name, width):
    text = plan_text(plans.ALL[name](), width=width)
    assert max(map(cell_len, text.splitlines())) <= width


def test_hostile_text_keeps_within_the_columns_and_is_harmless():
    text = plan_text(plans.hostile())
    assert max(map(cell_len, text.splitlines())) <= 100
    assert all(line.isprintable() for line in text.splitlines())
    assert "\\x1b[31m" in text


@given(st.text(max_size=80), st.integers(2, 30))
def test_wrapping_loses_nothing_but_spaces(text, width):
    shown = clean(text)
    lines = wrap(shown, width)
    assert "".join("".join(lines).split()) == "".join(shown.split())
    assert all(cell_len(line) <= width for line in lines)


@given(st.text(max_size=40), st.integers(2, 30))
def test_shortened_text_fits(text, width):
    assert cell_len(shorten(clean(text), width)) <= width


def test_numbers_are_aligned_at_the_right():
    table = Table(columns=(Column(title="n", numeric=True), Column(title="t")), rows=(("1", "a"), ("100", "b")))
    assert part_text(table).splitlines()[2:] == ["  1  a", "100  b"]


def test_equal_layers_are_folded():
    text = plan_text(plans.deep())
    assert "{0..95}/attention/qkv" in text
    assert "layer_17" not in text


def test_long_tables_say_what_they_leave_out():
    text = plan_text(plans.deep())
    assert "cheaper rows" in text


def test_a_column_is_as_long_as_its_layers():
    a, b, c, legend = part_text(PARTS[Chart]).splitlines()[1:]
    assert a.split() == ["a", "█" * 8 + "-" * 24, "4", "s"]
    assert b.split() == ["b", "█" * 16, "2", "s"]
    assert c.split() == ["c", "-"]
    assert legend == "█ forward - bubble"


def test_the_shortest_time_of_a_grid_has_a_star_unless_excluded():
    lines = part_text(PARTS[Grid]).splitlines()
    assert [line.split() for line in lines[2:4]] == [["a", "1", "s*", "2", "s"], ["b", "-", "500", "msx"]]


def test_a_plot_is_a_table_of_its_points():
    lines = part_text(PARTS[Plot]).splitlines()
    assert lines[-2].split() == ["add", "20", "flop/B", "30", "Gflop/s", "ops"]
    assert lines[-1] == "note"


def pinned(*prices):
    """A plan with pins of these prices."""
    pins = tuple(
        PlannedPin(
            tensor=f"params/{number}",
            spec=(("model", "data"), (), None),
            axes=(("model", ("m1", "m2")), ("data", ())),
            source="/home/ada/models/mlp.py:31 (loss)",
            price_s=price,
        )
        for number, price in enumerate(prices)
    )
    return plans.small(pins=pins)


def test_pins_are_shown_as_they_were_written_with_what_they_cost_the_dearest_first():
    text = plan_text(pinned(1e-6, 2e-3))
    lines = text[text.index("\nPins\n") :].splitlines()
    rows = [line for line in lines if line.startswith("params/")]
    assert [row.split()[0] for row in rows] == ["params/1", "params/0"]
    assert "(model+data, None, ...)" in rows[0] and "model: m1 x m2; data: none" in rows[0] and "2 ms" in rows[0]
    assert "mlp.py:31 (loss)" in rows[0]
    assert "3 cheaper pins." in plan_text(pinned(*[1e-6] * 15))
    assert "\nPins\n" not in plan_text(plans.small())


def test_layers_of_another_precision_than_their_class_are_named_and_many_are_counted():
    layers = {f"dense in net/layer_{n:02}": "fp32" for n in range(12)} | {"attention in net/head": "bf16"}
    precision = Precision(policy="by layer", classes={"dense": "bf16"}, loss_scaling=False, why="", layers=layers)
    text = " ".join(plan_text(plans.small(precision=precision)).split())
    assert "bf16 in attention in net/head" in text
    assert "dense in net/layer_07, 4 more" in text and "layer_08" not in text
