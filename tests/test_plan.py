"""A plan is a value: byte-identical, saved whole or not at all, read back or refused, shown without its program."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import swplan
from benchmarks.models import CLUSTER, difference
from swplan.errors import PlanFileError, PlanMismatchError, UsageError

ROOT = Path(swplan.__file__).parents[1]
BATCH = jnp.arange(512.0).reshape(32, 16) / 512


def weights_of():
    return {"in": jnp.ones((16, 32)) / 9, "out": jnp.ones((32, 8)) / 7}


def train_step(weights, batch):
    def loss_of(weights):
        return jnp.mean(jnp.tanh(batch @ weights["in"]) @ weights["out"])

    loss, gradients = jax.value_and_grad(loss_of)(weights)
    return jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradients), loss


def make(**options):
    return swplan.plan(train_step, weights_of(), BATCH, cluster=CLUSTER, max_axes=1, **options)


@pytest.fixture(scope="module")
def plan():
    return make(baseline="data_parallel")


@pytest.fixture(scope="module")
def loaded(plan, tmp_path_factory):
    path = tmp_path_factory.mktemp("plans") / "plan.json"
    plan.save(path)
    return swplan.Plan.load(path)


def test_fields_of_the_specification(plan):
    assert plan.step_time_s == pytest.approx(sum(plan.breakdown.values())) and plan.step_time_s > 0
    assert 0 < plan.peak_memory_bytes == plan.memory.peak_bytes < plan.memory.capacity_bytes
    ((name, axis),) = plan.mesh.items()
    assert (axis, axis.tiers) == (8, ("host",))
    assert plan.shardings.inputs[1] == PartitionSpec(name)
    assert all(exchange.time_s > 0 and exchange.axes == (name,) for exchange in plan.collectives())
    assert sorted(e.time_s for e in plan.collectives()) == [e.time_s for e in plan.collectives()][::-1]
    assert {a.name for a in make().alternatives} >= {"data_parallel", "fully_sharded", "tensor_parallel"}


def test_tiers_of_a_mesh_on_a_machine_with_several():
    found = swplan.plan(train_step, weights_of(), BATCH, cluster="sw26010pro:nodes=8,nodes_per_supernode=4", max_axes=1)
    assert [axis.tiers for axis in found.mesh.values()] == [tuple(tier.name for tier in cluster_of(found).tiers)]


def cluster_of(plan):
    return swplan.Cluster.parse(plan.cluster)


def test_it_beats_or_equals_every_classic():
    found = make()
    times = [a.step_time_s for a in found.alternatives if a.step_time_s is not None and not a.excluded]
    assert found.step_time_s <= min(times) * (1 + 1e-9)
    assert found.certificate.bound_s <= found.certificate.cost_s


def test_a_forced_baseline_costs_what_the_alternatives_say(plan):
    listed = {a.name: a.step_time_s for a in make().alternatives}
    assert plan.step_time_s == pytest.approx(listed["data_parallel"])
    assert plan.step_time_s <= plan.certificate.cost_s * (1 + 1e-9), "the search never undercuts the finished program"
    assert plan.step_time_s == pytest.approx(plan.certificate.cost_s, rel=0.01)


def test_a_plan_cannot_be_changed(plan):
    with pytest.raises(AttributeError):
        plan.devices = 9


def test_text_and_html_say_what_was_decided(plan, loaded):
    for shown in (plan, loaded):
        assert "train_step" in str(shown) and "weights/in" in str(shown)
        assert "<" in shown._repr_html_() and "weights/in" in shown._repr_html_()


def test_a_loaded_plan_looks_like_the_one_that_was_saved(plan, loaded):
    assert str(plan) == str(loaded)
    assert plan._repr_html_() == loaded._repr_html_()


@pytest.mark.parametrize("name", ["weights/in", "batch", "dot_general", "all_reduce", "test_plan.py"])
def test_everything_can_be_explained(plan, loaded, name):
    assert name in str(plan.explain(name))
    records, told, _ = str(loaded.explain(name)).partition("Runners-up need the step")
    assert told and str(plan.explain(name)).startswith(records.rstrip())


def test_unknown_names_are_answered_with_near_ones(plan):
    for ask in (plan.explain, plan.tensor):
        with pytest.raises(UsageError, match="weights/in"):
            ask("weight/in")


def test_loaded_is_what_was_saved(plan, loaded):
    assert loaded == plan
    assert loaded.to_json() == plan.to_json()


def test_loaded_plan_runs_and_equals_jit(loaded):
    wanted = jax.jit(train_step)(weights_of(), BATCH)
    got = swplan.auto(train_step, plan=loaded)(weights_of(), BATCH)
    assert difference(got, wanted) <= 1e-5
    assert swplan.verify(loaded, train_step, weights_of(), BATCH).differences == ()


def test_shardings_of_a_loaded_plan_go_by_name(plan, loaded):
    assert loaded.shardings.inputs["weights/out"] == plan.shardings.inputs[0]["out"]
    assert set(loaded.shardings.outputs) == {tensor.name for tensor in plan.outputs}


def mesh_of(plan, **sizes):
    shape = sizes or plan.mesh
    return jax.make_mesh(tuple(shape.values()), tuple(shape), axis_types=(AxisType.Auto,) * len(shape))


def test_named_shardings_in_a_jit_of_ones_own(plan):
    inputs, outputs = plan.named_shardings(mesh_of(plan))
    step = jax.jit(train_step, in_shardings=inputs, out_shardings=outputs, donate_argnums=0)
    weights, loss = step(jax.device_put(weights_of(), inputs[0]), jax.device_put(BATCH, inputs[1]))
    assert difference((weights, loss), jax.jit(train_step)(weights_of(), BATCH)) <= 1e-5
    assert jax.tree.map(lambda leaf: leaf.sharding, weights) == outputs[0]
    assert weights["in"].sharding.mesh.shape == dict(plan.mesh)


def test_named_shardings_of_another_mesh(plan):
    (name,) = plan.mesh
    for wrong in ({"other": 8}, {name: 4, "rest": 2}):
        with pytest.raises(PlanMismatchError, match=rf"'{name}' of size 8[\s\S]*make_mesh"):
            plan.named_shardings(mesh_of(plan, **wrong))


def test_same_inputs_give_the_same_bytes(plan):
    assert make().to_json() == make().to_json()
    assert make(baseline="data_parallel").to_json() == plan.to_json()


CHILD = """
import sys
import jax
from tests import test_plan
sys.stdout.buffer.write(test_plan.make().to_json())
"""


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_another_process_gives_the_same_bytes(seed):
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", CHILD], env=environment, cwd=ROOT, capture_output=True, check=True)
    assert json.loads(done.stdout) == json.loads(make().to_json())
    assert done.stdout == make().to_json()


def test_saving_is_all_or_nothing(plan, tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    plan.save(path)
    before = path.read_bytes()

    def full(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        make().save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_saved_files_are_readable_by_others_as_the_umask_says(plan, tmp_path):
    path = tmp_path / "plan.json"
    mask = os.umask(0o022)
    try:
        plan.save(path)
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_plan_file_holds_no_code(plan):
    assert b"pickle" not in plan.to_json()
    json.loads(plan.to_json())


def edited(plan, **changes):
    return json.dumps({**json.loads(plan.to_json()), **changes}).encode()


def without(plan, field):
    return json.dumps({k: v for k, v in json.loads(plan.to_json()).items() if k != field}).encode()


HOSTILE = {
    "empty": lambda plan: b"",
    "not JSON": lambda plan: b"\x80\x04\x95pickle",
    "not UTF-8": lambda plan: plan.to_json().replace(b"train_step", b"\xff\xfe\xff"),
    "truncated": lambda plan: plan.to_json()[:-20],
    "two plans": lambda plan: plan.to_json() * 2,
    "a list": lambda plan: b"[1, 2]",
    "a number": lambda plan: b"1",
    "null": lambda plan: b"null",
    "deep": lambda plan: b"[" * 100_000,
    "deep in a field": lambda plan: b'{"format": ' + b"[" * 100_000,
    "no format": lambda plan: without(plan, "format"),
    "next format": lambda plan: edited(plan, format=2),
    "format as text": lambda plan: edited(plan, format="1"),
    "format true": lambda plan: edited(plan, format=True),
    "field missing": lambda plan: without(plan, "memory"),
    "wrong type": lambda plan: edited(plan, axes="eight"),
    "wrong inner type": lambda plan: edited(plan, mesh={}, inputs=[{"name": 1}]),
    "time as text": lambda plan: edited(plan, step_time_s="soon"),
    "NaN": lambda plan: plan.to_json().replace(b'"step_time_s":', b'"step_time_s":NaN,"was":'),
    "choice too large": lambda plan: edited(plan, choices=[10**9] * len(plan.choices)),
    "choice negative": lambda plan: edited(plan, choices=[-1] * len(plan.choices)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused(plan, kind, tmp_path):
    path = tmp_path / "hostile.json"
    path.write_bytes(HOSTILE[kind](plan))
    with pytest.raises(PlanFileError, match=r"hostile\.json"):
        swplan.Plan.load(path)


def test_every_truncation_is_refused(plan):
    data = plan.to_json()
    for length in np.linspace(0, len(data) - 1, 200, dtype=int):
        with pytest.raises(PlanFileError):
            swplan.Plan.from_json(data[:length])


def changed(plan, **changes):
    return swplan.Plan.from_json(edited(plan, **changes))


INCONSISTENT = {
    "a decision less": lambda plan: {"choices": plan.choices[:-1]},
    "an axis too large": lambda plan: {"axes": [{**axis_of(plan), "size": 7}]},
    "an axis of size zero": lambda plan: {"axes": [{**axis_of(plan), "size": 0}]},
    "a negative axis": lambda plan: {"axes": [{**axis_of(plan), "size": -8}]},
    "no axis": lambda plan: {"axes": []},
    "an axis twice": lambda plan: {"axes": [axis_of(plan)] * 2},
    "a position out of range": lambda plan: {"axes": [{**axis_of(plan), "position": 5}]},
    "options of no axis": lambda plan: {"options": [[]] * len(plan.options)},
    "options out of range": lambda plan: {"options": [[99]] * len(plan.options)},
    "options below range": lambda plan: {"options": [[-99]] * len(plan.options)},
    "an unknown precision": lambda plan: {"precision": {**as_dict(plan.precision), "classes": {"dense": "fp7"}}},
}


def as_dict(struct):
    return msgspec.to_builtins(struct)


def axis_of(plan):
    return as_dict(plan.axes[0])


@pytest.mark.parametrize("kind", INCONSISTENT)
def test_well_formed_files_that_make_no_sense_are_refused_at_the_latest_when_run(plan, kind):
    with pytest.raises((PlanFileError, PlanMismatchError)):
        swplan.auto(train_step, plan=changed(plan, **INCONSISTENT[kind](plan)))(weights_of(), BATCH)


@pytest.mark.parametrize("where", ["missing.json", "."])
def test_what_cannot_be_read_is_a_plan_file_error(where, tmp_path):
    with pytest.raises(PlanFileError, match="cannot read"):
        swplan.Plan.load(tmp_path / where)
