"""What does not fit says by how much and what would: every change that is named makes a plan."""

import jax.numpy as jnp
import pytest

import swplan
from models import mlp
from swplan.errors import InfeasibleError

STEP, ARGS = mlp.tiny_plain()


def failing(cluster, **options):
    with pytest.raises(InfeasibleError) as caught:
        swplan.plan(STEP, *ARGS, cluster=cluster, max_axes=2, **options)
    return caught.value


def test_every_change_fits():
    error = failing("sw26010pro:nodes=8,memory.bytes=120000", precision="fp32")
    assert error.over_bytes > 0 and error.largest and error.changes
    for change in error.changes:
        assert change.what in str(error)
        options = {"cluster": "sw26010pro:nodes=8,memory.bytes=120000", "precision": "fp32", **change.options}
        made = swplan.plan(STEP, *ARGS, max_axes=2, **options)
        assert made.peak_memory_bytes <= 120000 and change.peak_memory_bytes <= 120000
        assert made.certificate.cost_s <= change.step_time_s * 1.005


def test_what_was_forced_is_a_change():
    error = failing("sw26010pro:nodes=8,memory.bytes=250000", baseline="data_parallel")
    assert "no data_parallel fits" in str(error)
    assert error.changes[0].options.get("cluster") is None


def test_what_is_far_too_large_says_so():
    error = failing("sw26010pro:nodes=2,memory.bytes=1000")
    assert not error.changes and "Not even 64 times" in str(error)


def test_largest_are_named_with_their_sizes():
    name, held, whole = failing("sw26010pro:nodes=8,memory.bytes=120000").largest[0]
    assert name and 0 < held <= whole


def layers(weights, batch):
    """An update of a stack of small matrices, of which the activations need most memory."""

    def loss(weights):
        y = batch
        for w in weights:
            y = jnp.tanh(y @ w)
        return jnp.mean(y**2)

    value, slopes = swplan.value_and_grad(loss)(weights)
    return [w - 0.1 * g for w, g in zip(weights, slopes, strict=True)], value


MANY = ([jnp.ones((8, 8))] * 6, jnp.ones((1024, 8)))
SMALL = "sw26010pro:nodes=2,memory.bytes=1500"


def test_the_least_counts_micro_batches_and_recomputation_unless_they_are_forced():
    """Half of the batch takes 16 KiB, and so does every activation of all of it."""
    with pytest.raises(InfeasibleError, match="with 256 micro-batches") as free:
        swplan.plan(layers, *MANY, cluster=SMALL)
    with pytest.raises(InfeasibleError) as forced:
        swplan.plan(layers, *MANY, cluster=SMALL, micro_batches=1, recompute="nothing")
    assert free.value.over_bytes < 3 * 16 << 10 < 6 * 16 << 10 < forced.value.over_bytes
    assert "micro-batches takes" not in str(forced.value)


def test_too_few_axes_are_a_change():
    """One dim comes apart into three parts, the other into five: fifteen devices need two axes."""
    args = (jnp.ones((303, 505)), jnp.ones((303, 505)))
    given = {"cluster": "h100-sxm:gpus=15,memory.bytes=200000", "precision": "fp32"}
    with pytest.raises(InfeasibleError) as caught:
        swplan.plan(lambda w, x: (w + 0.1 * x, jnp.zeros(())), *args, max_axes=1, **given)
    more = next(change for change in caught.value.changes if "axes" in change.what)
    made = swplan.plan(lambda w, x: (w + 0.1 * x, jnp.zeros(())), *args, **given, **more.options)
    assert sorted(made.mesh.values()) == [3, 5] and made.peak_memory_bytes <= 200000


def test_pins_hold_in_what_would_fit():
    """With every matrix pinned whole no number of devices is enough for little memory."""
    cluster = "sw26010pro:nodes=8,memory.bytes=120000"
    whole = {"state/params/*": (), "state/opt_state/*": ()}
    free = failing(cluster, precision="fp32")
    assert free.changes
    pinned = failing(cluster, precision="fp32", pins=whole)
    for change in pinned.changes:
        options = {"cluster": cluster, "precision": "fp32", "pins": whole, **change.options}
        assert swplan.plan(STEP, *ARGS, max_axes=2, **options).peak_memory_bytes <= 120000


def test_pins_of_three_names_are_held_on_meshes_of_three_axes():
    pins = {"weights/0": ("one", "two"), "batch": ("three", None)}
    few = (MANY[0][:1], MANY[1])
    given = {"cluster": "sw26010pro:nodes=8,memory.bytes=16000", "pins": pins}
    with pytest.raises(InfeasibleError) as caught:
        swplan.plan(layers, *few, **given, micro_batches=1, recompute="nothing")
    assert caught.value.over_bytes > 0 and caught.value.largest
    for change in caught.value.changes:
        made = swplan.plan(layers, *few, **given | change.options)
        assert made.peak_memory_bytes <= 16000 and len(made.mesh) == 3
