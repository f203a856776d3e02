"""Differences: none between a plan and itself, all of them between others."""

import json

import pytest

from swplan.views.diff import diff_parts, difference
from swplan.views.text import part_text
from tests.views import plans
from tests.views.builders import collective
from tests.views.test_goldens import check

CHANGED = plans.small(
    cluster="sw26010pro:nodes=16",
    devices=16,
    step_time_s=3.1e-3,
    breakdown=plans.BREAKDOWN | {"backward_comm": 0.2e-3, "forward": 0.0, "local_resharding": 1e-6},
    exchanges=(
        collective("all_reduce", ("data",), "gradient float32[1024,4096]", bytes=4 << 20, time_s=2e-4),
        collective("all_gather", ("data",), "weights/w1"),
    ),
    inputs=plans.BATCH,
)


@pytest.mark.parametrize("name", plans.ALL)
def test_a_plan_does_not_differ_from_itself(name):
    found = difference(plans.ALL[name](), plans.ALL[name]())
    assert found.equal and not found.shardings and not found.exchanges
    assert "equal" in part_text(diff_parts(found.before, found.after))


def test_text():
    check("diff.txt", part_text(diff_parts(plans.small(), CHANGED)))


def test_layers_are_folded():
    check("diff_deep.txt", part_text(diff_parts(plans.deep(), plans.deep(90))))


def test_both_directions_find_the_same():
    there, back = difference(plans.small(), CHANGED), difference(CHANGED, plans.small())
    assert len(there.exchanges) == len(back.exchanges) == 3
    assert len(there.shardings) == len(back.shardings) == 2


def test_json():
    found = json.loads(difference(plans.small(), CHANGED).to_json())
    assert found["step_time_s"] == [5.2e-3, 3.1e-3] and found["equal"] is False
    assert {len(found["shardings"]), len(found["exchanges"])} == {2, 3}
