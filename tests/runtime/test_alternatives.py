"""Classics beside a plan: finished programs, but for what is far from the best of a large program."""

import pytest

from benchmarks.models import as_planned, build
from swplan.costmodel import Cluster
from swplan.runtime import alternatives
from swplan.runtime.alternatives import FAR, beside
from swplan.search.classics import CLASSICS
from swplan.search.subject import subject


@pytest.fixture(scope="module")
def prepared():
    """A small model on a cluster on which it fits any way."""
    step, args = build("models.mlp:tiny")
    cluster = Cluster.parse("h100-sxm:gpus=8")
    return subject(as_planned(step, args, cluster).graph, cluster)


@pytest.mark.parametrize("kind", CLASSICS)
def test_what_is_far_from_the_best_of_a_large_program_is_not_finished(prepared, kind, monkeypatch):
    finished, found = beside(prepared, kind, 0.0)
    assert found is not None and finished.breakdown
    monkeypatch.setattr(alternatives, "SMALL", 0)
    near, found = beside(prepared, kind, finished.step_time_s)
    assert found is not None and near == finished
    far, found = beside(prepared, kind, finished.step_time_s / (2 * FAR))
    assert found is None and not far.breakdown and far.excluded.endswith("an estimate")
    assert finished.step_time_s <= far.step_time_s * (1 + 1e-9) and far.mesh == finished.mesh
