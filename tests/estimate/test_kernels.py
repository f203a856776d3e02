"""Fused attention on chips that state how fast it is: the rate of its products, and nothing beside them."""

import numpy as np
import pytest

from swplan.estimate.detail import Detail, ops_of
from swplan.estimate.kernels import work_of
from swplan.estimate.strategy import Strategy
from swplan.search.pricing import split_by
from tests.estimate.programs import estimator

CHIP, KEY = "h100-sxm", "compute.attention_efficiency"
TEXT = "mesh=model:2/data:4 zero=1 attention={}"


def made(kind):
    """The estimator, and the strategy."""
    return estimator("llama", CHIP), Strategy.parse(TEXT.format(kind))


def seconds(kind, share):
    """Of a step on a chip whose attention reaches that share of the peak."""
    found, strategy = made(kind)
    return float(found.costs([strategy], found.cluster.replace({KEY: share})).step_time_s[0])


def test_only_products_of_a_fused_attention_are_left():
    found, strategy = made("fused")
    rows = found.rows(strategy)[0].rows
    inside = [row for row in rows.ops if row.is_inside]
    assert inside == [row for row in rows.ops if row.is_core]
    assert {row.op.rule.work.unit for row in inside} == {"matmul"}
    sizes = [np.array([1])] * len(rows.template.axes)
    assert all(m.fused for row in inside for m in work_of(row, rows, split_by(row.op.rule, row.split, sizes)).matmuls)


def test_a_faster_attention_makes_fused_steps_faster_and_no_others():
    assert seconds("fused", 0.6) < seconds("fused", 1e-4)
    assert seconds("plain", 0.6) == seconds("plain", 1e-4)


def test_a_chip_that_states_no_rate_prices_its_products_alone():
    other = estimator("llama", "a100-80g-sxm")
    strategy = Strategy.parse(TEXT.format("fused"))
    assert not other.cluster.chip.attention_efficiency
    assert not any(row.is_inside for row in other.rows(strategy)[0].rows.ops)


def test_the_details_add_up():
    found, strategy = made("fused")
    detail = Detail(found.prices(strategy, found.cluster.chip), found.batch([strategy]), found.cluster)
    parts = found.costs([strategy]).parts
    ops = sum(op.time_s for op in ops_of(detail) if op.stage == "forward")
    assert ops == pytest.approx(float(parts["forward"][0]))


def test_gradients_of_micro_batches_are_summed_whole_along_the_axes_of_state():
    for zero, axes in ((1, {"data", "context"}), (2, set())):
        strategy = Strategy.parse(f"mesh=context:2/data:2 zero={zero} micro_batches=2")
        kinds = [kind for kind, _ in estimator("llama", CHIP).rows(strategy)[1].accumulators]
        assert kinds and not any(kind.axes & axes for kind in kinds)
