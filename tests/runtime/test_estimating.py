"""The verb: a step, a cluster and a strategy make an estimate; what precisions of strategies do to a program."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import models.gpt
import models.moe
import swplan
from swplan.errors import ClusterError, UsageError
from swplan.estimate.strategy import PRECISIONS

CLUSTER = "sw26010pro:nodes=8"


@functools.cache
def program():
    """A step and its arguments."""
    return models.moe.tiny_scanned(d_ff=4096, d_model=1024, seq=512, only_shapes=True)


def estimate(text, cluster=CLUSTER):
    """The estimate of the program."""
    step, args = program()
    return swplan.estimate(step, *args, cluster=cluster, strategy=text)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_can_be_asked_for(precision):
    found = estimate(f"mesh=data:8 precision={precision}")
    assert found.step_time_s > 0 and found.devices == 8


def test_low_products_are_faster():
    wide, low = estimate("mesh=data:8 precision=fp32"), estimate("mesh=data:8 precision=layered")
    assert (wide.precision, low.precision) == ("fp32", "bf16")
    assert low.step_time_s < wide.step_time_s
    assert low.flops_per_s * low.step_time_s == pytest.approx(wide.flops_per_s * wide.step_time_s)
    assert "precision layered: " in low.assumed[0]


def test_fp16_that_cannot_be_scaled_says_what_is_used():
    assert "bf16 needs no scaling" in " ".join(estimate("mesh=data:8 precision=fp16").assumed)


def test_a_chip_without_fp8_says_what_computes_instead():
    found = estimate("mesh=data:8 precision=fp8")
    assert found.precision == "fp8" and "sw26010pro multiplies fp8 matrices as fp16" in found.assumed


def test_a_program_that_is_low_already_stays_as_it_is():
    step, args = models.gpt.megatron(
        layers=2, hidden=64, heads=4, vocab=256, seq=32, batch=8, dtype="bfloat16", remat=False
    )
    low, written = (
        swplan.estimate(step, *args, cluster=CLUSTER, strategy=f"mesh=data:8 precision={p}")
        for p in ("fp8", "as_written")
    )
    assert (low.precision, written.precision) == ("fp8", "bf16")


def test_values_do_as_well_as_texts():
    step, args = program()
    cluster, strategy = swplan.Cluster.parse(CLUSTER), swplan.Strategy(mesh=(("data", 8),))
    assert swplan.estimate(step, *args, cluster=cluster, strategy=strategy) == estimate("mesh=data:8")


def test_static_and_keyword_arguments():
    def step(w, x, *, flip):
        return w - 0.1 * (x.T @ (x @ w)) * (-1 if flip else 1)

    w, x = jax.ShapeDtypeStruct((64, 64), jnp.float32), jax.ShapeDtypeStruct((128, 64), jnp.float32)
    found = swplan.estimate(
        step, w, x, flip=True, static_argnames="flip", cluster="host:devices=4", strategy="mesh=data:4"
    )
    assert found.step == "step" and found.flops_per_s > 0


def test_a_planned_step_can_be_estimated():
    step, args = program()
    auto = swplan.auto(step, cluster=CLUSTER)
    assert swplan.estimate(auto, *args, cluster=CLUSTER, strategy="mesh=data:8") == estimate("mesh=data:8")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mesh=data:4", "4 devices, the cluster 'sw26010pro:nodes=8' has 8"),
        ("mesh=data:8 zero=7", "zero='7'"),
        ("mesh=expert:1/data:8/pipe:1 micro=3", "micro_batches"),
        (8, "neither a text"),
    ],
)
def test_mistakes_in_strategies(text, problem):
    with pytest.raises(UsageError, match=problem):
        estimate(text)


def test_mistakes_in_clusters():
    with pytest.raises(ClusterError):
        estimate("mesh=data:8", cluster="sw26010pro")
    with pytest.raises(UsageError, match="neither a text such as 'sw26010pro:nodes=8'"):
        estimate("mesh=data:8", cluster=8)
    with pytest.raises(UsageError, match="not int"):
        swplan.estimate(3, cluster=CLUSTER, strategy="mesh=data:8")


def test_reading_an_estimate_needs_no_jax(tmp_path):
    estimate("mesh=data:8").save(tmp_path / "a.json")
    code = "import sys, swplan; print(swplan.Estimate.load('a.json')); sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Time by part" in done.stdout


@pytest.mark.parametrize("mesh", ["data:40/expert:2400", "data:240/expert:400"])
def test_a_model_of_the_whole_machine_is_priced(mesh):
    step, args = models.moe.moda_14_5t(scan_layers=True)
    strategy = f"mesh={mesh} zero=1 micro_batches=1 recompute=none precision=layered"
    found = swplan.estimate(step, *args, cluster="sw26010pro:nodes=96000", strategy=strategy)
    assert 1 < found.step_time_s < 100 and 0.01 < found.share_of_peak < 1
    assert {"reduce_scatter", "all_gather", "all_to_all"} <= {e.kind for e in found.collectives}
