"""The frontier of time against memory: it falls from point to point, the plan is on it, nothing on it is beaten."""

import json

import pytest

import swplan
from models import mlp
from swplan.plan import Trade
from swplan.views.frontier import frontier, own
from tests.views import plans


@pytest.fixture(scope="module")
def plan():
    step, args = mlp.tiny_plain()
    return swplan.plan(step, *args, cluster="sw26010pro:nodes=8", max_axes=2)


def check(found):
    for a in found:
        beaten = [b for b in found if b.step_time_s < a.step_time_s and b.peak_memory_bytes <= a.peak_memory_bytes]
        assert not beaten
    times = [point.step_time_s for point in found]
    sizes = [point.peak_memory_bytes for point in found]
    assert times == sorted(times) and sizes == sorted(set(sizes), reverse=True)
    assert (own(found.plan) in found.points) != found.dominated


def test_laws(plan):
    found = plan.frontier()
    check(found)
    assert len(found) > 1 and found.points[-1].peak_memory_bytes < plan.peak_memory_bytes


def test_a_plan_from_a_file_has_what_its_search_met(plan):
    loaded = swplan.Plan.from_json(plan.to_json())
    check(loaded.frontier())
    assert own(plan) in loaded.frontier().points


def trade(seconds, size):
    return Trade(step_time_s=seconds, peak_memory_bytes=size, mesh=(8,), micro_batches=2, recompute="everything")


@pytest.mark.parametrize(
    ("others", "points", "dominated"),
    [
        ([], 1, False),
        ([(2.0, 5)], 2, False),
        ([(2.0, 5), (3.0, 5), (3.0, 4)], 3, False),
        ([(5.2e-3, 7)], 2, False),
        ([(1e-3, 7)], 1, True),
        ([(1.0, 3 * 2**30)], 1, False),
    ],
)
def test_what_is_beaten_is_left_out(others, points, dominated):
    found = frontier(plans.small(), [trade(*pair) for pair in others])
    check(found)
    assert (len(found), found.dominated) == (points, dominated)
    assert str(found) and "<svg" in found._repr_html_()
    assert len(json.loads(found.to_json())["points"]) == points
