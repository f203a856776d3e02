"""Micro-batches and recomputation: the same numbers as the unplanned step, less memory, exchanges as planned."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import pytest

import swplan
from benchmarks import models as bench
from swplan.errors import InfeasibleError, UsageError

STEPS = 2
CASES = {"models.mlp:tiny_plain": ({"micro_batches": 4}, {"recompute": "everything"})}


def made(step, args, **options):
    return swplan.plan(step, *args, cluster=bench.CLUSTER, precision="fp32", max_axes=1, **options)


@pytest.fixture(scope="module", params=CASES)
def unplanned(request):
    step, args = bench.build(request.param)
    return request.param, step, args, bench.train(jax.jit(step), *args, STEPS)


def test_variants_equal_unplanned_steps_and_run_as_planned(unplanned):
    model, step, args, history = unplanned
    for options in CASES[model]:
        row = bench.measured(model, str(options), made(step, args, **options), step, args, history)
        assert row.numeric <= 1e-5, bench.line(row)
        assert row.differences == 0, bench.line(row)
        assert 0.9 <= row.memory_ratio <= 1.15, bench.line(row)


def make(loss_of, batch, **options):
    """The plan of one step of gradient descent on a matrix, and what it and the unplanned step make of a batch."""

    def step(weights, batch):
        loss, gradients = jax.value_and_grad(loss_of)(weights, batch)
        return weights - 0.1 * gradients, loss

    weights = jnp.linspace(-1, 1, 8 * 16).reshape(8, 16)
    plan = swplan.plan(step, weights, batch, cluster=bench.CLUSTER, precision="fp32", max_axes=1, **options)
    got = swplan.auto(step, plan=plan)(weights.copy(), batch)
    return plan, got, jax.jit(step)(weights, batch)


BATCH = jnp.sin(jnp.arange(16 * 8, dtype=jnp.float32)).reshape(16, 8)
LOSSES = {
    "mean": lambda w, x: jnp.mean(jnp.tanh(x @ w) ** 2),
    "sum": lambda w, x: jnp.sum(jnp.tanh(x @ w) ** 2),
    "a penalty on weights": lambda w, x: jnp.mean(jnp.tanh(x @ w) ** 2) + 0.1 * jnp.sum(w**2),
    "a mean over some": lambda w, x: jnp.sum(jnp.where(x[:, :1] > 0, x @ w, 0.0)) / 16,
    "positions in the batch": lambda w, x: jnp.mean((x @ w) * jnp.arange(16.0)[:, None]),
    "a square root of a sum": lambda w, x: jnp.sqrt(jnp.sum((x @ w) ** 2)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_assume_nothing_of_losses(name):
    if name == "a square root of a sum":  # its gradient needs the whole sum before the backward pass
        with pytest.raises(UsageError, match="needs the whole batch"):
            make(LOSSES[name], BATCH, micro_batches=4)
        return
    plan, got, wanted = make(LOSSES[name], BATCH, micro_batches=4)
    assert plan.micro_batches == 4
    assert bench.difference(got, wanted) < 1e-6


def test_a_batch_that_does_not_come_apart_says_so():
    with pytest.raises(UsageError, match="micro_batches=3"):
        make(LOSSES["mean"], BATCH, micro_batches=3)
    with pytest.raises(UsageError, match="whole number"):
        make(LOSSES["mean"], BATCH, micro_batches=0)
    with pytest.raises(UsageError, match="as written"):
        make(LOSSES["mean"], BATCH, baseline="data_parallel", micro_batches=2)
    with pytest.raises(UsageError, match="recompute='much'"):
        make(LOSSES["mean"], BATCH, recompute="much")


def deep_step(weights, batch):
    def loss_of(weights):
        hidden = batch
        for weight in weights:
            hidden = jnp.sin(jnp.sin(hidden @ weight))
        return jnp.mean(hidden**2)

    loss, gradients = jax.value_and_grad(loss_of)(weights)
    return [w - 0.1 * g for w, g in zip(weights, gradients, strict=True)], loss


def scanned_step(weights, batch):
    def loss_of(weights):
        hidden, _ = jax.lax.scan(lambda h, weight: (jnp.sin(jnp.sin(h @ weight)), None), batch, weights)
        return jnp.mean(hidden**2)

    loss, gradients = jax.value_and_grad(loss_of)(weights)
    return weights - 0.1 * gradients, loss


def test_loops_over_layers_recompute_what_they_no_longer_stack():
    args = (jnp.stack([jnp.eye(16) * 0.9] * 4), jnp.sin(jnp.arange(512.0 * 16)).reshape(512, 16))
    written, again = (made(scanned_step, args, micro_batches=2, recompute=r) for r in ("nothing", "everything"))
    assert again.recompute.values and again.peak_memory_bytes < written.peak_memory_bytes
    assert swplan.verify(again, scanned_step, *args)
    got = swplan.auto(scanned_step, plan=again)(args[0].copy(), args[1])
    assert bench.difference(got, jax.jit(scanned_step)(*args)) < 1e-5


DEEP = ([jnp.eye(16) * 0.9] * 6, jnp.ones((512, 16)))


def deep_plan(memory_bytes):
    cluster = bench.CLUSTER.replace("memory.bytes=64e9", f"memory.bytes={memory_bytes}")
    return swplan.plan(deep_step, *DEEP, cluster=cluster, precision="fp32", max_axes=1)


def test_memory_is_saved_only_where_it_must_be_and_then_fits():
    roomy = deep_plan(64_000_000_000)
    assert (roomy.micro_batches, roomy.recompute.what) == (1, "nothing")
    tight = deep_plan(int(roomy.peak_memory_bytes * 0.7))
    assert tight.micro_batches > 1 or tight.recompute.values
    assert tight.peak_memory_bytes <= 0.7 * roomy.peak_memory_bytes
    assert roomy.certificate.bound_s <= tight.certificate.bound_s * (1 + 1e-9) <= tight.certificate.cost_s * (1 + 1e-9)
    assert swplan.verify(tight, deep_step, *DEEP)
    got = swplan.auto(deep_step, plan=tight)([w.copy() for w in DEEP[0]], DEEP[1])
    assert bench.difference(got, jax.jit(deep_step)(*DEEP)) < 1e-5
    with pytest.raises(InfeasibleError):
        deep_plan(1_000)


def test_a_plan_in_micro_batches_is_read_back_and_refuses_other_batches(tmp_path):
    plan, _, _ = make(LOSSES["mean"], BATCH, micro_batches=4)
    plan.save(tmp_path / "plan.json")
    assert swplan.Plan.load(tmp_path / "plan.json").to_json() == plan.to_json()


def residual_step(weights, batch):
    def loss_of(weights):
        hidden = batch
        for weight in weights:
            hidden = hidden + jax.nn.gelu(hidden @ weight)
        return jnp.mean(hidden.sum(-1) ** 2)

    loss, gradients = jax.value_and_grad(loss_of)(weights)
    return [w - 1e-3 * g for w, g in zip(weights, gradients, strict=True)], loss


def tower_step(weights, batch):
    def loss_of(weights):
        hidden = batch
        for weight in weights:
            hidden = jax.nn.gelu(hidden @ weight)
        return jnp.mean(hidden.sum(-1) ** 2)

    loss, gradients = jax.value_and_grad(loss_of)(weights)
    return [w - 1e-3 * g for w, g in zip(weights, gradients, strict=True)], loss


BATCHES = jax.ShapeDtypeStruct((4096, 256), "float32")


def test_where_memory_is_no_concern_nothing_is_tried_to_save_it():
    shapes = pairwise([256 + 32 * layer for layer in range(9)])
    weights = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    plan = swplan.plan(tower_step, weights, BATCHES, cluster="a100-80g-sxm:gpus=16")
    assert {(trade.micro_batches, trade.recompute) for trade in plan.found} == {(1, "nothing")}
    assert plan.certificate.gap < 1e-6


@pytest.mark.parametrize("layers", [2, 3, 6])
def test_of_few_decisions_the_best_finished_program_is_chosen_whatever_it_computes_again(layers):
    weights = [jax.ShapeDtypeStruct((256, 256), "float32")] * layers
    plan, plain, again = (
        swplan.plan(residual_step, weights, BATCHES, cluster="a100-80g-sxm:gpus=16", recompute=recompute)
        for recompute in ("auto", "nothing", "everything")
    )
    assert plan.step_time_s <= min(plain.step_time_s, again.step_time_s) * (1 + 1e-9)
    assert "memory costs this plan nothing" not in str(again.explain("recompute"))
