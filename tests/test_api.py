"""The verbs on one small step: planning, calling, donation, what is kept between calls, and every error."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import swplan
from benchmarks.models import CLUSTER, difference

TOLERANCE = 1e-5
OPTIONS = {"cluster": CLUSTER, "max_axes": 1}
BASELINES = ("data_parallel", "fully_sharded", "tensor_parallel")


def loss_of(weights, batch):
    return jnp.mean((jnp.tanh(batch["x"] @ weights["in"] + weights["bias"]) @ weights["out"] - batch["y"]) ** 2)


def train_step(weights, batch):
    """One step of gradient descent."""
    loss, gradients = jax.value_and_grad(loss_of)(weights, batch)
    return jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradients), loss


def weights_of(seed=0):
    draw = np.random.default_rng(seed).normal
    shapes = {"in": (16, 32), "bias": (32,), "out": (32, 8)}
    return {name: jnp.asarray(draw(size=shape), jnp.float32) for name, shape in shapes.items()}


def batch_of(rows=16, seed=1):
    draw = np.random.default_rng(seed).normal
    return {name: jnp.asarray(draw(size=(rows, n)), jnp.float32) for name, n in {"x": 16, "y": 8}.items()}


def shapes_of(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def specs_of(tree):
    return jax.tree.map(lambda leaf: leaf.sharding.spec, tree)


def compilations(caplog):
    return [r.getMessage() for r in caplog.records if r.getMessage().startswith("Finished XLA compilation")]


@pytest.fixture(scope="module")
def wanted():
    """The results of three steps of `jax.jit` without swplan."""
    step, weights, found = jax.jit(train_step), weights_of(), []
    for _ in range(3):
        weights, loss = step(weights, batch_of())
        found.append((weights, loss))
    return found


@pytest.fixture(scope="module")
def planned():
    """The decorated step with its first signature planned and compiled."""
    step = swplan.auto(train_step, **OPTIONS)
    step(*step(weights_of(), batch_of())[:1], batch_of())
    return step


@pytest.fixture(scope="module")
def data_plan():
    """A plan that splits the batch over eight devices."""
    return swplan.plan(train_step, weights_of(), batch_of(), baseline="data_parallel", **OPTIONS)


def test_bare_decorator_plans_for_the_devices_at_hand():
    step = swplan.auto(train_step)
    assert step.plan(weights_of(), batch_of()).cluster == f"host:devices={jax.device_count()}"


def test_decorator_with_options_and_its_names():
    step = swplan.auto(**OPTIONS)(train_step)
    assert step.undecorated is train_step
    assert (step.__name__, step.__doc__) == ("train_step", train_step.__doc__)
    assert step.plan(weights_of(), batch_of()).step == "train_step"


def test_three_steps_equal_those_of_jit(planned, wanted):
    weights = weights_of()
    for reference in wanted:
        weights, loss = planned(weights, batch_of())
        assert difference((weights, loss), reference) <= TOLERANCE


@pytest.mark.parametrize("baseline", BASELINES)
def test_every_classic_runs_and_equals_jit(baseline, wanted):
    step = swplan.auto(train_step, baseline=baseline, **OPTIONS)
    assert difference(step(weights_of(), batch_of()), wanted[0]) <= TOLERANCE


def test_classics_are_what_their_names_say():
    plans = {name: swplan.plan(train_step, weights_of(), batch_of(), baseline=name, **OPTIONS) for name in BASELINES}
    spec = {name: {t.name: t.spec for t in plan.inputs} for name, plan in plans.items()}
    axis = {name: next(iter(plan.mesh)) for name, plan in plans.items()}
    assert spec["data_parallel"]["batch/x"] == ((axis["data_parallel"],), ())
    assert spec["data_parallel"]["weights/in"] == ((), ())
    assert spec["fully_sharded"]["batch/x"] == ((axis["fully_sharded"],), ())
    assert any(spec["fully_sharded"]["weights/in"])
    assert spec["tensor_parallel"]["batch/x"] == ((), ())
    assert any(spec["tensor_parallel"]["weights/in"])


def test_cluster_is_a_spec_a_value_or_absent():
    spec = "sw26010pro:nodes=8"
    args = (shapes_of(weights_of()), shapes_of(batch_of()))
    by_spec = swplan.plan(train_step, *args, cluster=spec, max_axes=1)
    by_value = swplan.plan(train_step, *args, cluster=swplan.Cluster.parse(spec), max_axes=1)
    assert by_spec.to_json() == by_value.to_json()
    assert by_spec.cluster == spec and by_spec.devices == 8


def test_plan_of_another_machine_runs_here_and_equals_jit(wanted):
    step = swplan.auto(train_step, cluster="sw26010pro:nodes=8", precision="fp32", max_axes=1)
    assert difference(step(weights_of(), batch_of()), wanted[0]) <= TOLERANCE


def test_plan_from_shapes_is_that_from_arrays_and_allocates_nothing():
    args = (weights_of(), batch_of())
    from_arrays = swplan.plan(train_step, *args, **OPTIONS).to_json()
    huge = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((2**14 * leaf.shape[0], *leaf.shape[1:]), leaf.dtype), args[1]
    )
    before = len(jax.live_arrays())
    assert swplan.plan(train_step, *shapes_of(args), **OPTIONS).to_json() == from_arrays
    swplan.plan(train_step, shapes_of(args[0]), huge, **OPTIONS)
    gc.collect()  # a jaxpr and its constants go in a cycle
    assert len(jax.live_arrays()) <= before


def test_inputs_are_placed_as_planned_and_the_state_comes_back_in_place(data_plan):
    step = swplan.auto(train_step, plan=data_plan)
    weights, _ = step(weights_of(), batch_of())
    assert specs_of(weights) == data_plan.shardings.outputs[0] == data_plan.shardings.inputs[0]
    assert all(len(leaf.sharding.device_set) == 8 for leaf in jax.tree.leaves(weights))


def test_numpy_arguments_run_and_are_left_alone(planned, wanted):
    args = jax.device_get((weights_of(), batch_of()))
    assert difference(planned(*args), wanted[0]) <= TOLERANCE
    assert difference(args[0], weights_of()) == 0


@pytest.mark.parametrize("calls", [1, 2])
def test_state_is_donated_and_the_batch_is_not(planned, calls):
    weights, batch = weights_of(), batch_of()
    for _ in range(calls):
        given = jax.device_put(weights, specs_to_shardings(planned, weights))
        weights, _ = planned(given, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(batch))


def specs_to_shardings(step, weights):
    """Where the planned step wants its weights: the first call places them there."""
    return jax.tree.map(lambda leaf: leaf.sharding, step(jax.tree.map(jnp.copy, weights), batch_of())[0])


def same_shape(x, y):
    return jnp.tanh(x @ y), jnp.sum(x)


def gradients_of(weights, batch):
    return jax.value_and_grad(loss_of)(weights, batch)


def forwards(weights, batch):
    return loss_of(weights, batch)


SQUARE = (jnp.ones((16, 16)), jnp.ones((16, 16)))


@pytest.mark.parametrize(
    ("function", "args"),
    [(same_shape, SQUARE), (gradients_of, (weights_of(), batch_of())), (forwards, (weights_of(), batch_of()))],
    ids=["output of the input's shape", "value_and_grad", "loss alone"],
)
def test_what_is_no_state_is_not_donated(function, args):
    step, wanted = swplan.auto(function, **OPTIONS), jax.jit(function)(*args)
    for _ in range(3):
        assert difference(step(*args), wanted) <= TOLERANCE
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(args))


def test_donation_can_be_refused_and_forced():
    weights, batch = weights_of(), batch_of()
    kept = swplan.auto(train_step, donate=False, **OPTIONS)
    for _ in range(2):
        kept(weights, batch)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(weights))
    forced = swplan.auto(same_shape, donate=True, **OPTIONS)
    given = jax.device_put(SQUARE[0].copy(), forced(SQUARE[0].copy(), SQUARE[1])[0].sharding)
    forced(given, SQUARE[1])
    assert given.is_deleted()


def test_second_call_neither_plans_nor_traces_nor_compiles(monkeypatch, caplog):
    step = swplan.auto(train_step, **OPTIONS)
    weights, _ = step(weights_of(), batch_of())
    batch = batch_of(seed=2)
    monkeypatch.setattr(swplan.AutoStep, "_make", lambda *args: pytest.fail("planned again"))
    with jax.log_compiles():
        step(weights, batch)
    assert compilations(caplog) == []


def test_new_signature_is_planned_and_the_old_one_is_kept(monkeypatch):
    step, made = swplan.auto(train_step, **OPTIONS), []
    original = swplan.AutoStep._make
    monkeypatch.setattr(swplan.AutoStep, "_make", lambda *args: made.append(args) or original(*args))
    for rows, plans in ((16, 1), (32, 2), (16, 2), (32, 2)):
        got = step(weights_of(), batch_of(rows))
        assert len(made) == plans
        assert difference(got, jax.jit(train_step)(weights_of(), batch_of(rows))) <= TOLERANCE


def moved(state, delta):
    return state + delta, state


@pytest.mark.parametrize("dtype", ["int32", "float16", "complex64"])
def test_another_dtype_of_the_same_shape_is_another_signature(dtype):
    step = swplan.auto(moved, **OPTIONS)
    for kind in ("float32", "float32", dtype, "float32"):
        args = (jnp.ones(16, kind), jnp.arange(16).astype(kind))
        got, wanted = step(*args), moved(*args)
        assert [x.dtype for x in got] == [x.dtype for x in wanted]
        np.testing.assert_array_equal(got, wanted)
