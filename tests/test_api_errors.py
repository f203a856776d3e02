"""What a user can get wrong: each is an error of ours that says what happened and what to do."""

import jax
import jax.extend.core
import jax.numpy as jnp
import pytest

import swplan
from benchmarks.models import CLUSTER, difference
from swplan import errors

OPTIONS = {"cluster": CLUSTER, "max_axes": 1}
WEIGHTS, BATCH = jnp.ones((16, 16)), jnp.ones((32, 16))


def train_step(weights, batch):
    loss, gradient = jax.value_and_grad(lambda w: jnp.mean(jnp.tanh(batch @ w) ** 2))(weights)
    return weights - gradient, loss


def other_step(weights, batch):
    loss, gradient = jax.value_and_grad(lambda w: jnp.mean(jnp.sin(batch @ w) ** 2))(weights)
    return weights - gradient, loss


@pytest.fixture(scope="module")
def plan():
    return swplan.plan(train_step, WEIGHTS, BATCH, baseline="data_parallel", **OPTIONS)


@pytest.mark.parametrize(
    ("cluster", "error", "words"),
    [
        ("sw26010:nodes=8", errors.ClusterError, "sw26010pro"),
        ("sw26010pro", errors.ClusterError, "nodes"),
        ("sw26010pro:nodes=eight", errors.ClusterError, "eight"),
        ("sw26010pro:nodes=0", errors.ClusterError, "nodes"),
        ("sw26010pro:nods=8", errors.ClusterError, "did you mean nodes"),
        ("", errors.ClusterError, "chip"),
        (8, errors.UsageError, "sw26010pro:nodes=8"),
    ],
)
def test_wrong_cluster(cluster, error, words):
    with pytest.raises(error, match=words):
        swplan.plan(train_step, WEIGHTS, BATCH, cluster=cluster)
    with pytest.raises(error, match=words):
        swplan.auto(train_step, cluster=cluster)(WEIGHTS, BATCH)


def test_wrong_baseline_lists_the_choices():
    with pytest.raises(errors.UsageError, match=r"data_paralel.*data_parallel.*fully_sharded.*tensor_parallel"):
        swplan.plan(train_step, WEIGHTS, BATCH, baseline="data_paralel", **OPTIONS)


def test_wrong_precision_lists_the_choices():
    with pytest.raises(errors.UsageError, match=r"fp8.*auto.*fp32.*bf16.*fp16"):
        swplan.plan(train_step, WEIGHTS, BATCH, precision="fp8", **OPTIONS)


def test_wrong_option_is_refused_when_decorating_and_lists_the_options():
    with pytest.raises(errors.UsageError, match=r"'max_axis'.*baseline.*max_axes"):
        swplan.auto(train_step, max_axis=1)
    with pytest.raises(errors.UsageError, match="devices"):
        swplan.auto(devices=8)(train_step)


@pytest.mark.parametrize("wrong", [0, -1, "two", 1.5])
def test_wrong_number_of_axes(wrong):
    with pytest.raises(errors.UsageError, match="max_axes"):
        swplan.plan(train_step, WEIGHTS, BATCH, cluster=CLUSTER, max_axes=wrong)


def test_what_is_no_function_is_refused():
    with pytest.raises(errors.UsageError, match="function"):
        swplan.auto(WEIGHTS)


def test_plan_of_another_program(plan):
    with pytest.raises(errors.PlanMismatchError, match=r"another program.*\n.*Plan again"):
        swplan.auto(other_step, plan=plan)(WEIGHTS, BATCH)
    with pytest.raises(errors.PlanMismatchError, match="another program"):
        swplan.auto(train_step, plan=plan)(WEIGHTS, BATCH[:16])
    with pytest.raises(errors.PlanMismatchError, match="another program"):
        swplan.verify(plan, other_step, WEIGHTS, BATCH)


def test_what_is_no_plan_is_refused(tmp_path):
    for wrong in ("plan.json", tmp_path, {"format": 1}):
        with pytest.raises(errors.UsageError, match=r"swplan.Plan"):
            swplan.auto(train_step, plan=wrong)


