"""Where arguments come from, which of them share memory, and every option of the verbs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding

import swplan
from benchmarks.models import CLUSTER, difference
from swplan.errors import SwplanError, UsageError

OPTIONS = {"cluster": CLUSTER, "max_axes": 1}
STATE, BATCH = jnp.sin(jnp.arange(256.0)).reshape(16, 16), jnp.cos(jnp.arange(256.0)).reshape(16, 16)


def moved(state, batch):
    return jax.tree.map(lambda leaf: leaf + 0.1 * jnp.tanh(batch @ leaf), state), batch.sum()


def trained(state, batch):
    loss, gradient = jax.value_and_grad(lambda w: jnp.mean(jnp.tanh(batch @ w) ** 2))(state)
    return state - gradient, loss


WANTED = jax.jit(moved)(STATE, BATCH)


def on_mesh(*axes):
    mesh = jax.make_mesh((2, 4), ("mine", "other"), axis_types=(AxisType.Auto,) * 2)
    return NamedSharding(mesh, PartitionSpec(*axes))


PLACES = {
    "device 3": lambda: SingleDeviceSharding(jax.devices()[3]),
    "another mesh": lambda: on_mesh("other", "mine"),
    "replicated on another mesh": lambda: on_mesh(),
}


@pytest.mark.parametrize("place", PLACES)
def test_arguments_committed_elsewhere_are_moved(place):
    step = swplan.auto(moved, baseline="data_parallel", **OPTIONS)
    for _ in range(2):
        args = jax.device_put((STATE.copy(), BATCH), PLACES[place]())
        assert difference(step(*args), WANTED) <= 1e-5
        assert not args[1].is_deleted()


def test_two_planned_steps_hand_arrays_to_each_other():
    """A plan of another layout takes what the first returns, and gives the same numbers."""
    first, second = (swplan.auto(trained, baseline=b, **OPTIONS) for b in ("data_parallel", "tensor_parallel"))
    state, wanted = STATE.copy(), STATE
    for step in (first, second, first, second):
        state, loss = step(state, BATCH)
        wanted, wanted_loss = jax.jit(trained)(wanted, BATCH)
        assert difference((state, loss), (wanted, wanted_loss)) <= 1e-5


def test_plan_does_not_depend_on_where_its_arguments_lie():
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (STATE, BATCH))
    placed = jax.device_put((STATE, BATCH), on_mesh("mine", "other"))
    assert swplan.plan(trained, *placed, **OPTIONS).to_json() == swplan.plan(trained, *shapes, **OPTIONS).to_json()


def test_a_buffer_that_the_state_holds_twice():
    """Parameters and their running average often begin as one array."""
    step, wanted = swplan.auto(moved, **OPTIONS), jax.jit(moved)({"w": STATE, "average": STATE}, BATCH)
    for _ in range(2):
        shared = STATE.copy()
        assert difference(step({"w": shared, "average": shared}, BATCH), wanted) <= 1e-5


def test_a_buffer_that_is_state_and_batch():
    step, wanted = swplan.auto(moved, **OPTIONS), jax.jit(moved)(STATE, STATE)
    for _ in range(2):
        shared = STATE.copy()
        assert difference(step(shared, shared), wanted) <= 1e-5


def test_state_by_keyword_is_donated_too():
    step = swplan.auto(moved, **OPTIONS)
    state, _ = step(state=STATE.copy(), batch=BATCH)
    again, _ = step(state=state, batch=BATCH)
    assert difference(again, jax.jit(moved)(WANTED[0], BATCH)[0]) <= 1e-5
    assert state.is_deleted()


def test_fewer_devices_than_there_are():
    step = swplan.auto(moved, cluster=CLUSTER.replace("devices=8", "devices=4"), baseline="data_parallel")
    state, loss = step(STATE.copy(), BATCH)
    assert difference((state, loss), WANTED) <= 1e-5
    assert len(loss.sharding.device_set) == 4


def test_one_device():
    step = swplan.auto(moved, cluster="host:devices=1")
    assert difference(step(STATE.copy(), BATCH), WANTED) <= 1e-5
    assert not step.plan(STATE, BATCH).collectives()


def powers(state, batch, degree):
    return state + batch**degree, batch.sum()


def test_a_jitted_function_with_static_arguments_named_here_too():
    step = swplan.auto(jax.jit(powers, static_argnums=2), static_argnums=2, **OPTIONS)
    for degree in (2, 3):
        assert difference(step(STATE.copy(), BATCH, degree), powers(STATE, BATCH, degree)) <= 1e-5


def test_a_jitted_function_with_static_arguments_that_are_not_named():
    step = swplan.auto(jax.jit(powers, static_argnums=2), **OPTIONS)
    with pytest.raises(SwplanError, match="static_argnums"):
        step(STATE.copy(), BATCH, 2)


def test_static_values_must_be_hashable():
    step = swplan.auto(powers, static_argnums=2, **OPTIONS)
    with pytest.raises(SwplanError, match="hashable"):
        step(STATE.copy(), BATCH, [2])


def test_verbs_take_a_decorated_step_for_its_function():
    step = swplan.auto(moved, **OPTIONS)
    plan = swplan.plan(step, STATE, BATCH, **OPTIONS)
    assert plan.to_json() == step.plan(STATE, BATCH).to_json()
    assert swplan.verify(plan, step, STATE, BATCH)


def test_progress_is_told():
    told = []
    swplan.plan(moved, STATE, BATCH, progress=lambda *told_now: told.append(told_now), **OPTIONS)
    assert told and all(0 <= done <= total and isinstance(text, str) for done, total, text in told)


def test_time_limit_gives_the_best_so_far_with_its_gap():
    plan = swplan.plan(moved, STATE, BATCH, cluster=CLUSTER, time_limit=0.0)
    assert 0 <= plan.certificate.gap <= 1
    assert plan.certificate.bound_s <= plan.certificate.cost_s
    for wrong in (-1.0, "2 s"):
        with pytest.raises(UsageError, match="give seconds"):
            swplan.plan(moved, STATE, BATCH, cluster=CLUSTER, time_limit=wrong)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_precision(precision):
    step = swplan.auto(trained, precision=precision, cluster="sw26010pro:nodes=8", max_axes=1)
    plan = step.plan(STATE, BATCH)
    assert plan.precision.policy == precision
    low = "bf16" in plan.precision.classes.values()
    assert low or precision != "bf16"
    assert difference(step(STATE.copy(), BATCH), jax.jit(trained)(STATE, BATCH)) <= (3e-2 if low else 1e-5)


def test_results_do_not_depend_on_what_ran_before():
    step = swplan.auto(moved, **OPTIONS)
    runs = [jax.device_get(step(STATE.copy(), BATCH)) for _ in range(3)]
    for run in runs[1:]:
        jax.tree.map(np.testing.assert_array_equal, run, runs[0])


def test_parameters_and_state_of_the_optimizer_may_be_arguments_of_their_own():
    """Both come back updated, so both are state; what is left is the batch."""

    def step(weights, moments, batch):
        gradients = jax.grad(lambda w: jnp.mean((batch @ w) ** 2))(weights)
        moments = 0.9 * moments + 0.1 * gradients
        return weights - 0.1 * moments, moments, jnp.sum(batch)

    arguments = jnp.ones((16, 8)), jnp.ones((16, 8)), jnp.ones((8, 16))
    plan = swplan.plan(step, *arguments, cluster="host:devices=8", precision="fp32")
    assert [tensor.role for tensor in plan.inputs] == ["parameter", "optimizer", "batch"]
    wanted = jax.jit(step)(*arguments)
    found = swplan.auto(step, cluster="host:devices=8", precision="fp32")(*map(jnp.copy, arguments))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("donate", [True, False])
def test_a_plan_is_verified_with_the_donation_that_it_was_made_with(donate):
    def update(state, x):
        return state - 0.1 * (x.T @ x), jnp.sum(x)

    args = jnp.ones((8, 8)), jnp.ones((16, 8))
    made = swplan.plan(update, *args, donate=donate)
    assert swplan.verify(made, update, *args, donate=donate)
    assert swplan.verify(made, swplan.auto(update, plan=made, donate=donate), *args)
