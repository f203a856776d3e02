"""Reports on estimates, comparisons and sweeps of them: what a reader must find there."""

import msgspec
import pytest
from rich.cells import cell_len

from swplan.estimate.schedule import PARTS as STEP_PARTS
from swplan.views import estimate as view
from swplan.views.estimate import PARTS, comparison_parts, estimate_parts
from swplan.views.html import fragment
from swplan.views.parts import TONES, Chart, Grid, Table
from swplan.views.sweep import CAUSES, MOST_ROWS, Trial, sweep_json, sweep_parts
from swplan.views.text import part_text
from tests.views import plans
from tests.views.estimates import FITTING, ONE, large, slower
from tests.views.test_goldens import check
from tests.views.test_html import parsed


def trials(*keys, **values):
    """A trial as given, and one for each combination of two keys."""
    (first, second) = values.values()
    made = [Trial(settings=(), made=FITTING)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            made.append(Trial(settings=tuple(zip(values, (a, b), strict=True)), made=slower(1 + i + 3 * j)))
    return made


def kinds(section):
    """The kinds of the parts of a section."""
    return [type(part) for part in section.parts]


def test_every_part_of_a_step_has_words_and_a_tone_of_its_own():
    assert tuple(PARTS) == STEP_PARTS
    assert tuple(tone for _, tone in PARTS.values()) == TONES
    assert {tone for _, tone in CAUSES.values()} <= set(TONES)
    assert set(plans.BREAKDOWN) == set(CAUSES)


def test_text():
    check("estimate.txt", str(FITTING))


def test_one_device_has_neither_mesh_nor_exchanges():
    text = str(ONE)
    assert "on one device" in text and "None: no device needs anything" in text and "Mesh" not in text
    assert "no number of the chip is fitted" in text


def test_what_does_not_fit_is_a_warning():
    assert "A device lacks 10 GiB; most is held for activations." in str(large())
    assert "Warning" not in str(FITTING)


@pytest.mark.parametrize("made", [FITTING, ONE, large()])
def test_pages_are_well_formed(made):
    assert "svg" in parsed(fragment(estimate_parts(made))).tags or not made.mesh
    assert made._repr_html_() == fragment(estimate_parts(made))


def test_a_failing_view_shows_text(monkeypatch):
    def broken(*_):
        raise RuntimeError("swplan bug")

    monkeypatch.setattr(view, "fragment", broken)
    assert FITTING._repr_html_().startswith("<pre>Estimate of train_step")


def test_hostile_strings_stay_text():
    made = msgspec.structs.replace(FITTING, step="<script>", assumed=("\x1b[31m<b>",))
    assert "<script>" not in fragment(estimate_parts(made)) and "\x1b" not in str(made)


def test_long_tables_say_what_they_leave_out():
    assert "1 cheaper row: 100 ms in all." in part_text(estimate_parts(FITTING, top=1))


def test_comparison():
    parts = comparison_parts(FITTING, slower(0.5), changed="memory.bytes_per_s=2e12")
    text = part_text(parts)
    assert "2 s a step as given, 1 s with memory.bytes_per_s=2e12: -50.0 %." in text
    assert "2 Pflop/s" in text and "2.00x" in text
    assert "svg" in parsed(fragment(parts)).tags


def test_one_number_is_drawn_as_columns():
    made = sweep_parts(trials(a=("1", "2", "3"), b=("x",)))
    assert kinds(made) == [Chart, Table]
    assert made.parts[0].labels == ("as given", "1", "2", "3") and made.parts[0].title == "a"


def test_two_numbers_are_drawn_as_a_grid():
    made = sweep_parts(trials(a=("1", "2", "3"), b=("long", "longer")))
    assert kinds(made) == [Grid, Table]
    grid = made.parts[0]
    assert (grid.rows, grid.columns) == (("long", "longer"), ("1", "2", "3"))
    assert grid.values == ((2.0, 4.0, 6.0), (8.0, 10.0, 12.0))
    assert max(map(cell_len, part_text(made).splitlines())) <= 100


def test_what_is_too_large_is_marked():
    made = trials(a=("1", "2"), b=("x", "y"))
    made[1] = Trial(settings=made[1].settings, made=large())
    grid = sweep_parts(made).parts[0]
    assert grid.excluded == {(0, 0)}
    text = part_text(sweep_parts(made))
    assert "2 sx" in text and "4 s*" in text and "lacks 10 GiB" in text
    assert "excluded" in fragment(sweep_parts(made))
    chart = sweep_parts([made[0], made[1], made[3]]).parts[0]
    assert chart.caption == "Too large for the memory: 1."


def test_what_went_wrong_has_a_gap_and_a_reason():
    made = trials(a=("1", "2", "3"), b=("x",))
    made[2] = Trial(settings=made[2].settings, made=None, problem="has 4 devices")
    section = sweep_parts(made)
    assert section.parts[0].series[1].values == (0.5, 0.5, None, 1.5)
    assert "has 4 devices" in part_text(section)
    assert "svg" in parsed(fragment(section)).tags


def test_plans_are_drawn_as_well():
    made = [Trial(settings=(), made=plans.small()), Trial(settings=(("a", "1"),), made=plans.small())]
    made.append(Trial(settings=(("a", "2"),), made=None, problem="too large"))
    section = sweep_parts(made)
    assert kinds(section) == [Chart, Table]
    assert sum(series.values[1] for series in section.parts[0].series) == pytest.approx(plans.small().step_time_s)
    assert [set(row) for row in msgspec.json.decode(sweep_json(made))] == [{"settings", "plan", "problem"}] * 3


def test_of_many_the_fastest_are_listed_and_all_are_kept():
    made = trials(a=tuple(map(str, range(1000))), b=("x",))
    section = sweep_parts(made)
    assert len(section.parts[1].rows) == MOST_ROWS and section.parts[1].caption == "The 199 fastest of 1,000."
    assert len(section.parts[0].labels) <= 130
    rows = msgspec.json.decode(sweep_json(made))
    assert len(rows) == 1001 and rows[5]["estimate"]["step_time_s"] == 10.0