def test_plan_for_more_devices_than_there_are():
    step = swplan.auto(train_step, cluster="sw26010pro:nodes=16", max_axes=1)
    with pytest.raises(errors.PlanMismatchError, match=r"16 devices.*8 are at hand.*\n.*jax_num_cpu_devices"):
        step(WEIGHTS, BATCH)


def test_abstract_arguments_cannot_be_run(plan):
    abstract = jax.ShapeDtypeStruct(WEIGHTS.shape, WEIGHTS.dtype)
    for step in (swplan.auto(train_step, plan=plan), swplan.auto(train_step, **OPTIONS)):
        with pytest.raises(errors.UsageError, match=r"\.plan\("):
            step(abstract, BATCH)


def test_called_inside_a_trace_it_is_part_of_the_program(plan):
    got = jax.jit(swplan.auto(train_step, plan=plan))(WEIGHTS, BATCH)
    assert difference(got, train_step(WEIGHTS, BATCH)) <= 1e-5


def test_step_that_cannot_be_traced_keeps_the_cause():
    def branches(x):
        return x if x.sum() > 0 else -x

    with pytest.raises(errors.TraceError, match=r"'branches' could not be traced[\s\S]*static_argnums") as caught:
        swplan.plan(branches, WEIGHTS, **OPTIONS)
    assert isinstance(caught.value.__cause__, jax.errors.ConcretizationTypeError)


def test_wrong_number_of_arguments_is_a_trace_error():
    with pytest.raises(errors.TraceError, match="batch"):
        swplan.plan(train_step, WEIGHTS, **OPTIONS)


def test_error_of_the_steps_own_is_not_hidden():
    def fails(x):
        raise KeyError("own")

    with pytest.raises(errors.TraceError, match=r"KeyError.*own"):
        swplan.auto(fails, **OPTIONS)(WEIGHTS)


def test_nothing_fits_says_by_how_much_and_what_is_largest():
    weights = jax.ShapeDtypeStruct((2**17, 2**17), jnp.float32)
    batch = jax.ShapeDtypeStruct((16, 2**17), jnp.float32)
    with pytest.raises(errors.InfeasibleError, match=r"GiB.*\n.*weights.*64 GiB.*\n.*more devices"):
        swplan.plan(train_step, weights, batch, cluster="host:devices=8", max_axes=1)


def test_deleted_arguments_are_jaxs_own_error(plan):
    step, weights = swplan.auto(train_step, plan=plan), WEIGHTS.copy()
    weights.delete()
    with pytest.raises((RuntimeError, ValueError), match="deleted"):
        step(weights, BATCH)


@pytest.fixture
def swirl():
    """A primitive that nobody has a rule for."""
    primitive = jax.extend.core.Primitive("swirl")
    primitive.def_abstract_eval(lambda x: x)
    return primitive


def test_unknown_primitive_names_the_line_and_the_way_out(swirl):
    def swirls(x):
        return swirl.bind(x) + 1

    with pytest.raises(errors.UnsupportedOpError, match=r"'swirl' \(float32\[16,16\]\)") as caught:
        swplan.plan(swirls, WEIGHTS, **OPTIONS)
    assert f"{__file__}:{swirls.__code__.co_firstlineno + 1}" in str(caught.value)
    assert "swplan.register_rule('swirl')" in str(caught.value)


def test_unknown_primitive_in_a_loop_stops_planning_too(swirl):
    def loops(x):
        return jax.lax.scan(lambda carry, _: (swirl.bind(carry), None), x, None, length=3)[0]

    with pytest.raises(errors.UnsupportedOpError, match="swirl"):
        swplan.auto(loops, **OPTIONS)(WEIGHTS)


def test_registered_rule_makes_it_known(swirl, monkeypatch):
    from swplan.ir.ops import DEFINITIONS

    monkeypatch.setattr(DEFINITIONS, "_entries", dict(DEFINITIONS._entries))
    monkeypatch.setattr(DEFINITIONS, "_sealed", False)
    swirl.def_impl(lambda x: x)
    swplan.register_rule("swirl")(lambda spec: swplan.whole_rule([2], [2]))
    assert swplan.plan(lambda x: swirl.bind(x) + 1, WEIGHTS, **OPTIONS).ops
