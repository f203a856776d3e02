"""Decisions made for a bigger machine and model, run on smaller arguments and the devices at hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import swplan
from benchmarks.models import CLUSTER, difference
from swplan.errors import PlanMismatchError

# Sixty-four of the devices of CLUSTER, as a machine that is not here.
MACHINE = CLUSTER.replace("devices=8", "devices=64")


def train_step(state, batch):
    def loss_of(weights):
        hidden = jnp.tanh(batch["x"] @ weights["in"])
        return jnp.mean((hidden @ weights["out"] - batch["y"]) ** 2)

    loss, gradients = jax.value_and_grad(loss_of)(state["weights"])
    momentum = jax.tree.map(lambda m, g: 0.9 * m + g, state["momentum"], gradients)
    weights = jax.tree.map(lambda w, m: w - 0.1 * m, state["weights"], momentum)
    return {"weights": weights, "momentum": momentum}, loss


def arguments(rows, width, make=None):
    draw = np.random.default_rng(0)
    make = make or (lambda *shape: jnp.asarray(draw.normal(size=shape) / 4, jnp.float32))
    shapes = {"in": (width, 2 * width), "out": (2 * width, width)}
    weights, momentum = ({name: make(*shape) for name, shape in shapes.items()} for _ in range(2))
    return {"weights": weights, "momentum": momentum}, {"x": make(rows, width), "y": make(rows, width)}


def abstract(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def planned(**options):
    step = swplan.auto(train_step, cluster=MACHINE, precision="fp32", **options)
    return step, step.plan(*arguments(512, 256, abstract))


@pytest.fixture(scope="module")
def small():
    """Arguments of the same structure, and what `jax.jit` makes of them."""
    args = arguments(32, 16)
    return args, jax.jit(train_step)(*args)


@pytest.mark.parametrize("baseline", [None, "data_parallel", "fully_sharded", "tensor_parallel"])
def test_plan_for_sixty_four_devices_runs_on_eight(small, baseline):
    step, plan = planned(max_axes=1, baseline=baseline)
    args, wanted = small
    assert np.prod(list(plan.mesh.values())) == 64
    got = step.rehearse(plan, *args)
    assert difference(got, wanted) <= 1e-5
    assert jax.tree.structure(got) == jax.tree.structure(wanted)


def test_every_axis_larger_than_one_still_is(small):
    step, plan = planned(max_axes=2)
    args, wanted = small
    if len(plan.mesh) < 2:
        pytest.skip("the best plan has one axis")
    state, loss = step.rehearse(plan, *args)
    assert difference((state, loss), wanted) <= 1e-5
    mesh = state["weights"]["in"].sharding.mesh
    assert mesh.axis_names == tuple(plan.mesh)
    assert all(size > 1 for size in mesh.shape.values())
    for name, leaf in state["weights"].items():
        assert leaf.sharding.spec == plan.shardings.outputs[0]["weights"][name]


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_on_fewer_devices(small, devices):
    step, plan = planned(max_axes=1, baseline="fully_sharded")
    (state, loss), wanted = step.rehearse(plan, *small[0], devices=devices), small[1]
    assert difference((state, loss), wanted) <= 1e-5
    assert len(loss.sharding.device_set) == devices


def test_rehearsal_gives_nothing_up(small):
    step, plan = planned(max_axes=1, baseline="data_parallel")
    for _ in range(2):
        step.rehearse(plan, *small[0])
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(small[0]))


def test_loaded_plan_and_keyword_arguments(small, tmp_path):
    step, plan = planned(max_axes=1, baseline="data_parallel")
    plan.save(tmp_path / "plan.json")
    (state, batch), wanted = small
    got = step.rehearse(swplan.Plan.load(tmp_path / "plan.json"), state, batch)
    assert difference(got, wanted) <= 1e-5


def test_a_repeated_rehearsal_does_not_compile_again(small, caplog):
    step, plan = planned(max_axes=1, baseline="data_parallel")
    step.rehearse(plan, *small[0])
    with jax.log_compiles():
        step.rehearse(plan, *small[0])
    assert not [r for r in caplog.records if r.getMessage().startswith("Finished XLA compilation of jit(run)")]


def test_arguments_that_cannot_be_split_say_which(small):
    step, plan = planned(max_axes=1, baseline="data_parallel")
    with pytest.raises(PlanMismatchError, match=r"do not fit these arguments on 8 devices[\s\S]*divisible"):
        step.rehearse(plan, *arguments(9, 16))


def test_too_few_devices_for_the_axes():
    step, plan = planned(max_axes=1, baseline="data_parallel")
    with pytest.raises(PlanMismatchError, match=r"1 devices cannot hold the mesh data:64"):
        step.rehearse(plan, *arguments(32, 16), devices=1)


def test_more_devices_than_there_are():
    step, plan = planned(max_axes=1, baseline="data_parallel")
    with pytest.raises(PlanMismatchError, match=r"16 devices.*8 are at hand"):
        step.rehearse(plan, *arguments(32, 16), devices=16)


def test_another_structure(small):
    _, plan = planned(max_axes=1, baseline="data_parallel")
    with pytest.raises(PlanMismatchError, match="structure"):
        swplan.auto(lambda state, batch: (state, batch["x"].sum())).rehearse(plan, *small[0])


def test_another_step_of_as_many_decisions():
    """A rank or a primitive that differs is noticed although the number of decisions is the same."""
    sine, cosine = (
        swplan.auto(lambda x, f=f: (x + f(x), x.sum()), cluster=MACHINE, max_axes=1) for f in (jnp.sin, jnp.cos)
    )
    plan = sine.plan(abstract(64, 64))
    with pytest.raises(PlanMismatchError):
        cosine.rehearse(plan, jnp.ones((8, 8)))
