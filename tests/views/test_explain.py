"""Explanations find what is meant, and say what is near where nothing is."""

import json

import pytest

from swplan.errors import UsageError
from swplan.views.explain import explain
from tests.views import plans


def test_a_tensor_with_its_exchanges_only():
    found = explain(plans.deep(), "state/params/layer_3/mlp/up")
    assert [tensor.name for tensor in found.tensors] == ["state/params/layer_3/mlp/up"]
    assert {exchange.kind for exchange in found.exchanges} == {"all_gather", "reduce_scatter"}
    assert "dim 1 over expert (250) and data (6)" in " ".join(str(found).split())


def test_a_tensor_and_the_result_that_takes_its_place():
    found = explain(plans.small(), "weights/w1")
    assert [tensor.name for tensor in found.tensors] == ["weights/w1", "out/0/w1"]
    back = explain(plans.small(), "out/0/w1")
    assert "replaces     weights/w1" in str(back)


@pytest.mark.parametrize(
    ("name", "tensors", "exchanges", "ops"),
    [
        ("dot_general", 0, 0, 1),
        ("all_reduce", 0, 2, 0),
        ("mlp.py:27", 0, 0, 2),
        ("mlp.py", 0, 2, 2),
        ("batch/", 2, 0, 0),
    ],
)
def test_names_of_other_things(name, tensors, exchanges, ops):
    found = explain(plans.small(), name)
    assert (len(found.tensors), len(found.exchanges), len(found.ops)) == (tensors, exchanges, ops)
    assert str(found) and found._repr_html_().startswith("<div")


def test_totals_are_sums():
    assert "2 runs a step, 12 MiB of buffers, 1.5 ms, 28.8 % of a step." in str(explain(plans.small(), "all_reduce"))


@pytest.mark.parametrize(("name", "near"), [("w11", "weights/w1"), ("all_redcue", "all_reduce"), ("", "batch/x")])
def test_nothing_found_lists_near_names(name, near):
    with pytest.raises(UsageError, match="has nothing called") as caught:
        explain(plans.small(), name)
    assert near in str(caught.value)


def test_nothing_found_in_a_bare_plan():
    with pytest.raises(UsageError, match="no tensors, ops or exchanges"):
        explain(plans.bare(), "x")


def test_hostile_names():
    found = explain(plans.hostile(), plans.HOSTILE)
    assert "<script" not in found._repr_html_() and str(found)


def test_json():
    assert json.loads(explain(plans.small(), "tanh").to_json())["ops"][0]["primitive"] == "tanh"
