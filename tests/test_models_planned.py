"""A few models under a few plans equal their unplanned steps; `python -m benchmarks.models` does all of them."""

import jax
import numpy as np
import pytest

import swplan
from benchmarks import models as bench
from swplan.costmodel import Cluster
from swplan.runtime.compiler import xla
from swplan.runtime.precise import chosen
from swplan.runtime.trace import trace
from swplan.search.meshes import placements
from swplan.search.planner import find
from swplan.search.subject import subject

CASES = {"models.mlp:tiny_plain": ("chosen", "random", "fully_sharded")}
LITTLE_REPETITION = ("models.graphnet:tiny",)
CASES |= dict.fromkeys(LITTLE_REPETITION, ("chosen",))
STEPS = 3


def cases():
    slow = [pytest.param(model, marks=pytest.mark.slow) for model in LITTLE_REPETITION]
    return [*(model for model in CASES if model not in LITTLE_REPETITION), *slow]


@pytest.fixture(scope="module", params=cases())
def unplanned(request):
    """A model, its step, its arguments, and what `jax.jit` makes of them."""
    step, args = bench.build(request.param)
    return request.param, step, args, bench.train(jax.jit(step), *args, STEPS)


def test_planned_models_equal_unplanned_ones_and_run_as_planned(unplanned):
    model, step, args, history = unplanned
    for name in CASES[model]:
        row = bench.measured(model, name, bench.plan_named(step, args, name, max_axes=1), step, args, history)
        assert row.numeric <= 1e-5, bench.line(row)
        assert row.differences == 0, bench.line(row)
        assert abs(row.memory_ratio - 1) <= 0.1, bench.line(row)


def test_random_plans_differ_and_are_made_again_from_their_seed():
    step, args = bench.build("models.mlp:tiny_plain")
    plans = [bench.random_plan(step, args, seed) for seed in (1, 2, 1)]
    assert plans[0].to_json() == plans[2].to_json() != plans[1].to_json()


def test_difference_is_of_norms_leaf_by_leaf():
    ones = {"a": np.ones(4, np.float32), "b": np.full(4, 100.0)}
    assert bench.difference(ones, ones) == 0
    assert bench.difference({**ones, "a": ones["a"] * 1.5}, ones) == pytest.approx(0.5)
    assert bench.difference({**ones, "a": ones["a"].astype(np.float64)}, ones) < 1e-9
    assert bench.difference({**ones, "a": np.ones(3, np.float32)}, ones) == np.inf
    assert bench.difference(jax.random.key(1), jax.random.key(2)) > 0
    with pytest.raises(ValueError, match=r"shorter|longer"):
        bench.difference({"a": ones["a"]}, ones)


def test_a_nan_is_a_difference():
    assert not bench.difference(np.float32(np.nan), np.float32(1)) <= 1e-5


def scattered(rows, indices):
    return jax.numpy.zeros(16).at[indices].add(rows)


def pinned_plan(step, args, pins):
    """The best plan on eight devices with the ops of some primitives held to a strategy."""
    target = Cluster.parse(bench.CLUSTER)
    program = trace(step, args, {})
    prepared = subject(program.graph, target, xla())
    names = [
        node.op.primitive if node.op else ""
        for node in map(prepared.folded.representative, range(len(prepared.folded.members)))
    ]
    held = {cls: (pins[name],) for cls, name in enumerate(names) if name in pins}
    found = find(prepared, max_axes=1, meshes=placements(target, (8,))[:1], pins=held)
    return bench.written(prepared, program, found, chosen(program.graph, target.chip, "fp32"), "pinned")


def test_what_is_the_same_everywhere_is_never_sent():
    """XLA computes a broadcast zero where it is needed; a plan that gathers it plans what is not compiled."""
    args = jax.numpy.ones(4), jax.numpy.arange(4)
    plan = pinned_plan(scattered, args, {"broadcast_in_dim": (0,), "scatter-add": (-1,)})
    assert not swplan.verify(plan, scattered, *args).differences
