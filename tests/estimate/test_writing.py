"""Estimates written down: details that add up, what was assumed, and files."""

import msgspec
import pytest

from swplan.costmodel.cluster import Cluster
from swplan.errors import PlanFileError
from swplan.estimate.estimating import product_flops
from swplan.estimate.result import Estimate
from swplan.estimate.schedule import PARTS
from swplan.estimate.strategy import Strategy
from swplan.estimate.writing import Priced, dominant_precision
from swplan.ir.graph import walk
from tests.estimate.programs import estimator, graph_of

CHIP = "a100-80g-sxm"


def priced(program):
    """A program ready to be priced."""
    graph = graph_of(program)
    flops, precision = product_flops(graph), dominant_precision(graph)
    return Priced(name="step", estimator=estimator(program, CHIP), flops=flops, precision=precision)


def detailed(program, text, cluster=None):
    """The estimate of one strategy."""
    return priced(program).detailed(Strategy.parse(text), cluster or estimator(program, CHIP).cluster)


@pytest.mark.parametrize("program", ["gpt", "moe", "mlp"])
@pytest.mark.parametrize("text", ["mesh=data:8", "mesh=data:8 zero=3", "mesh=model:2/data:4", "mesh=data:4/expert:2"])
def test_details_are_the_step(program, text):
    found = detailed(program, text)
    parts = (*found.ops, *found.collectives)
    assert sum(part.time_s for part in parts) == pytest.approx(found.step_time_s, rel=1e-9)
    assert list(found.breakdown) == list(PARTS) and sum(found.breakdown.values()) == pytest.approx(found.step_time_s)


@pytest.mark.parametrize(
    "text", ["mesh=data:2/pipe:4 micro_batches=4", "mesh=data:4/pipe:2 micro_batches=2 interleave=2"]
)
def test_details_of_a_stage_are_the_step_without_its_bubble(text):
    found = detailed("gpt", text)
    parts = sum(part.time_s for part in (*found.ops, *found.collectives))
    assert parts == pytest.approx(found.step_time_s - found.breakdown["bubble"], rel=0.01)
    assert {"permute"} == {e.kind for e in found.collectives if e.axes == ("pipe",)}


def test_all_work_is_done_by_someone():
    """The products of one device, times the devices that share them, are those of the program."""
    found = detailed("gpt", "mesh=data:8")
    products = sum(op.flops for op in found.ops if op.primitive == "dot_general")
    assert products * found.devices == pytest.approx(product_flops(graph_of("gpt")))


def test_flops_do_not_count_what_is_made_again():
    found, again = (detailed("gpt", f"mesh=data:8 recompute={what}") for what in ("none", "full"))
    assert again.flops_per_s * again.step_time_s == pytest.approx(found.flops_per_s * found.step_time_s)
    assert sum(op.flops for op in again.ops) > 1.1 * sum(op.flops for op in found.ops)


def test_work_of_slots_that_are_not_there_is_not_counted():
    half, whole = (detailed("moe", f"mesh=data:8 capacity={capacity}") for capacity in (0.5, 1.0))
    traced = detailed("moe", "mesh=data:8")
    flops = [made.flops_per_s * made.step_time_s for made in (half, whole, traced)]
    assert flops[0] < flops[1] < flops[2]
    slots = 2 * (flops[1] - flops[0])
    assert flops[2] - flops[1] == pytest.approx(0.25 * slots)


def test_a_step_of_more_examples_does_more():
    one, two = (detailed("gpt", f"mesh=data:8 global_batch={n}") for n in (8, 16))
    assert two.flops_per_s * two.step_time_s == pytest.approx(2 * one.flops_per_s * one.step_time_s)


def test_the_share_of_the_peak_is_of_all_devices():
    found = detailed("gpt", "mesh=data:8")
    peak = estimator("gpt", CHIP).cluster.chip.flops_per_s["fp32"] * 8
    assert found.precision == "fp32" and found.share_of_peak == pytest.approx(found.flops_per_s / peak)


def test_many_strategies_are_those_of_each():
    texts = ("mesh=data:8", "mesh=model:2/data:4", "mesh=data:8 zero=1", "mesh=model:4/data:2")
    cluster = estimator("gpt", CHIP).cluster
    together = priced("gpt").estimates([Strategy.parse(text) for text in texts], cluster)
    for text, found in zip(texts, together, strict=True):
        alone = detailed("gpt", text)
        assert (found.strategy, found.step_time_s, found.memory) == (text, alone.step_time_s, alone.memory)
        assert not found.ops and alone.ops


def test_ops_say_where_they_stand_and_what_binds_them():
    found = detailed("gpt", "mesh=data:8")
    lines = {op.source.partition(" and ")[0] for op in found.ops if op.source}
    assert lines <= {op.source for op, _ in walk(graph_of("gpt").top)}
    assert {op.binding for op in found.ops} <= {"compute", "memory", "overhead"}


def test_exchanges_say_which_tiers_they_cross():
    found = detailed("gpt", "mesh=model:4/data:2")
    assert {e.tiers for e in found.collectives if e.axes == ("model",)} == {("node",)}
    assert {e.tiers for e in found.collectives if e.axes == ("data",)} == {("fabric",)}
    assert [(axis.name, axis.tiers) for axis in found.mesh] == [("model", ("node",)), ("data", ("fabric",))]


@pytest.mark.parametrize(
    ("text", "assumed"),
    [
        ("mesh=model:3/data:2", "priced as if model:3 divided"),
        ("mesh=data:8 global_batch=24", "a step has 24 examples"),
        ("mesh=data:2/pipe:3 micro_batches=2", "of 4 layers, the fullest of 3 pipeline stages holds 2"),
        ("mesh=data:2 micro_batches=8", "data:2 (the batch in 16 parts, 8 micro-batches) divided 8"),
    ],
)
def test_what_is_assumed_is_said(text, assumed):
    detailed("gpt", "mesh=model:2/data:4")
    cluster = estimator("gpt", CHIP).cluster.replace({"gpus": Strategy.parse(text).devices})
    assert assumed in "\n".join(detailed("gpt", text, cluster).assumed)


def test_what_divides_evenly_is_not_mentioned():
    assert "priced as if" not in "\n".join(detailed("gpt", "mesh=model:2/data:4").assumed)


def test_decisions_of_another_cluster_are_mentioned():
    other = estimator("gpt", CHIP).cluster.replace({"memory.bytes_per_s": 2e12})
    assert "decided by the prices of a100" in "\n".join(detailed("gpt", "mesh=data:8", other).assumed)


def test_fitted_numbers_are_named():
    cluster = Cluster.parse("a100-80g-sxm:gpus=8")
    assert detailed("gpt", "mesh=data:8", cluster).fitted_parameters == cluster.chip.fitted


def test_files(tmp_path):
    found = detailed("gpt", "mesh=data:8")
    found.save(tmp_path / "a.json")
    assert Estimate.load(tmp_path / "a.json") == found
    assert set(msgspec.json.decode(found.to_json())) >= {
        "step_time_s", "flops_per_s", "breakdown", "peak_memory_bytes", "memory", "fitted_parameters",
    }  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"step": 3}'])
def test_files_that_hold_no_estimate(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(PlanFileError, match=r"a\.json: not a valid estimate"):
        Estimate.load(tmp_path / "a.json")
    with pytest.raises(PlanFileError, match="cannot read"):
        Estimate.load(tmp_path / "b.json")
