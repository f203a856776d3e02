"""What does not fit says by how much and what would: every change that is named makes a plan."""

import pytest

import swplan
from models import mlp
from swplan.errors import InfeasibleError

STEP, ARGS = mlp.tiny_plain()


def failing(cluster, **options):
    with pytest.raises(InfeasibleError) as caught:
        swplan.plan(STEP, *ARGS, cluster=cluster, max_axes=2, **options)
    return caught.value


def test_every_change_fits():
    error = failing("sw26010pro:nodes=8,memory.bytes=120000", precision="fp32")
    assert error.over_bytes > 0 and error.largest and error.changes
    for change in error.changes:
        assert change.what in str(error)
        options = {"cluster": "sw26010pro:nodes=8,memory.bytes=120000", "precision": "fp32", **change.options}
        made = swplan.plan(STEP, *ARGS, max_axes=2, **options)
        assert made.peak_memory_bytes <= 120000 and change.peak_memory_bytes <= 120000
        assert made.certificate.cost_s <= change.step_time_s * 1.005


def test_what_was_forced_is_a_change():
    error = failing("sw26010pro:nodes=8,memory.bytes=250000", baseline="data_parallel")
    assert "no data_parallel fits" in str(error)
    assert error.changes[0].options.get("cluster") is None


def test_what_is_far_too_large_says_so():
    error = failing("sw26010pro:nodes=2,memory.bytes=1000")
    assert not error.changes and "Not even 64 times" in str(error)


def test_largest_are_named_with_their_sizes():
    name, held, whole = failing("sw26010pro:nodes=8,memory.bytes=120000").largest[0]
    assert name and 0 < held <= whole
