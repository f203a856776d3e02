"""Runners-up: forcing one costs what is stated; what is in the way of cheaper choices is named, and true."""

import jax
import jax.numpy as jnp
import pytest

import swplan
from models import gpt, mlp
from swplan.errors import PlanMismatchError
from swplan.passes.padding import padded
from swplan.runtime.explaining import forced, reasons
from swplan.runtime.prepare import prepare
from swplan.runtime.trace import Statics

SUNWAY = "sw26010pro:nodes=8"


def step(weights, x):
    """One product and its update."""
    value, gradient = jax.value_and_grad(lambda w: jnp.mean((x @ w) ** 2))(weights)
    return weights - 0.1 * gradient, value


def f32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def planned(program, **options):
    made, args = program
    return swplan.plan(made, *args, cluster=SUNWAY, **options)


@pytest.fixture(scope="module")
def perceptron():
    return planned(mlp.tiny_plain(batch=12), max_axes=2)


PROGRAMS = {
    "mlp": lambda: planned(mlp.tiny_plain(), max_axes=2),
    "gpt": lambda: planned(gpt.tiny_scanned(), max_axes=1),
    "product": lambda: planned((step, (f32(512, 256), f32(64, 512)))),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_forcing_the_runner_up_costs_the_stated_difference(name):
    plan = PROGRAMS[name]()
    largest = max(plan.inputs, key=lambda tensor: tensor.bytes).name
    found = [*reasons(plan, largest), *reasons(plan, "dot_general")[:1]]
    assert found
    for reason in found:
        stated = reason.runner_up
        assert [c.cost_s for c in reason.others] == sorted(c.cost_s for c in reason.others)
        assert stated.cost_s >= plan.certificate.cost_s * (1 - 1e-9) and stated.option != reason.chosen.option
        made = forced(plan, reason, stated)
        difference = made.certificate.cost_s - plan.certificate.cost_s
        assert difference == pytest.approx(stated.cost_s - plan.certificate.cost_s, rel=1e-9, abs=1e-15)
        assert made.peak_memory_bytes == stated.memory_bytes


def test_no_other_choice_is_cheaper_than_the_runner_up(perceptron):
    (reason,) = reasons(perceptron, "state/params/out_FC")
    for choice in reason.others:
        assert forced(perceptron, reason, choice).certificate.cost_s >= reason.runner_up.cost_s * (1 - 1e-9)


def test_what_does_not_divide_is_priced_as_the_padded_step(perceptron):
    excluded = [c for reason in reasons(perceptron, "batch/inputs") for c in reason.excluded]
    choice = next(c for c in excluded if c.excluded == "divisibility")
    (padding,) = choice.paddings
    assert (padding.extent, padding.padded) == (12, 16) and choice.cost_s > 0
    longer = planned(mlp.tiny_plain(batch=16), max_axes=2)
    assert choice.cost_s >= longer.certificate.cost_s * (1 - 1e-9)


def test_a_padded_graph_is_that_of_the_longer_step():
    graphs = []
    for batch in (12, 16):
        made, args = mlp.tiny_plain(batch=batch)
        graphs.append(prepare(made, args, {}, Statics()).program.graph)
    short, long = graphs
    place = short.top.inputs[short.names.index("batch/inputs")], 0
    made = padded(short, place, 16)
    assert made.avals[place[0]] == long.avals[place[0]]
    assert all(aval in pair for aval, *pair in zip(made.avals, short.avals, long.avals, strict=True))
    assert sum(a != b for a, b in zip(made.avals, long.avals, strict=True)) < len(made.avals) // 10


def test_memory_excludes_with_what_is_lacking():
    free = planned(mlp.tiny_plain(), max_axes=2)
    made, args = mlp.tiny_plain()
    less = f"{SUNWAY},memory.bytes={int(0.96 * free.peak_memory_bytes)}"
    tight = swplan.plan(made, *args, cluster=less, max_axes=2, micro_batches=1, recompute="nothing")
    assert tight.certificate.cost_s > free.certificate.cost_s
    excluded = [c for reason in reasons(tight, "state/params/hidden_FF") for c in reason.excluded]
    lacking = [c for c in excluded if c.excluded == "memory"]
    assert lacking
    for choice in lacking:
        assert choice.cost_s < tight.certificate.cost_s
        assert choice.over_bytes == choice.memory_bytes - tight.memory.capacity_bytes > 0


def test_a_plan_from_a_file_explains_with_its_step(perceptron):
    loaded = swplan.Plan.from_json(perceptron.to_json())
    name = "state/params/out_FC"
    assert not loaded.explain(name).reasons and "need the step" in str(loaded.explain(name))
    made, args = mlp.tiny_plain(batch=12)
    again = swplan.explain(loaded, name, made, *args)
    assert again.reasons == perceptron.explain(name).reasons
    assert "runner-up" in str(again) and again.to_json() and "<script" not in again._repr_html_()
    with pytest.raises(PlanMismatchError):
        loaded.explain(name, *mlp.tiny_plain(batch=8)[:1], *mlp.tiny_plain(batch=8)[1])


@pytest.mark.parametrize("name", ["mesh", "micro_batches", "recompute"])
def test_what_is_decided_once(perceptron, name):
    found = perceptron.explain(name)
    assert str(found) and found.to_json() and found._repr_html_()
