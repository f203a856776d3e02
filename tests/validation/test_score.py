"""Scores: their laws on figures that are made up, and the names of their JSON."""

import json
from itertools import permutations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.estimate.strategy import Strategy
from swplan.validation.case import Case, Run
from swplan.validation.score import score
from swplan.views.text import part_text
from swplan.views.validation import validation_parts

RUN = Run.of("models.mlp:tiny", {}, cluster="host:devices=1", strategy=Strategy(), tokens=1)
TIMES = st.lists(st.integers(1, 1000), min_size=3, max_size=12, unique=True)


def case(measured, *, group=None, use="check", quantity="iter_time_s", table="t"):
    return Case(table=table, id="a", use=use, quantity=quantity, measured=measured, run=RUN, group=group)


def scored(measured, predicted, **fields):
    """Scores of figures of one group, unless `fields` say other."""
    return score([case(value, **({"group": 1} | fields)) for value in measured], predicted, {}, ())


@given(TIMES)
def test_perfect_predictions(times):
    made = scored(times, times)
    (table,), (ranking,) = made.tables, made.ranking
    assert table.mean_abs_error_pct == table.max_abs_error_pct == table.check.mean_error_pct == 0
    assert (ranking.groups, ranking.top1, ranking.mean_regret_pct) == (1, 1.0, 0.0)
    assert ranking.spearman == pytest.approx(1)


@given(TIMES)
def test_reversed_predictions(times):
    (ranking,) = scored(times, [1 / time for time in times]).ranking
    assert ranking.top1 == 0 and ranking.spearman == pytest.approx(-1)
    assert ranking.mean_regret_pct == pytest.approx(100 * (max(times) / min(times) - 1))


@given(TIMES, st.floats(0.1, 10))
def test_a_common_factor_is_an_error_and_no_wrong_choice(times, factor):
    made = scored(times, [factor * time for time in times])
    assert made.tables[0].mean_abs_error_pct == pytest.approx(100 * abs(factor - 1))
    assert made.ranking[0].top1 == 1 and made.ranking[0].spearman == pytest.approx(1)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_rows_does_not_matter(order):
    measured, predicted = np.array([3.0, 1.0, 2.0]), np.array([2.0, 1.5, 1.2])
    made, other = scored(measured, predicted), scored(measured[list(order)], predicted[list(order)])
    assert made.ranking == other.ranking
    assert made.tables[0].mean_abs_error_pct == pytest.approx(other.tables[0].mean_abs_error_pct)


def test_one_alone_is_no_choice():
    assert scored([1.0], [2.0]).ranking == ()
    cases = [case(1.0, group=1), case(2.0, group=2), case(3.0, group=2), case(1.0)]
    (ranking,) = score(cases, [1.0, 2.0, 3.0, 9.0], {}, ()).ranking
    assert (ranking.groups, ranking.top1, ranking.spearman) == (1, 1.0, None)


@pytest.mark.parametrize(("measured", "predicted"), [([1.0] * 3, [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [1.0] * 3)])
def test_equal_times_have_no_order(measured, predicted):
    assert scored(measured, predicted).ranking[0].spearman is None


def test_shares_are_in_points():
    made = scored([0.2, 0.4], [0.23, 0.39], quantity="share", group=None)
    assert made.tables[0].mean_abs_error_pct == pytest.approx(2) and made.tables[0].max_abs_error_pct == pytest.approx(
        3
    )
    assert "+3.0 points" in part_text(validation_parts(made), width=100)


def test_rows_to_fit_and_to_check_are_apart():
    made = score([case(1.0, use="fit"), case(1.0), case(1.0)], [2.0, 1.1, 1.3], {}, ())
    (table,) = made.tables
    assert (table.fit.rows, table.fit.max_abs_error_pct) == (1, 100) and table.check.rows == 2
    assert table.mean_abs_error_pct == table.check.mean_abs_error_pct == pytest.approx(20)
    assert scored([1.0], [2.0], use="fit").tables[0].mean_abs_error_pct == 100


def test_the_names_of_the_json():
    data = json.loads(msgspec.json.encode(scored([1.0, 2.0], [2.0, 1.0])))
    assert {"tables", "ranking", "fitted_parameters", "left_out"} == set(data)
    assert {"name", "rows", "mean_abs_error_pct", "max_abs_error_pct"} <= set(data["tables"][0])
    assert set(data["tables"][0]["rows"][0]) == {"id", "use", "quantity", "measured", "predicted", "assumed"}
    assert {"table", "groups", "top1", "mean_regret_pct", "spearman"} <= set(data["ranking"][0])


def test_nothing_at_all_is_shown():
    made = score([], [], {}, ("a: why",))
    assert "- a: why" in part_text(validation_parts(made), width=100)
